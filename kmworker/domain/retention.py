"""What becomes of key-ids whose time has passed, by a full count of who holds them. Pure."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

from kmworker.domain.keys import JANITOR, By, KeyState
from kmworker.domain.lifecycle import NoStep, Step, destroyed, step
from kmworker.domain.model import Item, KeyRecord, ScopeRecord
from kmworker.domain.values import value

__all__ = [
    "ABSENT",
    "Buried",
    "Change",
    "Count",
    "Destroy",
    "Fate",
    "Forget",
    "KeySeen",
    "Leave",
    "Moment",
    "StillHeld",
    "fate",
    "ordered",
]  # fmt: skip


ABSENT: Final = b"-"
"""In place of a counter, where there is none."""


@value
class KeySeen:
    """A key-id with its scope, as they are stored."""

    key: KeyRecord
    scope: ScopeRecord
    key_record: bytes
    scope_record: bytes
    holders_counter: bytes
    """As it stands there; `ABSENT` for none."""
    clones_counter: bytes
    """The same of how many key-ids its scope has beside one."""


@value
class Change:
    """What becomes of a key-id."""

    seen: KeySeen
    after: KeyRecord
    compares_holders: bool = False
    """Whether it rests on how many hold it."""


@dataclass(slots=True)
class Count:
    """What all sealed records of a project say of what is due."""

    holders: Counter[str] = field(default_factory=Counter)
    """Assigned items by the key-id that they hold; partitions are none."""
    partitions: dict[str, Item] = field(default_factory=dict)
    """By the key-id that it has: a partition stands for its replicas."""
    named: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Key-ids that are not destroyed, by the scope whose DEK they name."""
    ended: defaultdict[str, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))
    """The records of those that are, by scope."""
    last_end: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By scope, when the last of these was destroyed, RFC 3339, UTC, and which one that is."""
    flawed: list[str] = field(default_factory=list)
    """Records that fail authentication: any of them may hold anything."""


@value
class Buried:
    """A tombstone, as it is stored."""

    ref: str
    record: bytes
    scope_id: str | None
    counter: str
    """Of stats, for what is forgotten."""


@value
class Moment:
    """The time, and what is made of it."""

    at: str
    """RFC 3339, UTC."""
    destroy_at: str
    """Of what is deactivated now: RFC 3339, UTC, or `MANUAL`."""


@value
class Destroy:
    """Nobody holds it, and its time has passed."""

    after: KeyRecord
    is_last: bool
    """Whether the DEK goes with it."""


@value
class StillHeld:
    """Somebody holds it: the counter was wrong."""

    holders: int
    after: KeyRecord | None
    """Active again; None where it is."""


@value
class Lapse:
    """Restored until now, and nobody holds it."""

    after: KeyRecord


@value
class Forget:
    """All key-ids of its scope are destroyed, for long enough: the scope's records may go."""


@value
class Leave:
    """There is nothing to be done about it."""


Fate = Destroy | StillHeld | Lapse | Forget | Leave


def fate(seen: KeySeen, count: Count, moment: Moment) -> Fate:
    """Return what is to be done about a key-id that is due.

    Args:
        seen: as it was before the count.
        count: of all records.
        moment: now.
    """
    key = seen.key
    if key.state is KeyState.DESTROYED:
        _at, last = count.last_end.get(key.scope_id, ("", ""))
        # It goes with the last of them.
        return Forget() if last == key.key_id and not count.named[key.scope_id] else Leave()
    # As the counter has it: a partition stands for its replicas, be there one or not.
    holders = count.holders[key.key_id] + (key.key_id in count.partitions)
    if holders:
        return StillHeld(holders, _stepped(seen, Step.JOIN, moment))
    if _has_come(key.active_until, moment):
        lapsed = _stepped(seen, Step.LAPSE, moment)
        return Leave() if lapsed is None else Lapse(lapsed)
    if not _has_come(key.destroy_at, moment):
        return Leave()
    after = _stepped(seen, Step.EXPIRE, moment)
    return Leave() if after is None else _end(seen, after, count)


def ordered(seen: KeySeen, count: Count, by: By, moment: Moment) -> Destroy | NoStep:
    """Return what is to be done about a key-id that somebody wants destroyed at once."""
    holders = count.holders[seen.key.key_id]
    after = step(
        seen.key, seen.scope, Step.DESTROY,
        by=by, at=moment.at, destroy_at=moment.destroy_at, holders=holders,
    )  # fmt: skip
    if isinstance(after, NoStep):
        return after
    assert after is not None  # noqa: S101  # the table has no such cell
    return _end(seen, after, count)


def _end(seen: KeySeen, after: KeyRecord, count: Count) -> Destroy:
    others = tuple(sorted(count.named[seen.key.scope_id] - {seen.key.key_id}))
    return Destroy(destroyed(after, others), is_last=not others)


def _stepped(seen: KeySeen, what: Step, moment: Moment) -> KeyRecord | None:
    found = step(seen.key, seen.scope, what, by=JANITOR, at=moment.at, destroy_at=moment.destroy_at)
    return found if isinstance(found, KeyRecord) else None


def _has_come(at: str | None, moment: Moment) -> bool:
    # Both are ours, and of the same form, so that they are ordered as texts; `manual` comes last.
    return at is not None and at <= moment.at
