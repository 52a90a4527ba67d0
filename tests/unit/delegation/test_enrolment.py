"""What a host asks with, and what it pins."""

import json
from pathlib import Path
from typing import Any

import pytest

from kmworker.delegation.enrolment import (
    Enrolment,
    read_enrolment_request,
    request_enrolment,
)
from kmworker.errors import SetupError, Untrusted
from tests.kit.delegation_vectors import ENROLMENT, HOST, SERVER
from tests.kit.flips import flipped

ASKED = request_enrolment(HOST)
GIVEN = json.dumps(ENROLMENT.document).encode()


def with_fields(content: bytes, **changed: Any) -> bytes:
    return json.dumps(json.loads(content) | changed).encode()


def test_a_request_says_whose_it_is() -> None:
    assert read_enrolment_request(ASKED).identity == HOST.public


def test_a_changed_request_is_refused_or_says_the_same() -> None:
    read = read_enrolment_request(ASKED)
    taken = 0
    for changed in flipped(ASKED):
        try:
            assert read_enrolment_request(changed) == read
        except Untrusted:
            continue
        # A line break or a space became another one.
        taken += 1
        assert json.loads(changed) == json.loads(ASKED)
    assert taken < 40


OTHERS = json.loads(request_enrolment(SERVER))


@pytest.mark.parametrize(
    "changed",
    [
        {"sign": OTHERS["sign"]},
        {"seal": OTHERS["seal"]},
        {"sign": OTHERS["sign"], "signature": OTHERS["signature"]},
        {"seal": OTHERS["seal"], "fingerprint": OTHERS["fingerprint"]},
        {"created_at": "2026-11-23T16:00:00.001Z"},
        {"version": 2},
        {"document": "kmworker/enrolment"},
        {"signature": None},
        {"signature": "A" * 86 + "=="},
        {"created_at": "2026-02-30T16:00:00.000Z"},
        {"sign": 10**30},
    ],
    ids=str,
)
def test_who_does_not_have_the_key_cannot_ask_with_it(changed: dict[str, Any]) -> None:
    with pytest.raises(Untrusted, match="enrolment request") as refused:
        read_enrolment_request(with_fields(ASKED, **changed))
    assert refused.value.hint


NO_JSON = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"a":1,"a":2}', b"[" * 9_999, b"x" * 20_000,
           b'{"version":' + b"9" * 5_000 + b"}", b'{"version":NaN}']  # fmt: skip


@pytest.mark.parametrize("content", NO_JSON, ids=lambda it: repr(it[:16]))
def test_what_is_no_document_is_refused(content: bytes) -> None:
    with pytest.raises(Untrusted):
        read_enrolment_request(content)
    with pytest.raises(Untrusted):
        Enrolment.read(content, HOST.public)


def test_an_enrolment_is_read_as_it_was_written(tmp_path: Path) -> None:
    ENROLMENT.write(tmp_path / "enrolment.json")
    assert Enrolment.load(tmp_path / "enrolment.json", HOST.public) == ENROLMENT
    assert Enrolment.read(GIVEN, HOST.public) == ENROLMENT


def test_an_enrolment_that_others_may_have_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "enrolment.json"
    ENROLMENT.write(path)
    path.chmod(0o666)
    with pytest.raises(SetupError, match="open to group or others"):
        Enrolment.load(path, HOST.public)


def test_an_enrolment_of_another_identity_is_refused(tmp_path: Path) -> None:
    ENROLMENT.write(tmp_path / "enrolment.json")
    with pytest.raises(SetupError, match="of the identity") as refused:
        Enrolment.load(tmp_path / "enrolment.json", SERVER.public)
    assert refused.value.hint


@pytest.mark.parametrize(
    "changed",
    [{"root": "AAAA"}, {"root": 1}, {"client": "a b"}, {"client": "é"}, {"installation": "x"},
     {"version": "1"}, {"fingerprint": "AB" * 32}],
    ids=str,
)  # fmt: skip
def test_an_enrolment_that_says_something_else_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(Untrusted, match="enrolment"):
        Enrolment.read(with_fields(GIVEN, **changed), HOST.public)
