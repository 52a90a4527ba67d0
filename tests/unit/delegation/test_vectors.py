"""The published vectors are what the code makes and opens, and what another program opens."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag

from kmworker.delegation.checking import DeliveredKey, RevokedKey, check_answer, check_revoked
from kmworker.delegation.encoded import as_text, from_text
from kmworker.delegation.enrolment import Enrolment, read_enrolment_request
from kmworker.delegation.identity import Identity
from kmworker.delegation.requests import SignedMessage, Understood, signer_of, understood
from kmworker.delegation.sealing import upload_info
from kmworker.delegation.signing import SIGNATURE_HEADER
from kmworker.delegation.trust_list import check_list
from kmworker.wire.requests.types import KeyRequested
from tests.kit.delegation_vectors import (
    AT,
    CLIENT,
    DELIVERED,
    ENROLMENT,
    FOLDER,
    HELD_REQUEST,
    HOST,
    INSTALLATION,
    KEY,
    KEY_ID,
    LIST,
    NOW_S,
    REQUEST,
    REVOKED,
    REVOKED_ID,
    REVOKED_KEY_ID,
    SERVER,
    UPLOAD,
    read_vectors,
    signer,
    vectors,
)

PROGRAM = Path(__file__).parents[3] / "docs" / "examples" / "open_delivered.py"
FOUND = read_vectors()


# --- by the code --------------------------------------------------------------------------


def test_the_files_are_what_the_code_makes() -> None:
    assert vectors(FOUND) == FOUND, "run: python -m tests.kit.delegation_vectors"


def test_an_identitys_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "identity.json"
    path.write_text(json.dumps(FOUND["identity.json"]["file"]))
    path.chmod(0o600)
    public = Identity.load(path).public
    assert as_text(public.sign) == FOUND["identity.json"]["sign_public"]
    assert as_text(public.seal) == FOUND["identity.json"]["seal_public"]


def test_the_documents_are_read() -> None:
    asked = read_enrolment_request(FOUND["enrolment-request.json"]["document"].encode())
    assert asked.identity == HOST.public
    given = FOUND["enrolment.json"]["document"].encode()
    assert Enrolment.read(given, HOST.public) == ENROLMENT
    listed = FOUND["trust-list.json"]
    root = from_text(listed["root"])
    assert root is not None
    assert check_list(listed["text"], listed["signature"], root, INSTALLATION) == LIST


@pytest.mark.parametrize("name", ["request.json", "request-held.json"])
def test_the_request_is_its_clients(name: str) -> None:
    it = FOUND[name]
    message = SignedMessage(it["body"].encode(), CLIENT, it["headers"][SIGNATURE_HEADER])
    assert signer_of(message, CLIENT, [HOST.public], INSTALLATION) == HOST.public


def test_the_answers_are_opened() -> None:
    given: dict[str, Any] = {"seen": None, "now_s": NOW_S}
    for name in ("delivered.json", "refused.json"):
        it = FOUND[name]
        checked = check_answer(
            it["body"].encode(), it["headers"][SIGNATURE_HEADER], REQUEST, HOST, ENROLMENT, **given
        )
        if isinstance(checked.answer, DeliveredKey):
            assert checked.answer.key.view.hex() == it["key"]
    for name, revoked in (("revoked.json", REVOKED), ("revoked-key-id.json", REVOKED_KEY_ID)):
        it = FOUND[name]
        signature = it["headers"][SIGNATURE_HEADER]
        checked = check_revoked(it["body"].encode(), signature, ENROLMENT, **given)
        assert checked.answer == RevokedKey(REVOKED_ID, revoked)


def test_the_request_about_a_copy_says_which() -> None:
    read = understood(FOUND["request-held.json"]["body"].encode(), CLIENT, NOW_S)
    assert isinstance(read, Understood)
    assert isinstance(read.request, KeyRequested)
    assert read.request.held == KEY_ID


def test_the_upload_is_opened() -> None:
    sealed = from_text(FOUND["upload.json"]["sealed"])
    assert sealed is not None
    opened = SERVER.open(sealed, upload_info(UPLOAD))
    assert opened is not None
    assert opened.view.hex() == FOUND["upload.json"]["content"]


# --- by a program that knows nothing of it ------------------------------------------------


@pytest.fixture(scope="module")
def other() -> ModuleType:
    specification = importlib.util.spec_from_file_location("open_delivered", PROGRAM)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_other_program_has_nothing_of_this_package() -> None:
    assert not re.search(r"^\s*(from|import) (kmworker|tests)", PROGRAM.read_text(), re.MULTILINE)
    assert "hpke" not in re.findall(r"import (.*)", PROGRAM.read_text())


def test_the_other_program_goes_through_the_vectors() -> None:
    told = subprocess.run(
        [sys.executable, PROGRAM, FOLDER], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert told == [
        f"enrolment request of {HOST.public.fingerprint}",
        f"request {REQUEST.asked.id} ",
        f"request {HELD_REQUEST.asked.id} {KEY_ID}",
        f"key-delivered {DELIVERED.key_id} 64 bytes",
        "key-refused not-granted",
        "key-revoked detached",
        "key-revoked client-revoked",
        f"upload {UPLOAD.secret_id} 64 bytes",
    ]


def opened_by(other: ModuleType, identity: Identity, seal_seed: bytes) -> bytes:
    """What the other program makes of a fresh delivery to an identity."""
    answer = signer().deliver(REQUEST.asked, CLIENT, identity.public, DELIVERED, KEY, at=AT)
    pinned = json.loads(json.dumps(ENROLMENT.document))
    believed = other.believed(answer.body.decode(), answer.signature, pinned, AT)
    seed = {"seal": as_text(seal_seed)}
    found: bytes = other.opened(believed, REQUEST.body.decode(), seed, identity.public.fingerprint)
    return found


def test_the_other_program_opens_what_was_sealed_just_now(other: ModuleType) -> None:
    for drawn in range(8):
        seed = bytes([drawn]) * 32
        assert opened_by(other, Identity(bytes(32), seed, AT), seed) == KEY


def test_the_other_program_refuses_what_is_not_for_it(other: ModuleType) -> None:
    with pytest.raises(InvalidTag):
        opened_by(other, Identity(bytes(32), bytes(32), AT), b"\1" * 32)
    answer = signer().deliver(REQUEST.asked, "blk02", HOST.public, DELIVERED, KEY, at=AT)
    with pytest.raises(InvalidSignature):
        other.believed(answer.body.decode(), answer.signature, dict(ENROLMENT.document), AT)
