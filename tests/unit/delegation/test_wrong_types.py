"""Whatever stands in a field, even if it was signed, ends as a refusal and as nothing else."""

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from kmworker.delegation.answers import SignedAnswer, answer_parts
from kmworker.delegation.checking import check_revoked
from kmworker.delegation.enrolment import Enrolment, read_enrolment_request, request_enrolment
from kmworker.delegation.requests import Stale, Understood, understood
from kmworker.delegation.signing import digest_of
from kmworker.delegation.trust_list import check_list
from kmworker.errors import Untrusted
from kmworker.wire.answers.messages import Refusal
from kmworker.wire.requests.reading import Misread
from tests.kit import delivery
from tests.kit.delegation_vectors import (
    AT,
    CLIENT,
    ENROLMENT,
    HOST,
    INSTALLATION,
    LIST,
    NOW_S,
    REQUEST,
    REVOKED,
    REVOKED_ID,
    ROOT,
    SERVER,
    signer,
)
from tests.kit.delivery import deliver

VALUES: list[Any] = [
    None, True, 0, -1, 1.5, 10**30, -(10**400), "", "x", "é", "\ud800", "\0", "9" * 5_000,
    "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", [], [[]], {},
    {"id": 1}, [None] * 100,
]  # fmt: skip
ANSWERS = {
    "delivered": deliver(),
    "refused": signer().refuse(REQUEST.asked, CLIENT, Refusal.MALFORMED, at=AT, detail="x"),
    "revoked": signer().revoke(REVOKED_ID, CLIENT, REVOKED, at=AT),
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of each value in a document, its own included."""
    yield path
    inner: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        inner = enumerate(value)
    for name, it in inner:
        yield from places(it, (*path, name))


def spoilt(document: Any) -> Iterator[str]:
    """The document with each of its values replaced by each of `VALUES`, and without it."""
    for path in places(document):
        if not path:
            yield from map(json.dumps, VALUES)
            continue
        *within, name = path
        for value in [*VALUES, ...]:
            changed = copy.deepcopy(document)
            place = changed
            for step in within:
                place = place[step]
            if value is ...:
                del place[name]
            else:
                place[name] = value
            yield json.dumps(changed)


def refused_or_taken(attempt: Callable[[], object]) -> bool:
    """Whether it was refused, as it should be; any other failure is the test's."""
    told = None
    try:
        attempt()
    except Untrusted as refused:
        told = refused
    if told is not None:
        assert told.hint
        # It ends in logs.
        assert str(told).isprintable()
        assert len(str(told)) < 300
    return told is not None


@pytest.mark.parametrize("name", ANSWERS)
def test_of_a_signed_answer(name: str) -> None:
    refused, total = 0, 0
    for text in spoilt(json.loads(ANSWERS[name].body)):
        body = text.encode()
        signature = SERVER.sign(*answer_parts(INSTALLATION, CLIENT, body))
        answer = SignedAnswer(body, signature, name, "")

        def check(answer: SignedAnswer = answer) -> object:
            given: dict[str, Any] = {"seen": LIST, "now_s": NOW_S}
            if name == "revoked":
                return check_revoked(answer.body, answer.signature, ENROLMENT, **given)
            return delivery.check(answer, **given)

        total += 1
        refused += refused_or_taken(check)
    assert 0 < refused < total


def refused_of(document: Any, attempt: Callable[[bytes], object]) -> tuple[int, int]:
    """How many of a document's spoilt ones are refused, and how many there are."""
    found = [refused_or_taken(lambda it=it: attempt(it.encode())) for it in spoilt(document)]  # type: ignore[misc]
    return sum(found), len(found)


def test_of_a_signed_list() -> None:
    def attempt(text: bytes) -> object:
        signature = ROOT.sign("kmworker/trust-list", INSTALLATION, digest_of(text))
        return check_list(text.decode(), signature, ROOT.public, INSTALLATION)

    refused, total = refused_of(json.loads(LIST.text), attempt)
    # A list may have another number, other dates, and no keys.
    assert 0 < refused < total


def test_of_documents_that_people_carry() -> None:
    refused, total = refused_of(json.loads(request_enrolment(HOST)), read_enrolment_request)
    # The host has signed all of it, but that its version is 1 and not true.
    assert 0 < refused == total - 1
    refused, total = refused_of(ENROLMENT.document, lambda text: Enrolment.read(text, HOST.public))
    assert 0 < refused < total


def test_of_a_signed_request() -> None:
    # Never raises.
    read = [understood(text.encode(), CLIENT, NOW_S) for text in spoilt(json.loads(REQUEST.body))]
    kinds = Counter(map(type, read))
    assert kinds.keys() == {Misread, Understood, Stale}
    assert kinds[Misread] > kinds[Understood] + kinds[Stale]
