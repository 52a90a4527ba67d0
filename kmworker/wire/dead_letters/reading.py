"""Dead letters as a person handles them: read, chosen, made events again. Pure.

The queue is open to whoever may publish to its exchange. So every header is a stranger's
until it has the type it should have, and a dead letter that no worker wrote is shown, can be
discarded, and is never made an event.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from kmworker.domain.message import Digest, Original, Outgoing
from kmworker.domain.producers import USER_HEADER
from kmworker.wire.dead_letters.headers import MAX_HEADER_BYTES, DeadLetterHeaders, header_of
from kmworker.wire.dead_letters.writing import (
    EARLIER_ATTEMPTS,
    MAX_ATTEMPTS_SHOWN,
    is_ours,
    kept_headers,
)
from kmworker.wire.properties import PERSISTENT, bounded

__all__ = [
    "MIN_ID_CHARACTERS",
    "DeadLetter",
    "Fingerprint",
    "Selection",
    "moment_s",
    "read_dead_letter",
    "replayed",
]  # fmt: skip

Fingerprint = tuple[str, str, str, str]
"""Tells a dead letter from others; equal for repeats of one dead letter."""

DIGEST: Final = re.compile(r"[0-9a-f]{64}")
# The beginning of a message id, as far as nobody meets it by chance.
MIN_ID_CHARACTERS: Final = 12
# Larger than any event by far; what a stranger sends has no limit but the broker's.
MAX_PARSED_BYTES: Final = 1024 * 1024
# A header is cut between characters, of which one has four bytes at most.
SHORTEST_CUT: Final = MAX_HEADER_BYTES - 3


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter, as far as it can be read; text is empty where there is none."""

    message_id: str
    """A digest of the body, as the contract has it, also where a stranger wrote another."""
    event_id: str
    event_type: str
    reason: str
    detail: str
    routing_key: str
    """The event's, not the dead letter's."""
    dead_at: str
    dead_at_s: float | None
    """The same in Unix seconds; None where it is no time."""
    attempts: int
    user: str
    """Whose event it is; empty if no user vouches for it."""
    obstacle: str
    """Why it cannot be replayed; empty if it can."""
    aliases: frozenset[str] = field(repr=False)
    """All that it can be asked for by, but for the beginning of its message id."""
    original: Original = field(repr=False)
    """The dead letter itself: the event's body and properties, and our headers."""
    dropped: Digest | None = None
    """Of a body that is not here, because it is larger than an event may be."""

    @property
    def fingerprint(self) -> Fingerprint:
        """Return what tells it from others."""
        return self.message_id, self.reason, self.dead_at, self.original.routing_key


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant: those that meet all that is given."""

    ids: Sequence[str] = ()
    """Message ids, their beginnings, or event ids; none for all dead letters."""
    reason: str | None = None
    event_type: str | None = None
    since_s: float | None = None
    """Unix seconds, included. A dead letter without a time is never within a time."""
    before_s: float | None = None
    """Unix seconds, not included."""

    @property
    def is_everything(self) -> bool:
        """Return whether it leaves nothing out."""
        return self == Selection()

    def matches(self, dead: DeadLetter) -> bool:
        """Return whether a dead letter is meant."""
        if self.ids and not self.named(dead):
            return False
        if self.reason is not None and dead.reason != self.reason:
            return False
        if self.event_type is not None and dead.event_type != self.event_type:
            return False
        return self._is_in_time(dead.dead_at_s)

    def named(self, dead: DeadLetter) -> list[str]:
        """Return those of the ids that mean this dead letter."""
        return [wanted for wanted in self.ids if _is_named(dead, wanted)]

    def _is_in_time(self, dead_at_s: float | None) -> bool:
        if self.since_s is None and self.before_s is None:
            return True
        if dead_at_s is None:
            return False
        is_early = self.since_s is not None and dead_at_s < self.since_s
        is_late = self.before_s is not None and dead_at_s >= self.before_s
        return not is_early and not is_late


def read_dead_letter(original: Original) -> DeadLetter:
    """Read a message from the dead queue, whoever put it there; nothing raises."""
    headers: Mapping[str | bytes, Any] = original.properties.get("application_headers") or {}
    said = {name: headers.get(header_of(name)) for name in DeadLetterHeaders.__annotations__}
    dropped = original.dropped or _dropped(original, said)
    event_id, event_type = _text(said["event_id"]), _text(said["event_type"])
    whole_id, whole_type = event_id, event_type
    # The body is parsed only where the headers do not say it all.
    if not (_is_whole(event_id) and _is_whole(event_type)):
        document = _document(original.body)
        whole_id = event_id if _is_whole(event_id) else _text(document.get("id")) or event_id
        if not _is_whole(event_type):
            whole_type = _text(document.get("type")) or event_type
    dead_at = _text(said["dead_at"])
    return DeadLetter(
        message_id=original.digest if dropped is None else dropped.sha256,
        event_id=whole_id,
        event_type=whole_type,
        reason=_text(said["reason"]),
        detail=_text(said["detail"]),
        routing_key=_text(said["routing_key"]),
        dead_at=dead_at,
        dead_at_s=moment_s(dead_at),
        attempts=_count(said["attempts"]),
        user=_text(said["user"]),
        obstacle=_obstacle(said, dropped),
        aliases=_aliases(event_id, whole_id, original.properties.get("message_id")),
        original=original,
        dropped=dropped,
    )


def replayed(dead: DeadLetter, exchange: str) -> Outgoing:
    """Make the dead letter an event again: the body as it was, and the properties but for ours.

    Its attempts go along, so that the dead letter it may become counts on; and whose event it is,
    be it nobody's, so that it is not its operator's own word. The message id stays the digest,
    because the producer's own is not kept. A `user_id` is for the publisher to set.
    """
    assert not dead.obstacle  # noqa: S101  # callers have looked
    headers = {
        name: value
        for name, value in kept_headers(
            dead.original.properties.get("application_headers") or {}
        ).items()
        if not is_ours(name)
    }
    properties = bounded(
        {
            **{k: v for k, v in dead.original.properties.items() if k != "user_id"},
            "application_headers": headers,
            "delivery_mode": PERSISTENT,
            "message_id": dead.message_id,
        },
        own={EARLIER_ATTEMPTS: dead.attempts, USER_HEADER: dead.user},
    )
    return Outgoing(exchange, dead.routing_key, dead.original.body, properties)


def moment_s(text: str) -> float | None:
    """Return RFC 3339 as Unix seconds, UTC where no zone is given; None if it is no time."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        return None


def _is_named(dead: DeadLetter, wanted: str) -> bool:
    if wanted in dead.aliases:
        return True
    return len(wanted) >= MIN_ID_CHARACTERS and dead.message_id.startswith(wanted.lower())


def _dropped(original: Original, said: Mapping[str, Any]) -> Digest | None:
    """Return what a worker has noted of a body that it did not hold."""
    sha256, size = said["body_sha256"], said["body_bytes"]
    if original.body or type(size) is not int or not isinstance(sha256, str):
        return None
    return Digest(sha256, size) if DIGEST.fullmatch(sha256) else None


def _obstacle(said: Mapping[str, Any], dropped: Digest | None) -> str:
    for name in ("reason", "routing_key"):
        if not isinstance(said[name], str):
            return f"no worker wrote this dead letter: it has no {header_of(name)}"
    if not said["routing_key"]:
        # A waiting event whose record was damaged: the dead letter holds what is left of that.
        return "the dead letter does not hold the event as it was sent"
    if dropped is not None:
        return f"its body of {dropped.size_bytes:,} bytes is larger than an event may be"
    return ""


def _document(body: bytes) -> Mapping[str, Any]:
    if len(body) > MAX_PARSED_BYTES:
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _text(value: object) -> str:
    # JSON can hold half a character, which no terminal takes.
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""


def _is_whole(header: str) -> bool:
    return 0 < len(header.encode()) < SHORTEST_CUT


def _aliases(*names: object) -> frozenset[str]:
    return frozenset(name for name in names if isinstance(name, str) and name)


def _count(value: object) -> int:
    return max(0, min(value, MAX_ATTEMPTS_SHOWN)) if type(value) is int else 0
