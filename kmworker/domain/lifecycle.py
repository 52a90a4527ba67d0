"""A key-id's states, and what leads from one to another: one table, one pure function.

After NIST SP 800-57 part 1 rev. 5, section 7. *Compromised* is a field of the scope, because that
is one DEK; all else is of the key-id. A key-id's state is the worse of both.
"""

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Final

from kmworker.domain.keys import (
    By,
    Cause,
    Compromise,
    KeyEvent,
    KeyRecord,
    KeyState,
    LastChange,
    Operator,
    ScopeRecord,
)
from kmworker.domain.values import value

__all__ = [
    "NAMED_AT_MOST", "TABLE", "NoStep", "Step", "compromise", "compromised", "destroyed",
    "joined", "let_go", "state_of", "step",
]  # fmt: skip

ACTIVE, DEACTIVATED, SUSPENDED, COMPROMISED, DESTROYED = KeyState
NAMED_AT_MOST: Final = 100
"""Key-ids that the end of one names, of those that keep its DEK."""


class Step(Enum):
    """What can be done to a key-id."""

    LET_GO = "its last holder is released"
    JOIN = "an item joins it by reuse"
    RESTORE = "a person restores it"
    LAPSE = "the date has passed until which it was restored"
    SUSPEND = "a person suspends it"
    RESUME = "a person resumes it"
    ORDER = "a person orders its destruction"
    EXPIRE = "its time has passed"
    DESTROY = "a person has it destroyed at once"


@value
class NoStep:
    """Why something cannot be done, for a person."""

    why: str


Cell = tuple[KeyState, KeyEvent] | str | None
"""The state that it leads to, and what that is called; or why not; None: nothing changes."""

_OFF: Final = (DEACTIVATED, KeyEvent.DEACTIVATED)
_ON: Final = (ACTIVE, KeyEvent.RESTORED)
_HALT: Final = (SUSPENDED, KeyEvent.SUSPENDED)
_END: Final = (DESTROYED, KeyEvent.DESTROYED)
_GONE: Final = "it is destroyed, and nothing can bring it back"
_IN_USE: Final = "it is active: suspend it first, if nobody is to have it any more"

TABLE: Final[Mapping[Step, tuple[Cell, Cell, Cell, Cell]]] = {
    #             active          deactivated  suspended                       destroyed
    Step.LET_GO:  (_OFF,          None,        None,                           None),
    Step.JOIN:    (None,          _ON,         None,                           _GONE),
    Step.RESTORE: ("it is active", _ON,        "it is suspended: resume it",   _GONE),
    Step.LAPSE:   (_OFF,          None,        None,                           None),
    Step.SUSPEND: (_HALT,         _HALT,       "it is suspended already",      _GONE),
    Step.RESUME:  ("it is not suspended", "it is not suspended",
                   (ACTIVE, KeyEvent.RESUMED),                                 _GONE),
    Step.ORDER:   (_IN_USE,       _OFF,        _OFF,                           _GONE),
    Step.EXPIRE:  (None,          _END,        None,                           None),
    Step.DESTROY: (_IN_USE,       _END,        _END,                           _GONE),
}  # fmt: skip
"""By a key-id's own state. Of what is compromised, also the active is destroyed."""
_COLUMNS: Final = (ACTIVE, DEACTIVATED, SUSPENDED, DESTROYED)
_OF_COMPROMISED: Final[Mapping[Step, Cell]] = {Step.ORDER: _OFF, Step.DESTROY: _END}
_ONLY_WITHOUT_HOLDERS: Final = frozenset({Step.LAPSE, Step.ORDER, Step.EXPIRE, Step.DESTROY})


def state_of(key: KeyRecord, scope: ScopeRecord | None) -> KeyState:
    """Return a key-id's state: the worse of its own and its scope's."""
    if key.state is DESTROYED:
        return DESTROYED
    is_compromised = key.is_compromised or (scope is not None and scope.compromised is not None)
    return COMPROMISED if is_compromised else key.state


def step(  # noqa: PLR0913  # what a step may depend on
    key: KeyRecord,
    scope: ScopeRecord | None,
    what: Step,
    *,
    by: By,
    at: str,
    destroy_at: str,
    holders: int = 0,
    active_until: str | None = None,
) -> KeyRecord | NoStep | None:
    """Return what a key-id's record becomes; None: it stays as it is.

    Args:
        key: as it is.
        scope: its own.
        what: is done.
        by: whom.
        at: when: RFC 3339, UTC.
        destroy_at: of what is deactivated by it: RFC 3339, UTC, or `MANUAL`.
        holders: how many items hold it.
        active_until: of what a person restores.
    """
    if holders and what in _ONLY_WITHOUT_HOLDERS:
        return None if what in {Step.LAPSE, Step.EXPIRE} else NoStep(_held_by(holders))
    cell = TABLE[what][_COLUMNS.index(key.state)]
    otherwise = _OF_COMPROMISED.get(what) if key.state is ACTIVE else None
    if otherwise is not None and state_of(key, scope) is COMPROMISED:
        cell = otherwise
    if cell is None or isinstance(cell, str):
        return None if cell is None else NoStep(cell)
    to, event = cell
    if what is Step.RESUME and not holders:
        to = DEACTIVATED
    if what is Step.ORDER and key.destroy_at is not None:
        # Times of one form, ordered as texts; `MANUAL` comes after all of them.
        destroy_at = min(destroy_at, key.destroy_at)
    return _changed(
        replace(
            key,
            state=to,
            destroy_at=destroy_at if to is DEACTIVATED else None,
            active_until=active_until if to is ACTIVE else None,
        ),
        scope,
        LastChange(event, at, by, to),
    )


def let_go(
    key: KeyRecord, scope: ScopeRecord | None, by: Cause, at: str, destroy_at: str
) -> KeyRecord | None:
    """Return what a key-id's record becomes with its last holder; None: it stays."""
    found = step(key, scope, Step.LET_GO, by=by, at=at, destroy_at=destroy_at)
    return found if isinstance(found, KeyRecord) else None


def joined(key: KeyRecord, scope: ScopeRecord | None, by: Cause, at: str) -> KeyRecord | None:
    """Return what a key-id's record becomes by an item that reuses it; None: it stays."""
    found = step(key, scope, Step.JOIN, by=by, at=at, destroy_at="")
    return found if isinstance(found, KeyRecord) else None


def compromise(scope: ScopeRecord, by: Operator, at: str) -> ScopeRecord | NoStep:
    """Return what a scope's record becomes by it."""
    if scope.compromised is not None:
        return NoStep(f"it is compromised since {scope.compromised.at}")
    return replace(scope, compromised=Compromise(at, by))


def compromised(key: KeyRecord, scope: ScopeRecord) -> KeyRecord | None:
    """Return what a key-id's record becomes when its scope is compromised; None: it stays."""
    found = scope.compromised
    if found is None or key.is_compromised or key.state is DESTROYED:
        return None
    change = LastChange(KeyEvent.COMPROMISED, found.at, found.by, COMPROMISED)
    return _changed(key, scope, change)


def destroyed(key: KeyRecord, others: tuple[str, ...]) -> KeyRecord:
    """Return the record of a key-id that `step` has destroyed, with what becomes of the DEK.

    Args:
        key: as `step` has left it.
        others: the key-ids that still name it; none: it is destroyed, too.
    """
    assert key.changed is not None  # noqa: S101  # see above
    named = others[:NAMED_AT_MOST]
    return replace(key, changed=replace(key.changed, dek_destroyed=not others, dek_named_by=named))


def _changed(key: KeyRecord, scope: ScopeRecord | None, change: LastChange) -> KeyRecord:
    state = state_of(key, scope)
    return replace(
        key,
        version=key.version + 1,
        is_compromised=key.is_compromised or (scope is not None and scope.compromised is not None),
        changed=replace(change, state=state),
    )


def _held_by(holders: int) -> str:
    return f"{holders:,} items hold it" if holders > 1 else "an item holds it"
