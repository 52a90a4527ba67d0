"""Events that cannot be processed: the original, with a reason beside it.

A dead letter must itself be deliverable for ever. So what a producer's properties
would do to it (expire it, route it elsewhere, have the broker refuse it) is taken off.
"""

from collections.abc import Mapping
from typing import Any, Final

from kmworker.domain.decision import Refuse
from kmworker.domain.event import UNKNOWN_TYPE
from kmworker.domain.message import LEFT_OFF, Original, Outgoing
from kmworker.wire.dead_letters.headers import MAX_HEADER_BYTES, OURS, DeadLetterHeaders, header_of
from kmworker.wire.properties import PERSISTENT, bounded, cut

__all__ = [
    "EARLIER_ATTEMPTS", "MAX_ATTEMPTS_SHOWN",
    "dead_letter", "is_ours", "kept_headers",
]  # fmt: skip

# On a replayed event: what its earlier dead letters have counted. Anybody can set it, so it is
# added to the number that a dead letter shows, and to nothing that decides.
EARLIER_ATTEMPTS: Final = "x-kmworker-earlier-attempts"
MAX_ATTEMPTS_SHOWN: Final = 1_000_000

# user_id must be the connection's own user, or the broker closes the channel;
# expiration would delete the dead letter from the dead queue.
UNDELIVERABLE: Final = frozenset({"user_id", "expiration"})
# CC and BCC route (sender-selected distribution); the others are the broker's own notes
# on an earlier delivery, and a repeated x-death makes it drop messages as a cycle.
BROKER_HEADERS: Final = frozenset({"CC", "BCC", "x-death", "x-delivery-count", "x-acquired-count"})
DEATH_NOTES: Final = ("x-first-death-", "x-last-death-")


def dead_letter(  # noqa: PLR0913  # one keyword for each header
    original: Original,
    refusal: Refuse,
    *,
    exchange: str,
    event_id: str,
    event_type: str,
    dead_at: str,
    attempts: int,
    user: str | None = None,
) -> Outgoing:
    """Build the dead letter of an event.

    Args:
        original: the message; its body is kept if it is not larger than an event may be, and of
            its properties what fits.
        refusal: why.
        exchange: the dead-letter exchange.
        event_id: the event's id, empty where it could not be read.
        event_type: its type, or `unknown`.
        dead_at: RFC 3339, UTC.
        attempts: how often it was tried, this time included; a replayed event's earlier
            attempts are added to it.
        user: whose event it is, as far as the broker vouches for that.
    """
    brought = original.properties.get("application_headers") or {}
    said: DeadLetterHeaders = {
        "reason": refusal.reason.value,
        "detail": cut(refusal.detail),
        "event_id": cut(event_id),
        "event_type": cut(event_type),
        "routing_key": cut(original.routing_key),
        "dead_at": dead_at,
        # Also where there is none: what its sender wrote there would count in a replay.
        "user": cut(user or ""),
        "attempts": min(attempts + _earlier_attempts(brought), MAX_ATTEMPTS_SHOWN),
    }
    if original.dropped is not None:
        said["body_sha256"] = original.dropped.sha256
        said["body_bytes"] = original.dropped.size_bytes
    own: dict[str | bytes, Any] = {header_of(name): value for name, value in said.items()}
    kept = {name: value for name, value in original.properties.items() if name not in UNDELIVERABLE}
    kept["application_headers"] = {
        name: value
        for name, value in kept_headers(brought).items()
        if name == LEFT_OFF or not is_ours(name)
    }
    kept["delivery_mode"] = PERSISTENT
    kept["message_id"] = original.digest
    properties = bounded(kept, own)
    return Outgoing(exchange, _routing_key(refusal, event_type), original.body, properties)


def kept_headers(headers: Mapping[str | bytes, Any]) -> dict[str | bytes, Any]:
    """Leave out what would make a message undeliverable; names that are not UTF-8 are bytes."""
    return {
        name: value
        for name, value in headers.items()
        if name not in BROKER_HEADERS
        and name != EARLIER_ATTEMPTS
        and not (isinstance(name, str) and name.startswith(DEATH_NOTES))
    }


def is_ours(header: str | bytes) -> bool:
    """Return whether a header has a name that only workers write."""
    return isinstance(header, str) and header.startswith(OURS)


def _earlier_attempts(headers: Mapping[str | bytes, Any]) -> int:
    earlier = headers.get(EARLIER_ATTEMPTS)
    # A bool is an int, too; below nothing would hide attempts.
    return earlier if type(earlier) is int and earlier > 0 else 0


def _routing_key(refusal: Refuse, event_type: str) -> str:
    key = f"{refusal.reason.value}.{event_type}"
    return key if len(key) <= MAX_HEADER_BYTES else f"{refusal.reason.value}.{UNKNOWN_TYPE}"
