"""Answers, checked by a client: first who says it, then whether it answers what was asked.

Nothing is opened before the signature holds. What a key server says of the time serves to make
the next request fresh, and never to make a trust list last: that goes by the client's own clock.
"""

from collections.abc import Mapping
from typing import Any, Final, Self

from kmworker.clock import unix_s
from kmworker.delegation.answers import answer_parts
from kmworker.delegation.buffer import KeyBuffer
from kmworker.delegation.encoded import from_text
from kmworker.delegation.enrolment import Enrolment
from kmworker.delegation.identity import Identity
from kmworker.delegation.requests import SignedRequest
from kmworker.delegation.sealing import OVERHEAD_BYTES, delivery_info
from kmworker.delegation.signing import holds
from kmworker.delegation.trust_list import TrustList, check_list, newest
from kmworker.domain.keys import Encryption, KeyState
from kmworker.domain.model import Item, Kind
from kmworker.domain.values import value
from kmworker.errors import Untrusted
from kmworker.wire.answers.bodies import Asked, Revoked, answer_in
from kmworker.wire.answers.messages import DELIVERED, REFUSED, REVOKED, Refusal, Revoking

__all__ = ["Checked", "DeliveredKey", "RefusedKey", "RevokedKey", "check_answer", "check_revoked"]

ASK_AGAIN: Final = "ask again; if it stays so, whoever runs the key servers has to look"


@value
class DeliveredKey:
    """A key that was asked for. It is in `key`, and nowhere else."""

    key: KeyBuffer
    key_id: str
    encryption: Encryption
    state: KeyState
    not_after: str
    """RFC 3339, UTC."""
    keep_s: float
    """How long a copy may be kept, whatever this machine's clock says.

    Counted from when the request was *sent*: the answer may have been held back on its way.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.key.wipe()


@value
class RefusedKey:
    """Why there is no key."""

    reason: Refusal
    detail: str
    """Of `malformed`, what is wrong with the request; otherwise empty."""


@value
class RevokedKey:
    """A key to give up."""

    id: str
    """The message's: repeats have the same one."""
    revoked: Revoked


@value
class Checked:
    """An answer that holds."""

    answer: DeliveredKey | RefusedKey | RevokedKey
    trust: TrustList
    """The list to go by from now on."""
    at_s: float
    """The key server's time, in Unix seconds: what a client's own is off by goes into requests."""


def check_answer(  # noqa: PLR0913  # what came, and what it is held against
    body: bytes,
    signature: object,
    request: SignedRequest,
    identity: Identity,
    enrolment: Enrolment,
    *,
    seen: TrustList | None,
    now_s: float,
) -> Checked:
    """Return what a key server answers to a request.

    Args:
        body: as it came, of any size and content.
        signature: the header.
        request: what it has to be the answer to.
        identity: the one that signed that.
        enrolment: what this client pins.
        seen: the trust list that it goes by so far, which this enrolment's root has signed.
        now_s: by the client's own clock, in Unix seconds.

    Raises:
        Untrusted: it is not signed by a listed key, answers something else, or does not open.
    """
    said, trust = _believed(body, signature, enrolment, seen, now_s)
    data = said["data"]
    if said["type"] not in {DELIVERED, REFUSED}:
        raise Untrusted("answer: it answers nothing", ASK_AGAIN)
    if (data["request"], data["request_id"]) != (request.asked.digest, request.asked.id):
        raise Untrusted("answer: to another request", ASK_AGAIN)
    at_s = unix_s(said["time"])
    if said["type"] == REFUSED:
        refused = RefusedKey(Refusal(data["reason"]), data.get("detail", ""))
        return Checked(refused, trust, at_s)
    return Checked(_opened(data, request.asked, identity, at_s), trust, at_s)


def check_revoked(
    body: bytes, signature: object, enrolment: Enrolment, *, seen: TrustList | None, now_s: float
) -> Checked:
    """Return which key a client has to give up; as `check_answer`, but it answers no request.

    Raises:
        Untrusted: it is not signed by a listed key, or is something else.
    """
    said, trust = _believed(body, signature, enrolment, seen, now_s)
    if said["type"] != REVOKED:
        raise Untrusted("revocation: it is none", ASK_AGAIN)
    data = said["data"]
    project, item = data["project_id"], data["item"]
    revoked = Revoked(
        project,
        None if item is None else Item(project, Kind(item["kind"]), item["id"]),
        data.get("attachment_id"),
        data["key_id"],
        Revoking(data["cause"]),
    )
    return Checked(RevokedKey(said["id"], revoked), trust, unix_s(said["time"]))


def _believed(
    body: bytes, signature: object, enrolment: Enrolment, seen: TrustList | None, now_s: float
) -> tuple[Mapping[str, Any], TrustList]:
    """Return what a listed key has signed, and the list."""
    said = _read(body)
    data = said["data"]
    trust = newest(seen, _carried(data["trust"], enrolment, seen), now_s)
    public = trust.sign.get(data["signed_by"])
    if public is None:
        raise Untrusted(f"answer: by a key that trust list {trust.number} does not have", ASK_AGAIN)
    parts = answer_parts(enrolment.installation, enrolment.client, body)
    if not isinstance(signature, str) or not holds(public, signature, *parts):
        raise Untrusted("answer: its signature does not hold", ASK_AGAIN)
    return said, trust


def _carried(said: Mapping[str, str], enrolment: Enrolment, seen: TrustList | None) -> TrustList:
    """Return the list that an answer carries.

    It is nearly always the one that this client goes by, to the byte, whose signature was checked
    when it came; to check it again would take as long as opening the key, and find the same.
    """
    if seen is not None and said == seen.document:
        return seen
    return check_list(**said, root=enrolment.root, installation=enrolment.installation)


def _read(body: bytes) -> Mapping[str, Any]:
    try:
        return answer_in(body)
    except ValueError as wrong:
        complaint = str(wrong)
    raise Untrusted(f"answer: {complaint}", ASK_AGAIN)


def _opened(data: Mapping[str, Any], asked: Asked, identity: Identity, at_s: float) -> DeliveredKey:
    if not _is_what_was_asked_for(data, asked):
        raise Untrusted("answer: the key of something else", ASK_AGAIN)
    encryption = Encryption(**data["encryption"])
    key_id, not_after = data["key_id"], data["not_after"]
    keep_s = unix_s(not_after) - at_s
    if keep_s <= 0:
        raise Untrusted("answer: its key may not be kept even now", ASK_AGAIN)
    sealed = from_text(data["sealed"], OVERHEAD_BYTES + encryption.key_bits // 8)
    info = delivery_info(asked, identity.public.fingerprint, key_id, encryption, not_after)
    # Its length is that of what it was sealed from (RFC 9180, section 5.2: the AEAD's).
    key = None if sealed is None else identity.open(sealed, info)
    if key is None:
        raise Untrusted("answer: what is sealed in it does not open", ASK_AGAIN)
    return DeliveredKey(key, key_id, encryption, KeyState(data["state"]), not_after, keep_s)


def _is_what_was_asked_for(data: Mapping[str, Any], asked: Asked) -> bool:
    item = None if asked.item is None else {"kind": asked.item.kind.value, "id": asked.item.id}
    return (
        data["project_id"] == asked.project
        and data["item"] == item
        and asked.key_id in {None, data["key_id"]}
    )
