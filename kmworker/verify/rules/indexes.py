"""Indexes over records: lineage, tombstones, and what is due.

Each member follows from one sealed record, and its repair is made only while that is as it was.
"""

from collections.abc import Iterator
from typing import Final

from kmworker.clock import unix_s
from kmworker.domain.model import ItemRecord, KeyRecord, KeyState, Place
from kmworker.store.encoding import due_score
from kmworker.verify.rules.findings import Finding, IndexRepair, Problem
from kmworker.verify.rules.opened import Flawed, Opened, Sound

__all__ = [
    "SKEW_S", "due_findings", "due_member_findings", "lineage_finding", "lineage_member",
    "lineage_member_findings", "tombstone_findings", "tombstone_member_findings",
]  # fmt: skip

SKEW_S: Final = 60.0
"""How far this machine's clock may be from the store's, by which the janitor goes."""
ROUNDING_S: Final = 0.002


def lineage_member(scope_id: str, ref: str) -> str:
    """Return an item's member of the lineage."""
    return f"{scope_id} {ref}"


def lineage_finding(
    project: str, scope_id: str, ref: str, record: bytes, score: float | None
) -> Finding:
    """Return what is to be said of an item that is not in the lineage, or with this score."""
    member = lineage_member(scope_id, ref)
    says = "the lineage lacks this item" if score is None else "its score is not 0"
    repair = IndexRepair("lineage", member, ref, record, "0")
    return Finding(Problem.LINEAGE_WRONG, Place(project, "lineage", member), says, repair)


def lineage_member_findings(
    project: str, member: str, item: Opened[ItemRecord]
) -> Iterator[Finding]:
    """Judge one member of the lineage by the item that it names."""
    scope_id, _space, ref = member.partition(" ")
    if isinstance(item, Flawed):
        return
    assignment = item.value.assignment if isinstance(item, Sound) else None
    if assignment is not None and assignment.scope_id == scope_id:
        return
    says = "there is no such item" if item is None else f"{ref} is not of that scope"
    repair = IndexRepair("lineage", member, ref, None if item is None else item.raw, None)
    yield Finding(Problem.LINEAGE_WRONG, Place(project, "lineage", member), says, repair)


# --- what is gone -----------------------------------------------------------------------


def tombstone_findings(
    project: str, ref: str, own: Sound[ItemRecord], gone_at: float | None
) -> Iterator[Finding]:
    """Judge whether the tombstones have an item that is gone, and goes with no scope."""
    tombstone, assignment = own.value.tombstone, own.value.assignment
    if tombstone is None or (assignment is not None and assignment.scope_id is not None):
        return
    right = f"{unix_s(tombstone.released_at):.3f}"
    if gone_at is not None and abs(gone_at - float(right)) < ROUNDING_S:
        return
    says = "the index lacks it" if gone_at is None else "it was not released then"
    repair = IndexRepair("tombstones", ref, ref, own.raw, right)
    yield Finding(Problem.TOMBSTONES_WRONG, Place(project, "tombstones", ref), says, repair)


def tombstone_member_findings(
    project: str, ref: str, item: Opened[ItemRecord]
) -> Iterator[Finding]:
    """Judge one member of the tombstones by the item that it names.

    Another life of a name leaves the member of the former one behind, for the janitor to take out.
    """
    if item is None:
        repair = IndexRepair("tombstones", ref, ref, None, None)
        says = "there is no such item"
        yield Finding(Problem.TOMBSTONES_WRONG, Place(project, "tombstones", ref), says, repair)


# --- what is due ------------------------------------------------------------------------


def due_findings(
    project: str, own: Sound[KeyRecord], due: float | None, now: float
) -> Iterator[Finding]:
    """Judge when something is to be done about a key-id, against what its record says."""
    key, right = own.value, due_score(own.value)
    # When the record of what is destroyed goes, the janitor's settings say.
    if key.state is KeyState.DESTROYED:
        return
    if due is None:
        # A restoration that has ended, of what is held since, is nothing to be done.
        if not right or (key.state is KeyState.ACTIVE and float(right) <= now + SKEW_S):
            return
        says = "its time comes, and the index lacks it"
    elif not right:
        says = "nothing is to be done about it"
    elif abs(due - float(right)) < ROUNDING_S:
        return
    else:
        says = "its record says another time"
    repair = IndexRepair("keys:due", key.key_id, key.key_id, own.raw, right or None)
    yield Finding(Problem.DUE_WRONG, Place(project, "keys:due", key.key_id), says, repair)


def due_member_findings(project: str, key_id: str, key: Opened[KeyRecord]) -> Iterator[Finding]:
    """Judge one member of what is due by the key-id that it names."""
    if key is None:
        repair = IndexRepair("keys:due", key_id, key_id, None, None)
        says = "there is no such key-id"
        yield Finding(Problem.DUE_WRONG, Place(project, "keys:due", key_id), says, repair)
