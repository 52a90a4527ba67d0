"""Dead letters as a person handles them: read, chosen, made events again. Pure.

The queue is open to whoever may publish to its exchange. So every header is a stranger's
until it has the type it should have, and a letter that no worker wrote is shown, can be
discarded, and is never made an event.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from kmworker.dead_letters import (
    EARLIER_ATTEMPTS,
    MAX_ATTEMPTS_SHOWN,
    MAX_HEADER_BYTES,
    PERSISTENT,
    kept_headers,
)
from kmworker.message import Original, Outgoing

__all__ = [
    "MIN_ID_CHARACTERS", "Fingerprint", "Letter", "Selection", "moment_s", "read_letter",
    "replayed",
]  # fmt: skip

Fingerprint = tuple[str, str, str, str]
"""Tells a letter from others; equal for repeats of one letter."""

OURS: Final = "x-kmworker-"
# The beginning of a message id, as far as nobody meets it by chance.
MIN_ID_CHARACTERS: Final = 12
# Larger than any event by far; what a stranger sends has no limit but the broker's.
MAX_PARSED_BYTES: Final = 1024 * 1024
# A header is cut between characters, of which one has four bytes at most.
SHORTEST_CUT: Final = MAX_HEADER_BYTES - 3


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, as far as it can be read; text is empty where there is none."""

    message_id: str
    """A digest of the body, as the contract has it, also where a stranger wrote another."""
    event_id: str
    event_type: str
    reason: str
    detail: str
    routing_key: str
    """The event's, not the letter's."""
    dead_at: str
    dead_at_s: float | None
    """The same in Unix seconds; None where it is no time."""
    attempts: int
    obstacle: str
    """Why it cannot be replayed; empty if it can."""
    aliases: frozenset[str] = field(repr=False)
    """All that it can be asked for by, but for the beginning of its message id."""
    original: Original = field(repr=False)
    """The letter itself: the event's body and properties, and our headers."""

    @property
    def fingerprint(self) -> Fingerprint:
        """Return what tells it from others."""
        return self.message_id, self.reason, self.dead_at, self.original.routing_key


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant: those that meet all that is given."""

    ids: Sequence[str] = ()
    """Message ids, their beginnings, or event ids; none for all letters."""
    reason: str | None = None
    event_type: str | None = None
    since_s: float | None = None
    """Unix seconds, included. A letter without a time is never within a time."""
    before_s: float | None = None
    """Unix seconds, not included."""

    @property
    def is_everything(self) -> bool:
        """Say whether it leaves nothing out."""
        return self == Selection()

    def matches(self, letter: Letter) -> bool:
        """Say whether a letter is meant."""
        if self.ids and not self.named(letter):
            return False
        if self.reason is not None and letter.reason != self.reason:
            return False
        if self.event_type is not None and letter.event_type != self.event_type:
            return False
        return self._is_in_time(letter.dead_at_s)

    def named(self, letter: Letter) -> list[str]:
        """Return those of the ids that mean this letter."""
        return [wanted for wanted in self.ids if _is_named(letter, wanted)]

    def _is_in_time(self, dead_at_s: float | None) -> bool:
        if self.since_s is None and self.before_s is None:
            return True
        if dead_at_s is None:
            return False
        is_early = self.since_s is not None and dead_at_s < self.since_s
        is_late = self.before_s is not None and dead_at_s >= self.before_s
        return not is_early and not is_late


def read_letter(original: Original) -> Letter:
    """Read a message from the dead queue, whoever put it there; nothing raises."""
    headers: Mapping[str | bytes, Any] = original.properties.get("application_headers") or {}
    digest = hashlib.sha256(original.body).hexdigest()
    event_id, event_type = _text(headers, "event-id"), _text(headers, "event-type")
    whole_id, whole_type = event_id, event_type
    # The body is parsed only where the headers do not say it all.
    if not (_is_whole(event_id) and _is_whole(event_type)):
        document = _document(original.body)
        whole_id = event_id if _is_whole(event_id) else _text(document, "id", "") or event_id
        if not _is_whole(event_type):
            whole_type = _text(document, "type", "") or event_type
    dead_at = _text(headers, "dead-at")
    return Letter(
        message_id=digest,
        event_id=whole_id,
        event_type=whole_type,
        reason=_text(headers, "reason"),
        detail=_text(headers, "detail"),
        routing_key=_text(headers, "routing-key"),
        dead_at=dead_at,
        dead_at_s=moment_s(dead_at),
        attempts=_count(headers.get(f"{OURS}attempts")),
        obstacle=_obstacle(headers),
        aliases=_aliases(event_id, whole_id, original.properties.get("message_id")),
        original=original,
    )


def replayed(letter: Letter, exchange: str) -> Outgoing:
    """Make the letter an event again: the body as it was, and the properties but for ours.

    Its attempts go along, so that the letter it may become counts on. The message id stays
    the digest, because the producer's own is not kept.
    """
    assert not letter.obstacle  # noqa: S101  # callers have looked
    headers = {
        name: value
        for name, value in kept_headers(
            letter.original.properties.get("application_headers") or {}
        ).items()
        if not (isinstance(name, str) and name.startswith(OURS))
    }
    properties = {
        **letter.original.properties,
        "application_headers": {**headers, EARLIER_ATTEMPTS: letter.attempts},
        "delivery_mode": PERSISTENT,
        "message_id": letter.message_id,
    }
    return Outgoing(exchange, letter.routing_key, letter.original.body, properties)


def moment_s(text: str) -> float | None:
    """Return RFC 3339 as Unix seconds, UTC where no zone is given; None if it is no time."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        return None


def _is_named(letter: Letter, wanted: str) -> bool:
    if wanted in letter.aliases:
        return True
    return len(wanted) >= MIN_ID_CHARACTERS and letter.message_id.startswith(wanted.lower())


def _obstacle(headers: Mapping[str | bytes, Any]) -> str:
    for name in ("reason", "routing-key"):
        if not isinstance(headers.get(OURS + name), str):
            return f"no worker wrote this letter: it has no {OURS}{name}"
    if not headers[f"{OURS}routing-key"]:
        # A waiting event whose record was damaged: the letter holds what is left of that.
        return "the letter does not hold the event as it was sent"
    return ""


def _document(body: bytes) -> Mapping[str, Any]:
    if len(body) > MAX_PARSED_BYTES:
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _text(fields: Mapping[Any, Any], name: str, prefix: str = OURS) -> str:
    value = fields.get(prefix + name)
    # JSON can hold half a character, which no terminal takes.
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""


def _is_whole(header: str) -> bool:
    return 0 < len(header.encode()) < SHORTEST_CUT


def _aliases(*names: object) -> frozenset[str]:
    return frozenset(name for name in names if isinstance(name, str) and name)


def _count(value: object) -> int:
    return max(0, min(value, MAX_ATTEMPTS_SHOWN)) if type(value) is int else 0
