"""What key servers say: to each client its own, and of what it may not have nothing."""

import json
from typing import Any

import pytest

from kmworker.delegation.answers import AnswerSigner
from kmworker.delegation.encoded import as_text
from kmworker.delegation.identity import Identity
from kmworker.delegation.requests import sign_request
from kmworker.delegation.sealing import OVERHEAD_BYTES
from kmworker.delegation.signing import SIGNATURE_HEADER
from kmworker.domain.model import Item, Kind
from kmworker.errors import SetupError
from kmworker.wire.answers.bodies import Asked
from kmworker.wire.answers.messages import Refusal
from kmworker.wire.requests.request import DIRECT_REPLY
from kmworker.wire.requests.types import KeyRequested
from tests.kit.delegation_vectors import (
    AT,
    CLIENT,
    DELIVERED,
    HOST,
    INSTALLATION,
    KEY,
    LIST,
    REQUEST,
    REVOKED,
    REVOKED_ID,
    SERVER,
    SOURCE,
    signer,
)
from tests.kit.published_schemas import complaints, schema_of
from tests.kit.secrecy import assert_shows_no_secret, shown_by

ID = "3b8f0a52-9f5d-4f0e-8f5c-6b1e8f3f7a10"


def asked_for(item_id: str) -> Asked:
    request = KeyRequested(
        project_id="p", item=Item("p", Kind.VOLUME, item_id), reply_to=DIRECT_REPLY, id=ID, time=AT
    )
    return sign_request(request, HOST, INSTALLATION, CLIENT).asked


def refused(asked: Asked, reason: Refusal, **more: Any) -> bytes:
    return signer().refuse(asked, CLIENT, reason, at=AT, **more).body


# --- a refusal says one word --------------------------------------------------------------


def test_a_refusal_repeats_the_request_by_its_id_and_digest_alone() -> None:
    one, other = asked_for("one"), asked_for("quite-another")
    bodies = [refused(it, Refusal.NOT_GRANTED) for it in (one, other)]
    assert len(bodies[0]) == len(bodies[1])
    assert b"quite-another" not in bodies[1]
    first, second = (json.loads(it) for it in bodies)
    assert first["data"].pop("request") != second["data"].pop("request")
    assert first.pop("id") != second.pop("id")
    assert first == second


@pytest.mark.parametrize("reason", Refusal)
def test_only_what_is_malformed_has_a_detail(reason: Refusal) -> None:
    data = json.loads(refused(REQUEST.asked, reason, detail="the reason why"))["data"]
    assert ("detail" in data) == (reason is Refusal.MALFORMED)


# --- all of them ---------------------------------------------------------------------------


def test_answers_are_what_their_schemas_say() -> None:
    made = signer()
    answers = {
        "key-delivered": made.deliver(REQUEST.asked, CLIENT, HOST.public, DELIVERED, KEY, at=AT),
        "key-refused": made.refuse(REQUEST.asked, CLIENT, Refusal.SUSPENDED, at=AT),
        "key-revoked": made.revoke(REVOKED_ID, CLIENT, REVOKED, at=AT),
    }
    for name, answer in answers.items():
        assert complaints(schema_of(name), json.loads(answer.body)) == []
        assert answer.headers == {SIGNATURE_HEADER: answer.signature}


def test_an_answer_expires_and_neither_lies_on_a_disk() -> None:
    made = signer()
    answer = made.refuse(REQUEST.asked, CLIENT, Refusal.TRY_LATER, at=AT).properties
    assert (answer["delivery_mode"], answer["expiration"]) == (1, "30000")
    assert answer["correlation_id"] == REQUEST.asked.id
    revocation = made.revoke(REVOKED_ID, CLIENT, REVOKED, at=AT).properties
    assert revocation["delivery_mode"] == 1
    assert not revocation.keys() & {"expiration", "correlation_id"}
    assert revocation["message_id"] == REVOKED_ID


def test_answers_to_one_request_have_one_id() -> None:
    made = signer()
    first, second = (
        json.loads(it.body)
        for it in (
            made.deliver(REQUEST.asked, CLIENT, HOST.public, DELIVERED, KEY, at=AT),
            made.refuse(REQUEST.asked, CLIENT, Refusal.TRY_LATER, at=AT),
        )
    )
    assert first["id"] == second["id"]


def test_a_delivered_key_is_sealed_anew_each_time_and_is_nowhere_else() -> None:
    made = signer()
    bodies = [
        made.deliver(REQUEST.asked, CLIENT, HOST.public, DELIVERED, key, at=AT).body
        for key in (KEY, bytearray(KEY), memoryview(KEY))
    ]
    sealed = {json.loads(it)["data"]["sealed"] for it in bodies}
    assert len(sealed) == 3
    assert {len(it) for it in sealed} == {len(as_text(bytes(OVERHEAD_BYTES + len(KEY))))}
    for body in bodies:
        assert_shows_no_secret(body.decode(), {"key": KEY})


def test_a_key_of_another_length_than_is_said_is_not_delivered_and_not_shown() -> None:
    with pytest.raises(ValueError, match="length") as failed:
        signer().deliver(REQUEST.asked, CLIENT, HOST.public, DELIVERED, bytearray(KEY[:32]), at=AT)
    assert failed.value.args
    assert not [it for it in failed.value.args if isinstance(it, bytes | bytearray)]


def test_a_key_server_that_is_not_listed_does_not_start() -> None:
    with pytest.raises(SetupError, match="does not have this key server's key") as refused_:
        AnswerSigner(Identity.generate(AT), LIST, SOURCE)
    assert refused_.value.hint


def test_a_signer_shows_nothing() -> None:
    made = AnswerSigner(SERVER, LIST, SOURCE)
    assert repr(made).startswith("AnswerSigner(key_id=")
    for text in shown_by(ValueError(made)):
        assert "Identity" not in text
