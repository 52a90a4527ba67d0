"""Requests, signed and checked. Pure: who asks which of these when is the key server's.

The order is the contract's: size, user, (the rate of that client,) signature, then freshness,
repetition, rights and grant. Nothing of a body is read before its signature holds, and nothing is
sent anywhere: an answer to who merely claims to be a client would be a way to reach one.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any, Final

from kmworker.clock import unix_s
from kmworker.delegation.identity import Identity, PublicIdentity
from kmworker.delegation.signing import SIGNATURE_HEADER, digest_of, holds
from kmworker.domain.message import MAX_BODY_BYTES
from kmworker.domain.values import value
from kmworker.errors import PermanentError, Reason
from kmworker.wire.answers.bodies import Asked
from kmworker.wire.properties import CLOUD_EVENT, TRANSIENT
from kmworker.wire.requests.key_requested import KeyRequested
from kmworker.wire.requests.reading import Misread, read_request
from kmworker.wire.requests.request import DIRECT_REPLY, ClientRequest

__all__ = [
    "FRESH_S", "Dropped", "SignedMessage", "SignedRequest", "Stale", "Understood", "claimed_by",
    "reply_address", "sign_request", "signer_of", "understood",
]  # fmt: skip

REQUEST_LABEL: Final = "kmworker/request"
REQUEST_MS: Final = 30_000
"""How long a request waits for a key server."""
FRESH_S: Final = 300.0
"""How far a request's time may be from the key server's, on either side."""


class Dropped(StrEnum):
    """Why a message is counted, and not answered: nobody knows whose it is."""

    TOO_LARGE = "too-large"
    NO_USER = "no-user"
    """The broker vouches for no user."""
    UNKNOWN_CLIENT = "unknown-client"
    UNSIGNED = "unsigned"
    FORGED = "forged"
    """None of the client's identities signed it."""


@value
class SignedMessage:
    """A message as it came, of any content."""

    body: bytes = field(repr=False)
    user_id: object
    """The AMQP property: RabbitMQ lets a publisher name itself, and nobody else."""
    signature: object
    """The header `x-kmworker-signature`."""


@value
class SignedRequest:
    """A request as a client sends it."""

    body: bytes = field(repr=False)
    signature: str
    asked: Asked
    """What its answer has to repeat."""
    type: str
    reply_to: str

    def properties(self, client: str) -> Mapping[str, Any]:
        """Return the AMQP properties, headers included; the routing key is the type."""
        found: dict[str, Any] = {
            "content_type": CLOUD_EVENT,
            "type": self.type,
            "message_id": self.asked.id,
            # The broker takes it from this user alone.
            "user_id": client,
            "delivery_mode": TRANSIENT,
            # Who asks waits no longer, and asks again.
            "expiration": str(REQUEST_MS),
            "application_headers": {SIGNATURE_HEADER: self.signature},
        }
        # In place of this the broker puts the address that the answer has to go to.
        is_direct = self.reply_to == DIRECT_REPLY
        return found | ({"reply_to": DIRECT_REPLY} if is_direct else {})


@value
class Understood:
    """A request that its client signed just now."""

    request: ClientRequest
    asked: Asked


@value
class Stale:
    """A request that its client signed, at another time. The answer says what time it is."""

    request: ClientRequest
    asked: Asked


def sign_request(
    request: ClientRequest, identity: Identity, installation: str, client: str
) -> SignedRequest:
    """Return the request as it is sent.

    Raises:
        PermanentError: the key server would not understand it.
    """
    body = request.body(client)
    # With the key server's own words, before anything is sent.
    read = read_request(body, client)
    if isinstance(read, Misread):
        raise PermanentError(Reason.MALFORMED, read.detail)
    signature = identity.sign(*_signed(body, installation, client))
    return SignedRequest(body, signature, _asked(read, body), read.type, read.reply_to)


def claimed_by(message: SignedMessage) -> str | Dropped:
    """Return which client a message claims to be of. Nothing of its body has been read."""
    if len(message.body) > MAX_BODY_BYTES:
        return Dropped.TOO_LARGE
    user = message.user_id
    return user if isinstance(user, str) and user else Dropped.NO_USER


def signer_of(
    message: SignedMessage, client: str, identities: Iterable[PublicIdentity], installation: str
) -> PublicIdentity | Dropped:
    """Return which of a client's identities signed a message: its answer is sealed to that one.

    Args:
        message: of at most `MAX_BODY_BYTES`.
        client: as `claimed_by` returned it.
        identities: the client's that are enrolled: one, or two while one takes the other's place.
        installation: this one's id.
    """
    signature = message.signature
    if not isinstance(signature, str):
        return Dropped.UNSIGNED
    signed = _signed(message.body, installation, client)
    found = (it for it in identities if holds(it.sign, signature, *signed))
    return next(found, Dropped.FORGED)


def understood(body: bytes, client: str, now_s: float) -> Understood | Stale | Misread:
    """Read a request whose signature holds."""
    request = read_request(body, client)
    if isinstance(request, Misread):
        return request
    asked = _asked(request, body)
    if abs(now_s - unix_s(request.time)) > FRESH_S:
        return Stale(request, asked)
    return Understood(request, asked)


def reply_address(reply_to: str, property_: object, own_queues: Collection[str]) -> str | None:
    """Return the queue that an answer goes to; None: it may go nowhere.

    Args:
        reply_to: what the client signed.
        property_: the AMQP property `reply_to`, where the broker has put the address that stands
            for its direct reply-to.
        own_queues: the client's own.
    """
    if reply_to in own_queues:
        return reply_to
    is_direct = isinstance(property_, str) and property_.startswith(f"{DIRECT_REPLY}.")
    return property_ if reply_to == DIRECT_REPLY and is_direct else None  # type: ignore[return-value]


def _signed(body: bytes, installation: str, client: str) -> tuple[str, str, str, str]:
    return REQUEST_LABEL, installation, client, digest_of(body)


def _asked(request: ClientRequest, body: bytes) -> Asked:
    item, key_id = None, None
    if isinstance(request, KeyRequested):
        item, key_id = request.item, request.key_id
    return Asked(request.id, digest_of(body), request.project_id, item, key_id)
