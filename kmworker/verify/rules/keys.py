"""Key-ids, scopes and what is announced of them: does each agree with those it names?

Places are those of `kmworker.verify.rules.records`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from kmworker.clock import unix_s
from kmworker.domain.model import ItemRecord, KeyRecord, KeyState, Place, ScopeRecord, scope_id_for
from kmworker.verify.rules.findings import Finding, Problem
from kmworker.verify.rules.indexes import due_findings
from kmworker.verify.rules.opened import Flawed, Opened, Sound, contradiction, flaw_at, missing
from kmworker.verify.rules.records import PRESENT, Absence, item_named, life_in

__all__ = [
    "KeyCase", "ScopeCase", "key_findings", "outbox_findings", "scope_findings", "unused_findings",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class KeyCase:
    """A key-id's record and those that it names."""

    project: str
    key_id: str
    own: Opened[KeyRecord]
    scope: Opened[ScopeRecord] = None
    cloned_from: Opened[KeyRecord] = None
    due: float | None = None
    """When something is to be done about it, by the index; Unix seconds."""
    now: float = 0.0


@dataclass(frozen=True, slots=True)
class ScopeCase:
    """A scope's record, its root, and what its wrapped DEK turned out to be."""

    project: str
    scope_id: str
    own: Opened[ScopeRecord]
    root: Opened[ItemRecord] = None
    dek: Opened[None] = None
    absence: Absence = PRESENT
    """Of a root that has no record."""


def key_findings(case: KeyCase) -> Iterator[Finding]:
    """Judge one key-id."""
    place = Place(case.project, "keys", case.key_id)
    if isinstance(case.own, Flawed):
        yield flaw_at(place, case.own)
    if not isinstance(case.own, Sound):
        return
    own = case.own.value
    if case.scope is None:
        yield missing(Problem.SCOPE_MISSING, place, "scopes", own.scope_id)
    # Key-ids of one scope are forgotten together.
    if own.cloned_from is not None and case.cloned_from is None:
        yield missing(Problem.KEY_MISSING, place, "keys", own.cloned_from)
    if isinstance(case.scope, Sound):
        yield from _of_scope(place, own, case.scope.value)
    if isinstance(case.cloned_from, Sound) and case.cloned_from.value.scope_id != own.scope_id:
        yield contradiction(place, f"it is a clone of {own.cloned_from}, which has another scope")
    yield from due_findings(case.project, case.own, case.due, case.now)


def _of_scope(place: Place, own: KeyRecord, scope: ScopeRecord) -> Iterator[Finding]:
    if scope.dek_id != own.dek_id:
        yield contradiction(place, f"it is of another DEK than its scope {own.scope_id}")
    if scope.destroyed_at is not None and own.state is not KeyState.DESTROYED:
        says = f"it is {own.state}, and the DEK of its scope {own.scope_id} is destroyed"
        yield contradiction(place, says)


def unused_findings(
    project: str, own: Opened[KeyRecord], due: float | None, now: float
) -> Iterator[Finding]:
    """Judge a key-id that no item holds, for certain."""
    if not isinstance(own, Sound):
        return
    key = own.value
    if key.state in {KeyState.DESTROYED, KeyState.SUSPENDED}:
        return
    if key.state is KeyState.DEACTIVATED:
        # Whether the index has it at its time is judged with the record.
        is_ended = key.destroy_at is not None
    else:
        # The janitor may not have come yet.
        until = key.active_until
        is_ended = until is not None and (unix_s(until) > now or due is not None)
    if not is_ended:
        says = "nobody holds it, and nobody destroys it"
        yield Finding(Problem.KEY_UNUSED, Place(project, "keys", key.key_id), says)


def outbox_findings(
    project: str, entry: str, own: Opened[KeyRecord], present: Opened[KeyRecord]
) -> Iterator[Finding]:
    """Judge what is to be announced of a key-id.

    Args:
        project: whose.
        entry: its name.
        own: the record that a change has left.
        present: the one that is there; None: it may be forgotten.
    """
    place = Place(project, "outbox", entry)
    if isinstance(own, Flawed):
        yield flaw_at(place, own)
    if not isinstance(own, Sound):
        return
    key = own.value
    if entry != f"{key.key_id} {key.version}":
        yield Finding(Problem.RECORD_WRONG, place, f"it is version {key.version} of the key-id")
    elif key.changed is None:
        yield Finding(Problem.RECORD_WRONG, place, "nothing has become of this key-id")
    elif isinstance(present, Sound) and present.value.version < key.version:
        says = f"the key-id's own record is of version {present.value.version}, before this one"
        yield contradiction(place, says)


def scope_findings(case: ScopeCase) -> Iterator[Finding]:
    """Judge one scope and its wrapped DEK."""
    place = Place(case.project, "scopes", case.scope_id)
    if isinstance(case.own, Flawed):
        yield flaw_at(place, case.own)
    if not isinstance(case.own, Sound):
        return
    own = case.own.value
    root = item_named(case.project, own.root)
    root_life = life_in(case.root, own.generation, own.created_at)
    if root is None or scope_id_for(root, own.generation) != case.scope_id:
        yield contradiction(place, f"its scope-id is not that of its root {own.root}")
    elif case.root is None:
        # It goes with its scope, or before, where another life of its name has come and gone.
        if case.absence.is_loss:
            says = f"it is the root of scope {case.scope_id}"
            yield Finding(Problem.ITEM_MISSING, Place(case.project, "items", own.root), says)
    elif root_life is not None and root_life.scope_id != case.scope_id:
        yield contradiction(place, f"its root {own.root} is of another scope")
    yield from _dek_findings(Place(case.project, "deks", case.scope_id), own, case.dek)


def _dek_findings(place: Place, scope: ScopeRecord, dek: Opened[None]) -> Iterator[Finding]:
    if scope.destroyed_at is not None:
        if dek is not None:
            says = f"it was destroyed at {scope.destroyed_at}, and yet it is there"
            yield Finding(Problem.DEK_UNUSED, place, says)
    elif dek is None:
        says = f"it is the wrapped DEK of {scope.root}'s scope"
        yield Finding(Problem.DEK_MISSING, place, says)
    elif isinstance(dek, Flawed):
        yield flaw_at(place, dek)
