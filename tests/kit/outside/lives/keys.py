"""A key-id's life, read off the contract's table: pure, and nothing of the product's.

Times are no part of it: what is due is due soon (the usual time) or later (a person's `--after`).
"""

from dataclasses import dataclass, replace
from typing import Final

from tests.kit.outside.words import Item

ACTIVE: Final = "active"
DEACTIVATED: Final = "deactivated"
SUSPENDED: Final = "suspended"
COMPROMISED: Final = "compromised"
DESTROYED: Final = "destroyed"
SOON: Final = "soon"
LATER: Final = "later"
EVENT: Final = "event"
JANITOR: Final = "janitor"

TYPES: Final = tuple(
    f"key-{what}"
    for what in ("deactivated", "restored", "suspended", "resumed", "compromised", "destroyed")
)


@dataclass(frozen=True, slots=True)
class Change:
    """What has become of a key-id, as it is announced."""

    type: str
    state: str
    by: str
    """`event`, `janitor`, or the reason that an operator gave."""
    due: str | None = None


@dataclass(frozen=True, slots=True)
class KeyLife:
    """A key-id by the life of the item that brought it into the world."""

    owner: Item
    scope: Item
    """The life of the item that brought its scope into the world."""
    cloned_from: Item | None
    own: str = ACTIVE
    is_compromised: bool = False
    due: str | None = None
    until: str | None = None
    """When its restoration ends."""
    holders: frozenset[Item] = frozenset()
    """Lives of items; a partition is one."""
    changes: tuple[Change, ...] = ()
    """Since the round began."""

    @property
    def state(self) -> str:
        """The worse of its own and its scope's."""
        if self.is_compromised and self.own != DESTROYED:
            return COMPROMISED
        return self.own


def joined(key: KeyLife, holder: Item) -> KeyLife:
    """Return what it becomes by an item that holds it from now on."""
    held = replace(key, holders=key.holders | {holder})
    return _made(held, "restored", ACTIVE, EVENT) if key.own == DEACTIVATED else held


def let_go(key: KeyLife, holder: Item) -> KeyLife:
    """Return what it becomes by the end of an item that held it."""
    left = replace(key, holders=key.holders - {holder})
    if left.holders or key.own != ACTIVE:
        return left
    return _made(left, "deactivated", DEACTIVATED, EVENT, due=SOON)


def compromised(key: KeyLife, reason: str) -> KeyLife:
    """Return what it becomes when its scope is compromised."""
    if key.own == DESTROYED or key.is_compromised:
        return key
    change = Change("key-compromised", COMPROMISED, reason, key.due)
    return replace(key, is_compromised=True, changes=(*key.changes, change))


def by_person(  # noqa: PLR0911  # one for each row of the table
    key: KeyLife, what: str, reason: str, time: str = SOON
) -> KeyLife | None:
    """Return what it becomes by a command; None: that is refused.

    Args:
        key: as it is.
        what: `suspend`, `resume`, `restore`, `destroy` or `now` (which is `destroy --now`).
        reason: the person's.
        time: until when it is restored, or when it is destroyed.
    """
    if key.own == DESTROYED:
        return None
    if what == "suspend":
        return _made(key, "suspended", SUSPENDED, reason) if key.own != SUSPENDED else None
    if what == "resume":
        if key.own != SUSPENDED:
            return None
        if key.holders:
            return _made(key, "resumed", ACTIVE, reason)
        return _made(key, "resumed", DEACTIVATED, reason, due=SOON)
    if what == "restore":
        if key.own != DEACTIVATED:
            return None
        return _made(key, "restored", ACTIVE, reason, until=time)
    if key.holders or key.state == ACTIVE:
        return None
    if what == "now":
        return _made(key, "destroyed", DESTROYED, reason)
    # Nobody puts off what is to come sooner.
    due = SOON if key.due == SOON else time
    return _made(key, "deactivated", DEACTIVATED, reason, due=due)


def by_janitor(key: KeyLife) -> KeyLife:
    """Return what it becomes once everything that is soon has come."""
    if key.holders:
        return key
    if key.own == ACTIVE and key.until == SOON:
        return _made(key, "deactivated", DEACTIVATED, JANITOR, due=SOON)
    if key.own == DEACTIVATED and key.due == SOON:
        return _made(key, "destroyed", DESTROYED, JANITOR)
    return key


def _made(
    key: KeyLife, what: str, own: str, by: str, *, due: str | None = None, until: str | None = None
) -> KeyLife:
    after = replace(key, own=own, due=due, until=until)
    change = Change(f"key-{what}", after.state, by, due)
    return replace(after, changes=(*key.changes, change))
