"""Messages as they come from and go to a broker."""

from collections.abc import Mapping
from dataclasses import field, replace
from enum import Enum
from hashlib import sha256
from typing import Any, Final

from kmworker.domain.values import value

__all__ = [
    "LEFT_OFF",
    "MAX_BODY_BYTES",
    "POISON_AT",
    "Confirm",
    "Delivery",
    "Digest",
    "Original",
    "Outgoing",
    "within_bounds",
]

MAX_BODY_BYTES: Final = 64 * 1024
"""No event is larger, so no more than this of a body is ever held."""
LEFT_OFF: Final = "x-kmworker-left-off"
"""The header that names what a message had and does not carry any more."""
POISON_AT: Final = 2
"""A `Delivery.delivery_count` from which on the event may be what ended its workers."""


class Confirm(Enum):
    """What a broker says of a message that was published to it."""

    STORED = "stored"
    """It is on disk in every queue that is bound for it."""
    UNROUTED = "unrouted"
    """No queue is bound for it."""
    REFUSED = "refused"
    """A queue that is bound for it was full, or could not store it."""


@value
class Digest:
    """What is known of a body that was too large to be held."""

    sha256: str
    """In hexadecimal."""
    size_bytes: int


@value
class Original:
    """A message as its producer sent it: what is parked, or dead-lettered, unchanged."""

    body: bytes = field(repr=False)
    routing_key: str
    properties: Mapping[str, Any] = field(repr=False)
    """AMQP basic properties by name; ``application_headers`` included."""
    dropped: Digest | None = None
    """Of a body beyond `MAX_BODY_BYTES`, which is not here: ``body`` is empty then."""

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the body as it was sent, in hexadecimal."""
        return sha256(self.body).hexdigest() if self.dropped is None else self.dropped.sha256


def within_bounds(original: Original) -> Original:
    """Return the message with a digest in place of a body beyond `MAX_BODY_BYTES`."""
    size = len(original.body)
    if size <= MAX_BODY_BYTES:
        return original
    return replace(original, body=b"", dropped=Digest(original.digest, size))


@value
class Delivery:
    """An event as the broker delivered it, not yet decoded or acknowledged."""

    original: Original
    tag: int
    generation: int
    """Of the channel it came on: a tag means nothing on any other."""
    received_at: float
    """Monotonic seconds."""
    delivery_count: int = 0
    """How often it was handed out before without being acknowledged."""


@value
class Outgoing:
    """A message to publish, persistent and mandatory."""

    exchange: str
    routing_key: str
    body: bytes = field(repr=False)
    properties: Mapping[str, Any] = field(repr=False)
