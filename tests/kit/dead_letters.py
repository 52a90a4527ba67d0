"""Dead letters as a worker writes them, changed by keyword."""

from typing import Any

from kmworker.domain.decision import Refuse
from kmworker.domain.message import Original, Outgoing
from kmworker.errors import Reason
from kmworker.wire.dead_letters.writing import dead_letter

DEAD_AT = "2026-11-23T16:00:00.000Z"
BODY = b'{"specversion":"1.0","id":"6d1c","type":"volume-created"}'


def dead_letter_of(
    original: Original | None = None,
    *,
    reason: Reason = Reason.CONFLICT,
    detail: str = "why",
    **said: Any,
) -> Outgoing:
    """The dead letter of a message, of an event unless told otherwise."""
    whole: dict[str, Any] = {
        "exchange": "kmworker.dead",
        "event_id": "6d1c",
        "event_type": "volume-created",
        "dead_at": DEAD_AT,
        "attempts": 1,
    }
    refusal = Refuse(reason, detail)
    return dead_letter(original or Original(BODY, "volume-created", {}), refusal, **(whole | said))


def as_delivered(sent: Outgoing) -> Original:
    """What is read of a message that was sent."""
    return Original(sent.body, sent.routing_key, sent.properties)
