"""KEKs and what becomes of them: one table, pure functions.

After NIST SP 800-57 part 1 rev. 5, section 7, as far as it fits keys that wrap keys. Their bytes
are in key files; what may be done with them is said by the store, for all processes at once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import Enum, StrEnum
from typing import Final

from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import NoStep
from kmworker.domain.values import value

__all__ = [
    "KekEntry", "KekState", "KekStates", "KekStep", "KeyringFlaw", "KeyringTrouble", "begun",
    "is_leak_told", "step_kek",
]  # fmt: skip


class KekState(StrEnum):
    """What may be done with a KEK."""

    KNOWN = "known"
    """It opens what is under it, and nothing is written under it."""
    ACTIVE = "active"
    """All is written under it. There is one."""
    COMPROMISED = "compromised"
    """Others may know it: it opens what is under it still, until that is rewrapped."""
    RETIRED = "retired"
    """Nothing is under it, by a full count: what says so is forged, or of an older store."""
    REMOVED = "removed"
    """Nobody needs it for this store."""


class KekStep(Enum):
    """What a key operator can do with a KEK."""

    ADD = "add"
    ACTIVATE = "activate"
    COMPROMISE = "compromise"
    RETIRE = "retire"
    REMOVE = "remove"


@value
class KekEntry:
    """The last thing that has become of a KEK."""

    state: KekState
    at: str
    """RFC 3339, UTC."""
    by: Operator | None = None
    """None: the worker that has registered the store."""


@value
class KekStates:
    """All KEKs that a store has ever known."""

    version: int
    """Grows with each change."""
    term: int
    """Grows with each KEK that becomes active; fences are made of it."""
    keks: Mapping[str, KekEntry]

    @property
    def active(self) -> str:
        """Return the kek_id of the active KEK."""
        return next(it for it, entry in self.keks.items() if entry.state is KekState.ACTIVE)

    @property
    def opening(self) -> frozenset[str]:
        """Return the kek_ids of those that may still be opened with."""
        return frozenset(it for it, entry in self.keks.items() if entry.state in _OPENING)

    @property
    def compromised(self) -> tuple[str, ...]:
        """Return the kek_ids of those that others may know and that open still, sorted."""
        known = (it for it, entry in self.keks.items() if entry.state is KekState.COMPROMISED)
        return tuple(sorted(known))

    @property
    def present(self) -> tuple[str, ...]:
        """Return the kek_ids of those that are not removed, sorted."""
        kept = (it for it, entry in self.keks.items() if entry.state is not KekState.REMOVED)
        return tuple(sorted(kept))


class KeyringFlaw(StrEnum):
    """Why a keyring file that has changed is not taken up, in fixed words: others read them."""

    ROOT_AWAY = "root-away"
    """What wraps its KEKs does not answer; it is asked again."""
    UNUSABLE = "unusable"
    """A person must mend it, or its root."""


@value
class KeyringTrouble:
    """That a process goes on with the KEKs that it has, since its keyring file is not usable."""

    flaw: KeyringFlaw
    since_s: float
    """Unix seconds."""


_OPENING: Final = frozenset({KekState.KNOWN, KekState.ACTIVE, KekState.COMPROMISED})
_FIRST: Final = "activate another first: this one is written under"
_GONE: Final = "it is removed: a store that needs it says so of itself; kmworker keyring restore"
Cell = KekState | str
"""The state that it leads to, or why not, for a person."""
_TABLE: Final[Mapping[KekStep, Mapping[KekState, Cell]]] = {
    KekStep.ACTIVATE: {
        KekState.KNOWN: KekState.ACTIVE,
        KekState.ACTIVE: "it is active",
        KekState.COMPROMISED: "it is compromised",
        KekState.RETIRED: "it is retired: make another with kmworker keyring add",
        KekState.REMOVED: _GONE,
    },
    KekStep.COMPROMISE: {
        KekState.KNOWN: KekState.COMPROMISED,
        KekState.ACTIVE: _FIRST,
        KekState.COMPROMISED: "it is compromised already",
        # Compromised, it would open again what is forged under it.
        KekState.RETIRED: "it is retired: what is under it is taken for forged already",
        KekState.REMOVED: _GONE,
    },
    KekStep.RETIRE: {
        KekState.KNOWN: KekState.RETIRED,
        KekState.ACTIVE: _FIRST,
        KekState.COMPROMISED: KekState.RETIRED,
        KekState.RETIRED: "it is retired already",
        KekState.REMOVED: _GONE,
    },
    KekStep.REMOVE: {
        KekState.KNOWN: "retire it first: something may be under it",
        KekState.ACTIVE: _FIRST,
        KekState.COMPROMISED: "retire it first: something may be under it",
        KekState.RETIRED: KekState.REMOVED,
        KekState.REMOVED: "it is removed already",
    },
}


def is_leak_told(state: KekState) -> bool:
    """Return whether a KEK's state stays when it leaks, and DEKs alone are to be marked."""
    # Retired or removed it opens nothing: compromised, it would open again what is forged under it.
    return state in {KekState.COMPROMISED, KekState.RETIRED, KekState.REMOVED}


def begun(kek_ids: Iterable[str], active: str, at: str) -> KekStates:
    """Return the states of a store that nobody has used before.

    Args:
        kek_ids: of the keyring of whoever is first.
        active: one of these.
        at: RFC 3339, UTC.
    """
    keks = {
        kek_id: KekEntry(KekState.ACTIVE if kek_id == active else KekState.KNOWN, at)
        for kek_id in sorted(kek_ids)
    }
    return KekStates(version=1, term=1, keks=keks)


def step_kek(
    states: KekStates, kek_id: str, what: KekStep, by: Operator, at: str
) -> KekStates | NoStep:
    """Return what becomes of a store's KEKs, or why it cannot be.

    Args:
        states: as they are.
        kek_id: of which something is to become.
        what: that is.
        by: whose word it is.
        at: RFC 3339, UTC.
    """
    before = states.keks.get(kek_id)
    if what is KekStep.ADD:
        to: Cell = KekState.KNOWN if before is None else f"it is {before.state} already"
    elif before is None:
        to = "the store does not know it: kmworker keyring add"
    else:
        to = _TABLE[what][before.state]
    if not isinstance(to, KekState):
        return NoStep(to)
    keks = dict(states.keks)
    is_new_term = to is KekState.ACTIVE
    if is_new_term:
        # It opens what is under it until that is rewrapped.
        keks[states.active] = KekEntry(KekState.KNOWN, at, by)
    keks[kek_id] = KekEntry(to, at, by)
    return replace(states, version=states.version + 1, term=states.term + is_new_term, keks=keks)
