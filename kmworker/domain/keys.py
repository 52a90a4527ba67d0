"""Key-ids and scopes: what stands in their records, and what has become of a key-id."""

from dataclasses import replace
from enum import Enum, StrEnum
from typing import Final, NamedTuple

from kmworker.domain.values import value

__all__ = [
    "JANITOR",
    "MANUAL",
    "By",
    "Cause",
    "Compromise",
    "Encryption",
    "Janitor",
    "KeyChanged",
    "KeyEvent",
    "KeyRecord",
    "KeyState",
    "LastChange",
    "Operator",
    "ScopeRecord",
]

MANUAL: Final = "manual"
"""In place of the time at which a key is destroyed: when a person says so."""


class KeyState(StrEnum):
    """A key-id's state, after NIST SP 800-57 part 1 rev. 5, section 7; there is no pre-active."""

    ACTIVE = "active"
    DEACTIVATED = "deactivated"
    """Nobody holds it, and its time is running."""
    SUSPENDED = "suspended"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"


class KeyEvent(StrEnum):
    """What can become of a key-id, as it is announced."""

    DEACTIVATED = "key-deactivated"
    RESTORED = "key-restored"
    SUSPENDED = "key-suspended"
    RESUMED = "key-resumed"
    COMPROMISED = "key-compromised"
    DESTROYED = "key-destroyed"


class Encryption(NamedTuple):
    """A cipher in dm-crypt's notation and the length of its DEK in bits."""

    cipher: str
    key_bits: int


class Cause(NamedTuple):
    """The event that led to an assignment, to a release, or to a change of a key-id."""

    id: str
    source: str
    type: str


class Operator(NamedTuple):
    """A person, and why."""

    name: str
    reason: str


class Janitor(Enum):
    """The process that does what is to be done because time has passed."""

    JANITOR = "janitor"


JANITOR: Final = Janitor.JANITOR
By = Cause | Operator | Janitor
"""Who changed a key-id."""


@value
class LastChange:
    """The last thing that has become of a key-id."""

    event: KeyEvent
    at: str
    """RFC 3339, UTC."""
    by: By
    state: KeyState
    """Of the key-id since then: the worse of its own and its scope's."""
    dek_destroyed: bool | None = None
    """Of what is destroyed: whether the DEK is gone with it; None of everything else."""
    dek_named_by: tuple[str, ...] = ()
    """Key-ids that name the DEK of what is destroyed, the first of them."""


@value
class KeyRecord:
    """A key-id: a name for its scope's DEK that can be deleted or delegated by itself."""

    key_id: str
    scope_id: str
    dek_id: str
    """Its scope's: a key-id put back over a scope that was minted anew is not that DEK's."""
    state: KeyState
    """Its own, whatever its scope's is: so never `COMPROMISED`."""
    cloned_from: str | None
    created_at: str
    version: int = 1
    """Grows with each change."""
    is_compromised: bool = False
    """Whether its scope was, when this was written: for those who read this record alone."""
    destroy_at: str | None = None
    """Of a deactivated one: RFC 3339, UTC, or `MANUAL`."""
    active_until: str | None = None
    """RFC 3339, UTC: restored by a person, and deactivated again then if nobody holds it."""
    changed: LastChange | None = None
    """None: nothing has become of it since it was made."""

    @property
    def shown(self) -> KeyState:
        """Return its state, as far as this record alone says it."""
        if self.is_compromised and self.state is not KeyState.DESTROYED:
            return KeyState.COMPROMISED
        return self.state


@value
class Compromise:
    """That a scope's DEK may be known to others."""

    at: str
    """RFC 3339, UTC."""
    by: Operator


@value
class ScopeRecord:
    """All items whose data is encrypted under one DEK."""

    scope_id: str
    root: str
    """The item ref of the scope's master."""
    dek_id: str
    encryption: Encryption
    kek_id: str
    """Fingerprint of the KEK that wraps the DEK; empty until it is wrapped."""
    derived_from: str | None
    """The scope-id that the data was re-encrypted from, if it was."""
    created_at: str
    generation: int = 0
    """The root's: another life of its name is the root of another scope."""
    compromised: Compromise | None = None
    destroyed_at: str | None = None
    """RFC 3339, UTC: since then there is no wrapped DEK; None: there is."""
    former_keks: tuple[str, ...] = ()
    """KEKs that the DEK was under before: it still is in older copies of the store."""

    def is_exposed_by(self, kek_id: str) -> bool:
        """Return whether who has this KEK, and copies of the store, has the DEK."""
        return kek_id == self.kek_id or kek_id in self.former_keks

    def under(self, kek_id: str) -> "ScopeRecord":
        """Return what the record becomes when its DEK goes under another KEK."""
        before = (*self.former_keks, self.kek_id)
        former = tuple(it for it in dict.fromkeys(before) if it and it != kek_id)
        return replace(self, kek_id=kek_id, former_keks=former)


@value
class KeyChanged:
    """The fact that something has become of a key-id: what is announced of it."""

    project: str
    key: KeyRecord
    """As it is since then."""

    @property
    def change(self) -> LastChange:
        """Return what has become of it."""
        assert self.key.changed is not None  # noqa: S101  # else there is nothing to announce
        return self.key.changed
