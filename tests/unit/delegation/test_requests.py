"""A request is believed for its signature alone, and read only after that."""

from typing import Any

import pytest

from kmworker.clock import rfc3339
from kmworker.delegation.identity import Identity
from kmworker.delegation.requests import (
    Dropped,
    SignedMessage,
    SignedRequest,
    Stale,
    Understood,
    claimed_by,
    reply_address,
    sign_request,
    signer_of,
    understood,
)
from kmworker.delegation.signing import SIGNATURE_HEADER, digest_of
from kmworker.domain.message import MAX_BODY_BYTES
from kmworker.errors import PermanentError
from kmworker.wire.requests.reading import Misread
from kmworker.wire.requests.request import DIRECT_REPLY
from kmworker.wire.requests.types import KeyRequested
from tests.kit.delegation_vectors import (
    AT,
    CLIENT,
    HOST,
    INSTALLATION,
    NOW_S,
    REQUEST,
    SERVER,
    VOLUME,
)
from tests.kit.flips import flipped, flipped_text

NEW = Identity(b"\3" * 32, b"\4" * 32, AT)
OTHER_INSTALLATION = "5a1e1f0c-0d55-4c0e-9a3b-5f6f5b2b7f12"


def asking(**changed: Any) -> KeyRequested:
    given = {"project_id": VOLUME.project, "item": VOLUME, "reply_to": DIRECT_REPLY, "time": AT}
    return KeyRequested(**{**given, **changed})


def message(request: SignedRequest = REQUEST, **changed: Any) -> SignedMessage:
    given = {"body": request.body, "user_id": CLIENT, "signature": request.signature}
    return SignedMessage(**{**given, **changed})


def signer(found: SignedMessage, client: str = CLIENT, installation: str = INSTALLATION) -> object:
    return signer_of(found, client, [HOST.public], installation)


# --- whose it is --------------------------------------------------------------------------


def test_a_request_is_its_signers() -> None:
    assert claimed_by(message()) == CLIENT
    assert signer(message()) == HOST.public


@pytest.mark.parametrize("user_id", [None, "", b"blk01", 7], ids=repr)
def test_what_the_broker_vouches_for_nobody_is_dropped(user_id: object) -> None:
    assert claimed_by(message(user_id=user_id)) is Dropped.NO_USER


def test_what_is_too_large_is_dropped_before_all_else() -> None:
    assert claimed_by(message(body=b"x" * (MAX_BODY_BYTES + 1), user_id=None)) is Dropped.TOO_LARGE
    assert claimed_by(message(body=b"x" * MAX_BODY_BYTES)) == CLIENT


def test_every_flipped_byte_of_a_request_or_its_signature_is_refused() -> None:
    for body in flipped(REQUEST.body):
        assert signer(message(body=body)) is Dropped.FORGED
    for signature in flipped_text(REQUEST.signature):
        assert signer(message(signature=signature)) is Dropped.FORGED


@pytest.mark.parametrize("signature", ["", "x", "é", "A" * 88, "A" * 10_000], ids=len)
def test_what_is_no_signature_is_refused(signature: str) -> None:
    assert signer(message(signature=signature)) is Dropped.FORGED


@pytest.mark.parametrize("signature", [None, b"x", 1, ["x"]], ids=repr)
def test_what_has_no_signature_is_refused(signature: object) -> None:
    assert signer(message(signature=signature)) is Dropped.UNSIGNED


def test_another_clients_request_cannot_be_sent_under_ones_own_name() -> None:
    assert signer(message(user_id="blk02"), client="blk02") is Dropped.FORGED


def test_a_request_to_one_installation_is_none_to_another() -> None:
    assert signer(message(), installation=OTHER_INSTALLATION) is Dropped.FORGED


def test_the_length_of_each_part_is_signed_with_it() -> None:
    """Otherwise the client `blk` of an installation `…1` could be `1blk` of another."""
    request = sign_request(asking(), HOST, f"{INSTALLATION}x", CLIENT)
    moved = message(request)
    assert signer(moved, f"x{CLIENT}", INSTALLATION) is Dropped.FORGED


def test_while_one_identity_takes_anothers_place_either_signs() -> None:
    both = [HOST.public, NEW.public]
    for identity in (HOST, NEW):
        request = sign_request(asking(), identity, INSTALLATION, CLIENT)
        assert signer_of(message(request), CLIENT, both, INSTALLATION) == identity.public
    assert signer_of(message(), CLIENT, [NEW.public, SERVER.public], INSTALLATION) is Dropped.FORGED
    assert signer_of(message(), CLIENT, [], INSTALLATION) is Dropped.FORGED


def test_the_broker_is_told_whose_it_is_and_where_the_answer_goes() -> None:
    properties = REQUEST.properties(CLIENT)
    assert properties["user_id"] == CLIENT
    assert properties["reply_to"] == DIRECT_REPLY
    assert properties["application_headers"] == {SIGNATURE_HEADER: REQUEST.signature}
    own = sign_request(asking(reply_to="kmworker.clients.blk01"), HOST, INSTALLATION, CLIENT)
    assert "reply_to" not in own.properties(CLIENT)


# --- what it says -------------------------------------------------------------------------


def test_a_request_is_read_as_it_was_made() -> None:
    request = asking(purpose="attach")
    signed = sign_request(request, HOST, INSTALLATION, CLIENT)
    read = understood(signed.body, CLIENT, NOW_S)
    assert read == Understood(request, signed.asked)
    assert signed.asked.digest == digest_of(signed.body)


def test_the_same_object_is_the_same_bytes_whenever_it_is_sent() -> None:
    request = asking()
    first, second = (sign_request(request, HOST, INSTALLATION, CLIENT) for _ in range(2))
    assert first == second
    assert asking().id != request.id


@pytest.mark.parametrize("apart_s", [-3_600, -301, -300, 0, 300, 301, 3_600])
def test_a_request_is_fresh_for_five_minutes_on_either_side(apart_s: float) -> None:
    signed = sign_request(asking(time=rfc3339(NOW_S + apart_s)), HOST, INSTALLATION, CLIENT)
    expected = Understood if abs(apart_s) <= 300 else Stale
    assert isinstance(understood(signed.body, CLIENT, NOW_S), expected)


def test_what_a_client_says_wrong_it_is_told_and_where_to() -> None:
    body = REQUEST.body.replace(b'"purpose"', b'"prupose"')
    read = understood(body, CLIENT, NOW_S)
    assert isinstance(read, Misread)
    assert read.detail == "data.prupose is unknown; did you mean purpose?"
    assert (read.id, read.reply_to) == (REQUEST.asked.id, DIRECT_REPLY)


def test_what_cannot_be_understood_is_never_sent() -> None:
    with pytest.raises(PermanentError, match="either item or key_id"):
        sign_request(asking(item=None), HOST, INSTALLATION, CLIENT)
    with pytest.raises(PermanentError, match=r"data\.project_id"):
        sign_request(asking(project_id="a b"), HOST, INSTALLATION, CLIENT)


# --- where the answer goes ----------------------------------------------------------------

TOKEN = f"{DIRECT_REPLY}.g1h2AA5yZXBseUA="


@pytest.mark.parametrize(
    ("reply_to", "property_", "address"),
    [
        (DIRECT_REPLY, TOKEN, TOKEN),
        ("kmworker.clients.blk01", None, "kmworker.clients.blk01"),
        ("kmworker.clients.blk01", TOKEN, "kmworker.clients.blk01"),
        ("kmworker.clients.blk02", "kmworker.clients.blk02", None),
        (DIRECT_REPLY, "kmworker.clients.blk02", None),
        (DIRECT_REPLY, "kmworker.events.work", None),
        (DIRECT_REPLY, DIRECT_REPLY, None),
        (DIRECT_REPLY, None, None),
        (DIRECT_REPLY, 7, None),
        (TOKEN, TOKEN, None),
    ],
)
def test_an_answer_goes_to_the_direct_reply_or_the_clients_own_queue(
    reply_to: str, property_: object, address: str | None
) -> None:
    assert reply_address(reply_to, property_, "kmworker.clients.blk01") == address
