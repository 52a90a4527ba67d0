"""Events that cannot be processed: the original, with a reason beside it.

A dead letter must itself be deliverable for ever. So what a producer's properties
would do to it (expire it, route it elsewhere, have the broker refuse it) is taken off.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from kmworker.decision import Refuse
from kmworker.events import UNKNOWN_TYPE
from kmworker.message import Original, Outgoing

__all__ = [
    "EARLIER_ATTEMPTS", "MAX_ATTEMPTS_SHOWN", "MAX_HEADER_BYTES", "PERSISTENT", "dead_letter",
    "kept_headers",
]  # fmt: skip

MAX_HEADER_BYTES: Final = 255
# On a replayed event: what its earlier letters have counted. Anybody can set it, so it is
# added to the number that a letter shows, and to nothing that decides.
EARLIER_ATTEMPTS: Final = "x-kmworker-earlier-attempts"
MAX_ATTEMPTS_SHOWN: Final = 1_000_000
PERSISTENT: Final = 2

# user_id must be the connection's own user, or the broker closes the channel;
# expiration would delete the letter from the dead queue.
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
) -> Outgoing:
    """Build the dead letter of an event.

    Args:
        original: the message; its body and properties are kept.
        refusal: why.
        exchange: the dead-letter exchange.
        event_id: the event's id, empty where it could not be read.
        event_type: its type, or `unknown`.
        dead_at: RFC 3339, UTC.
        attempts: how often it was tried, this time included; a replayed event's earlier
            attempts are added to it.
    """
    brought = original.properties.get("application_headers") or {}
    headers = {
        "x-kmworker-reason": refusal.reason.value,
        "x-kmworker-detail": refusal.detail,
        "x-kmworker-event-id": event_id,
        "x-kmworker-event-type": event_type,
        "x-kmworker-routing-key": original.routing_key,
        "x-kmworker-dead-at": dead_at,
    }
    kept = {name: value for name, value in original.properties.items() if name not in UNDELIVERABLE}
    kept["application_headers"] = {
        **kept_headers(brought),
        **{name: _cut(value) for name, value in headers.items()},
        "x-kmworker-attempts": min(attempts + _earlier_attempts(brought), MAX_ATTEMPTS_SHOWN),
    }
    kept["delivery_mode"] = PERSISTENT
    kept["message_id"] = hashlib.sha256(original.body).hexdigest()
    return Outgoing(exchange, _routing_key(refusal, event_type), original.body, kept)


def kept_headers(headers: Mapping[str | bytes, Any]) -> dict[str | bytes, Any]:
    """Leave out what would make a message undeliverable; names that are not UTF-8 are bytes."""
    return {
        name: value
        for name, value in headers.items()
        if name not in BROKER_HEADERS
        and name != EARLIER_ATTEMPTS
        and not (isinstance(name, str) and name.startswith(DEATH_NOTES))
    }


def _earlier_attempts(headers: Mapping[str | bytes, Any]) -> int:
    earlier = headers.get(EARLIER_ATTEMPTS)
    # A bool is an int, too; below nothing would hide attempts.
    return earlier if type(earlier) is int and earlier > 0 else 0


def _routing_key(refusal: Refuse, event_type: str) -> str:
    key = f"{refusal.reason.value}.{event_type}"
    return key if len(key) <= MAX_HEADER_BYTES else f"{refusal.reason.value}.{UNKNOWN_TYPE}"


def _cut(text: str) -> str:
    return text.encode(errors="replace")[:MAX_HEADER_BYTES].decode(errors="ignore")
