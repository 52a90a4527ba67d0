"""A client believes what a listed key says to it, in answer to what it asked, and nothing else."""

import base64
import copy
import json
import pickle
from typing import Any

import pytest

from kmworker.clock import rfc3339
from kmworker.delegation import checking
from kmworker.delegation.answers import AnswerSigner, SignedAnswer, answer_parts
from kmworker.delegation.checking import (
    Checked,
    DeliveredKey,
    RefusedKey,
    RevokedKey,
    check_revoked,
)
from kmworker.delegation.identity import Identity
from kmworker.delegation.requests import sign_request
from kmworker.delegation.root_key import RootKey
from kmworker.delegation.trust_list import TrustList, check_list, make_list
from kmworker.domain.keys import Encryption
from kmworker.domain.model import Item, Kind
from kmworker.errors import Untrusted
from kmworker.wire.answers.bodies import Delivered
from kmworker.wire.answers.messages import Refusal
from kmworker.wire.requests.request import DIRECT_REPLY
from kmworker.wire.requests.types import KeyRequested
from tests.kit import delivery
from tests.kit.delegation_vectors import (
    AT,
    CLIENT,
    DELIVERED,
    ENROLMENT,
    HOST,
    INSTALLATION,
    KEY,
    KEY_ID,
    LIST,
    NOW_S,
    REQUEST,
    REVOKED,
    REVOKED_ID,
    ROOT,
    SERVER,
    SOURCE,
    VOLUME,
    read_vectors,
    signer,
)
from tests.kit.delivery import deliver
from tests.kit.flips import flipped, flipped_text
from tests.kit.secrecy import assert_shows_no_secret, shown_by

HOUR_S, DAY_S = 3_600.0, 86_400.0
HOST_SEAL_SEED = base64.b64decode(read_vectors()["identity.json"]["file"]["seal"])
OTHER = Identity(b"\1" * 32, b"\2" * 32, AT)


ANSWER = deliver()
REFUSED = signer().refuse(REQUEST.asked, CLIENT, Refusal.NOT_GRANTED, at=AT)
REVOCATION = signer().revoke(REVOKED_ID, CLIENT, REVOKED, at=AT)


def check(answer: SignedAnswer = ANSWER, **changed: Any) -> Checked:
    return delivery.check(answer, **changed)


def signed_again(body: bytes) -> SignedAnswer:
    """What the key server itself might have said, had it been another program."""
    signature = SERVER.sign(*answer_parts(INSTALLATION, CLIENT, body))
    return SignedAnswer(body, signature, "key-delivered", "")


def with_data(answer: SignedAnswer = ANSWER, **changed: Any) -> SignedAnswer:
    document = json.loads(answer.body)
    document["data"] |= changed
    return signed_again(json.dumps(document).encode())


# --- what holds ---------------------------------------------------------------------------


def test_a_key_that_was_asked_for_is_opened() -> None:
    checked = check()
    assert isinstance(checked.answer, DeliveredKey)
    with checked.answer as it:
        assert bytes(it.key.view) == KEY
        assert (it.key_id, it.encryption) == (KEY_ID, DELIVERED.encryption)
        assert it.keep_s == DAY_S
    assert checked.answer.key.is_wiped
    assert checked.trust == LIST
    assert checked.at_s == NOW_S


def test_a_key_that_was_asked_for_by_its_key_id_is_opened() -> None:
    request = sign_request(
        KeyRequested(project_id="p", key_id=KEY_ID, reply_to=DIRECT_REPLY, time=AT),
        HOST, INSTALLATION, CLIENT,
    )  # fmt: skip
    checked = check(deliver(asked=request.asked), request=request)
    assert isinstance(checked.answer, DeliveredKey)
    other = Delivered(
        "c0b7e0a4-6f0c-4b1e-9f57-2d3f8f0a9b62", DELIVERED.encryption, DELIVERED.state,
        DELIVERED.not_after,
    )  # fmt: skip
    with pytest.raises(Untrusted, match="something else"):
        check(deliver(asked=request.asked, delivered=other), request=request)


@pytest.mark.parametrize("reason", Refusal)
def test_a_refusal_is_told_in_its_word(reason: Refusal) -> None:
    answer = signer().refuse(REQUEST.asked, CLIENT, reason, at=AT, detail="data: missing")
    detail = "data: missing" if reason is Refusal.MALFORMED else ""
    assert check(answer).answer == RefusedKey(reason, detail)


def test_a_revocation_names_what_to_give_up() -> None:
    checked = check_revoked(
        REVOCATION.body, REVOCATION.signature, ENROLMENT, seen=LIST, now_s=NOW_S
    )
    assert checked.answer == RevokedKey(REVOKED_ID, REVOKED)


# --- what does not ------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [ANSWER, REFUSED], ids=["delivered", "refused"])
def test_every_flipped_byte_of_an_answer_is_refused(answer: SignedAnswer) -> None:
    for body in flipped(answer.body):
        with pytest.raises(Untrusted):
            check(answer, body=body)


def test_every_flipped_byte_of_a_signature_is_refused() -> None:
    for signature in flipped_text(ANSWER.signature):
        with pytest.raises(Untrusted, match="signature"):
            check(signature=signature)


def test_every_flipped_byte_of_a_revocation_is_refused() -> None:
    for body in flipped(REVOCATION.body):
        with pytest.raises(Untrusted):
            check_revoked(body, REVOCATION.signature, ENROLMENT, seen=None, now_s=NOW_S)


@pytest.mark.parametrize("length", [0, 1, 100, len(ANSWER.body) - 1])
def test_a_truncated_answer_is_refused(length: int) -> None:
    with pytest.raises(Untrusted):
        check(body=ANSWER.body[:length])


@pytest.mark.parametrize(
    "body",
    [b"null", b"[]", b"\xff", b"{" * 70_000, b"[" * 60_000, b'{"type":"key-delivered"}',
     b'{"type":"key-assigned"}', b'{"type":"key-refused","type":"key-refused"}',
     b'{"type":"key-refused","n":' + b"9" * 5_000 + b"}"],
    ids=lambda it: repr(it[:24]),
)  # fmt: skip
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(Untrusted, match="answer") as refused:
        check(body=body)
    assert refused.value.hint


@pytest.mark.parametrize("signature", [None, b"x", 1, "", "é", "A" * 88], ids=repr)
def test_what_is_no_signature_is_refused(signature: object) -> None:
    with pytest.raises(Untrusted, match="signature"):
        check(signature=signature)


def test_an_answer_to_another_client_is_refused() -> None:
    refusal = signer().refuse(REQUEST.asked, "blk02", Refusal.SUSPENDED, at=AT)
    for answer in (deliver(client="blk02"), refusal):
        with pytest.raises(Untrusted, match="signature"):
            check(answer)


def test_an_answer_to_another_request_is_refused_even_if_it_is_for_the_same_item() -> None:
    again = sign_request(
        KeyRequested(project_id=VOLUME.project, item=VOLUME, reply_to=DIRECT_REPLY, time=AT),
        HOST, INSTALLATION, CLIENT,
    )  # fmt: skip
    for answer in (ANSWER, REFUSED):
        with pytest.raises(Untrusted, match="another request"):
            check(answer, request=again)


def test_a_revocation_answers_nothing_and_an_answer_revokes_nothing() -> None:
    with pytest.raises(Untrusted, match="answers nothing"):
        check(REVOCATION)
    with pytest.raises(Untrusted, match="it is none"):
        check_revoked(REFUSED.body, REFUSED.signature, ENROLMENT, seen=None, now_s=NOW_S)


def test_a_key_that_is_sealed_to_another_identity_does_not_open() -> None:
    with pytest.raises(Untrusted, match="does not open"):
        check(deliver(recipient=OTHER.public))
    with pytest.raises(Untrusted, match="does not open"):
        check(identity=OTHER)


OTHER_ITEM = {"kind": "volume", "id": "another"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"item": OTHER_ITEM}, "something else"),
        ({"item": None}, "something else"),
        ({"project_id": "another"}, "something else"),
        ({"key_id": REVOKED_ID}, "does not open"),
        ({"encryption": {"cipher": "aes-cbc-essiv", "key_bits": 512}}, "does not open"),
        ({"encryption": {"cipher": "aes-xts-plain64", "key_bits": 256}}, "does not open"),
        ({"not_after": "2036-11-24T16:00:00.000Z"}, "does not open"),
        ({"not_after": AT}, "may not be kept"),
        ({"not_after": "2026-02-30T16:00:00Z"}, "not_after"),
        ({"suite": "X25519"}, "suite"),
        ({"state": "lost"}, "state"),
        ({"sealed": "AAAA"}, "does not open"),
        ({"sealed": "é"}, "sealed"),
        ({"encryption": {"cipher": "c", "key_bits": 10**30}}, "key_bits"),
        ({"signed_by": "0" * 16}, "does not have"),
        ({"request": "0" * 64}, "another request"),
        ({"request_id": REVOKED_ID}, "another request"),
    ],
    ids=str,
)
def test_what_is_sealed_is_bound_to_what_stands_beside_it(
    changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(Untrusted, match=said):
        check(with_data(**changed))


def test_what_a_newer_key_server_adds_is_left_to_newer_clients() -> None:
    assert isinstance(check(with_data(more="x")).answer, DeliveredKey)


def test_a_request_that_was_never_signed_by_this_identity_is_not_answered_to_it() -> None:
    """The digest of the client's key is bound, too, not its request alone."""
    same_key = Identity(b"\1" * 32, HOST_SEAL_SEED, AT)
    assert same_key.public.seal == HOST.public.seal
    with pytest.raises(Untrusted, match="does not open"):
        check(identity=same_key)


# --- keys of key servers roll over --------------------------------------------------------


def a_list(number: int, *servers: Identity, days: float = 30.0) -> TrustList:
    return make_list(
        ROOT, INSTALLATION, number, [it.public for it in servers],
        not_before=AT, not_after=rfc3339(NOW_S + days * DAY_S),
    )  # fmt: skip


def test_keys_roll_over_without_touching_a_client() -> None:
    first, both, last = a_list(1, SERVER), a_list(2, SERVER, OTHER), a_list(3, OTHER)
    seen: TrustList | None = None
    for by, carried in [(SERVER, first), (SERVER, both), (SERVER, first), (OTHER, both),
                        (OTHER, last)]:  # fmt: skip
        seen = check(deliver(by=AnswerSigner(by, carried, SOURCE)), seen=seen).trust
    assert seen == last
    # And from then on the old key server's key is nobody's.
    for carried in (first, both):
        with pytest.raises(Untrusted, match="trust list 3 does not have"):
            check(deliver(by=AnswerSigner(SERVER, carried, SOURCE)), seen=seen)


def test_a_list_that_is_over_makes_an_answer_worthless() -> None:
    short = AnswerSigner(SERVER, a_list(1, SERVER, days=1), SOURCE)
    answer = deliver(by=short)
    assert check(answer, now_s=NOW_S + DAY_S - 1).trust.number == 1
    with pytest.raises(Untrusted, match="held until"):
        check(answer, now_s=NOW_S + DAY_S)


def test_a_list_of_another_root_is_no_list() -> None:
    foreign = RootKey.generate(AT)
    forged = make_list(
        foreign, INSTALLATION, 99, [OTHER.public], not_before=AT, not_after=rfc3339(NOW_S + DAY_S)
    )
    with pytest.raises(Untrusted, match="root key"):
        check(deliver(by=AnswerSigner(OTHER, forged, SOURCE)))


# --- a list that was checked before -------------------------------------------------------


def test_the_list_that_a_client_goes_by_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[str] = []

    def counted(text: str, signature: str, root: bytes, installation: str) -> TrustList:
        checks.append(text)
        return check_list(text, signature, root, installation)

    monkeypatch.setattr(checking, "check_list", counted)
    seen = check(seen=None).trust
    assert check(deliver(), seen=seen).trust is seen
    assert checks == [LIST.text]
    newer = a_list(LIST.number + 1, SERVER)
    assert check(deliver(by=AnswerSigner(SERVER, newer, SOURCE)), seen=seen).trust == newer
    assert checks == [LIST.text, newer.text]


def test_a_list_that_was_checked_before_is_over_all_the_same() -> None:
    short = a_list(1, SERVER, days=1)
    answer = deliver(by=AnswerSigner(SERVER, short, SOURCE))
    assert check(answer, seen=short, now_s=NOW_S + DAY_S - 1).trust is short
    with pytest.raises(Untrusted, match="held until"):
        check(answer, seen=short, now_s=NOW_S + DAY_S)
    # Nor does it hold before it begins, however long ago it was checked.
    with pytest.raises(Untrusted, match="does not hold before"):
        check(seen=LIST, now_s=NOW_S - HOUR_S)


@pytest.mark.parametrize("field", ["text", "signature"])
def test_what_is_no_more_than_alike_passes_for_no_list_that_was_checked(field: str) -> None:
    for changed in flipped_text(LIST.document[field]):
        with pytest.raises(Untrusted):
            check(with_data(trust=LIST.document | {field: changed}), seen=LIST)


# --- clocks that are wrong ----------------------------------------------------------------


@pytest.mark.parametrize("off_s", [-HOUR_S, HOUR_S])
def test_a_client_whose_clock_is_an_hour_off_learns_the_time_and_how_long_a_key_may_stay(
    off_s: float,
) -> None:
    """Lists are there for weeks: this one has begun yesterday."""
    begun = make_list(
        ROOT, INSTALLATION, 1, [SERVER.public],
        not_before=rfc3339(NOW_S - DAY_S), not_after=rfc3339(NOW_S + DAY_S),
    )  # fmt: skip
    by = AnswerSigner(SERVER, begun, SOURCE)
    stale = by.refuse(REQUEST.asked, CLIENT, Refusal.STALE_REQUEST, at=AT)
    told = check(stale, now_s=NOW_S + off_s)
    assert told.answer == RefusedKey(Refusal.STALE_REQUEST, "")
    assert told.at_s == NOW_S
    soon = Delivered(KEY_ID, DELIVERED.encryption, DELIVERED.state, rfc3339(NOW_S + 600))
    checked = check(deliver(by=by, delivered=soon), now_s=NOW_S + off_s)
    assert isinstance(checked.answer, DeliveredKey)
    assert checked.answer.keep_s == 600


# --- and nothing shows a key --------------------------------------------------------------


def test_a_delivered_key_is_neither_shown_nor_copied() -> None:
    checked = check()
    assert isinstance(checked.answer, DeliveredKey)
    assert_shows_no_secret(f"{checked!r} {checked} {checked.answer.key}", {"key": KEY})
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="holds key material"):
            attempt(checked)


def test_no_refusal_shows_a_key() -> None:
    wrong = [with_data(key_id=REVOKED_ID), with_data(not_after=AT), deliver(client="x")]
    for answer in wrong:
        with pytest.raises(Untrusted) as refused:
            check(answer)
        for text in shown_by(refused.value):
            assert_shows_no_secret(text, {"key": KEY})


def test_every_length_of_key_is_deliver() -> None:
    for bits in (128, 256, 512, 65_536):
        found = Delivered(KEY_ID, Encryption("c", bits), DELIVERED.state, DELIVERED.not_after)
        checked = check(deliver(delivered=found, key=b"k" * (bits // 8)))
        assert isinstance(checked.answer, DeliveredKey)
        assert len(checked.answer.key) == bits // 8


def test_unicode_in_an_id_that_was_never_asked_for_changes_nothing() -> None:
    twin = Item(VOLUME.project, Kind.VOLUME, VOLUME.id[:-1] + "\N{FULLWIDTH DIGIT FIVE}")
    with pytest.raises(Untrusted, match=r"data\.item\.id"):
        check(with_data(item={"kind": "volume", "id": twin.id}))
