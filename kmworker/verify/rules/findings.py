"""What can be wrong with a store, where, and what would put it right."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from kmworker.domain.model import Place

__all__ = [
    "ADVICE", "NOT_YET", "REPAIRABLE", "CountRepair", "Finding", "IndexRepair", "ListingRepair",
    "Problem", "Repair", "ShareRepair", "SourceRepair", "WaitingRepair",
]  # fmt: skip


class Problem(StrEnum):
    """Kinds of findings: programs rely on these words."""

    SEAL_BROKEN = "seal-broken"
    UNKNOWN_KEK = "unknown-kek"
    RECORD_WRONG = "record-wrong"
    CONTRADICTION = "contradiction"
    ITEM_MISSING = "item-missing"
    KEY_MISSING = "key-missing"
    SCOPE_MISSING = "scope-missing"
    DEK_MISSING = "dek-missing"
    DEK_BROKEN = "dek-broken"
    PARKED_MISSING = "parked-missing"
    KEY_UNUSED = "key-unused"
    DEK_UNUSED = "dek-unused"
    EXPIRED_UNUSED = "expired-unused"
    WRONG_TYPE = "wrong-type"
    PROJECT_NAME = "project-name"
    LAYOUT_WRONG = "layout-wrong"
    KEYRING_WRONG = "keyring-wrong"
    TOTALS_WRONG = "totals-wrong"
    LINEAGE_WRONG = "lineage-wrong"
    HOLDERS_WRONG = "holders-wrong"
    STATS_WRONG = "stats-wrong"
    WAITING_WRONG = "waiting-wrong"
    CLONES_WRONG = "clones-wrong"
    DUE_WRONG = "due-wrong"
    TOMBSTONES_WRONG = "tombstones-wrong"
    PROJECT_UNLISTED = "project-unlisted"
    COMMITS_LOST = "commits-lost"
    FENCE_WRONG = "fence-wrong"


REPAIRABLE: Final = frozenset(
    {
        Problem.LINEAGE_WRONG,
        Problem.HOLDERS_WRONG,
        Problem.STATS_WRONG,
        Problem.WAITING_WRONG,
        Problem.CLONES_WRONG,
        Problem.DUE_WRONG,
        Problem.TOMBSTONES_WRONG,
        Problem.PROJECT_UNLISTED,
    }
)
"""Indexes and counters: what follows from sealed records, and from nothing else."""

_WROTE: Final = "find out who wrote to the store, and restore the record from a backup"
_LOST: Final = "restore it from a backup of the store"
_REPAIR: Final = "kmworker verify --repair puts it right"
NOT_YET: Final = "--repair puts it right once the project's records are sound and it rests"
"""For an index or counter of which it cannot be said what is right."""
_UNUSED: Final = "harmless, but no worker leaves it behind: find out who wrote to the store"

ADVICE: Final[Mapping[Problem, str]] = {
    Problem.SEAL_BROKEN: _WROTE,
    Problem.UNKNOWN_KEK: "use the keyring it was sealed with; if there is none, it is forged",
    Problem.RECORD_WRONG: "use the release that wrote it; if there is none, report it",
    Problem.CONTRADICTION: "an older record was put back, or it is a fault of kmworker: report it",
    Problem.ITEM_MISSING: _LOST,
    Problem.KEY_MISSING: _LOST,
    Problem.SCOPE_MISSING: _LOST,
    Problem.DEK_MISSING: f"the scope's data cannot be read without it: {_LOST}",
    Problem.DEK_BROKEN: f"the scope's data cannot be read without it: {_LOST}",
    Problem.PARKED_MISSING: f"{_LOST}, or a worker dead-letters it as integrity",
    Problem.KEY_UNUSED: "no worker leaves it so: find out who wrote to the store; kmworker key"
    " suspend, then kmworker key destroy ends it",
    Problem.DEK_UNUSED: _UNUSED,
    Problem.EXPIRED_UNUSED: _UNUSED,
    Problem.WRONG_TYPE: "RENAME it away and restore it; an index or counter --repair rebuilds",
    Problem.PROJECT_NAME: "no worker writes this name: SREM it",
    Problem.LAYOUT_WRONG: "restore the hash from a backup: without it no seal can be checked",
    Problem.KEYRING_WRONG: "restore the hash from a backup of the store",
    Problem.TOTALS_WRONG: "records were deleted, or someone wrote there: compare with a backup",
    Problem.LINEAGE_WRONG: _REPAIR,
    Problem.HOLDERS_WRONG: _REPAIR,
    Problem.STATS_WRONG: _REPAIR,
    Problem.WAITING_WRONG: _REPAIR,
    Problem.CLONES_WRONG: _REPAIR,
    Problem.DUE_WRONG: _REPAIR,
    Problem.TOMBSTONES_WRONG: _REPAIR,
    Problem.PROJECT_UNLISTED: _REPAIR,
    Problem.COMMITS_LOST: "restore the newest copy of the store; a worker that starts names the"
    " incident, and kmworker accept goes on without what is lost",
    Problem.FENCE_WRONG: "restore the hash km:keyring from a backup, if it is older than the"
    " fence; or somebody wrote there: SET the fence to the term",
}


@dataclass(frozen=True, slots=True)
class IndexRepair:
    """Put a member into an index or take it out, while the record that says so is as it was."""

    index: str
    """``lineage``, ``tombstones`` or ``keys:due``."""
    member: str
    name: str
    """Of the record: an item ref; for ``keys:due`` a key-id."""
    record: bytes | None = field(repr=False)
    score: str | None
    """None: it does not belong there."""


@dataclass(frozen=True, slots=True)
class CountRepair:
    """Set a counter that still reads ``before``."""

    key: str
    """``holders``, ``stats`` or ``clones``."""
    field: str
    before: bytes | None
    after: int
    """0: take the field away."""
    counted: str = ""
    """The hash that was counted, where the counter itself does not show a change of it."""
    length: int = 0
    """How many fields that hash had, and must still have."""


@dataclass(frozen=True, slots=True)
class WaitingRepair:
    """Put what is not None into the waiting room's indexes, while the event is parked."""

    entry: str
    parked: bytes = field(repr=False)
    waiting: str | None = None
    deadline: float | None = None
    """Unix seconds."""
    member: str | None = None
    """Of ``waiting:sources``."""


@dataclass(frozen=True, slots=True)
class SourceRepair:
    """Take a member out of ``waiting:sources``, while ``parked`` is what it was."""

    member: str
    entry: str
    parked: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ShareRepair:
    """Set a project's share of the waiting events, while it and their number are what they were."""

    project: str
    before: bytes | None
    after: bytes | None
    """None: take the field away."""
    parked: int


@dataclass(frozen=True, slots=True)
class ListingRepair:
    """Enter the project into ``projects``."""


Repair = IndexRepair | CountRepair | WaitingRepair | SourceRepair | ShareRepair | ListingRepair


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, at the place that is wrong, whoever noticed it."""

    problem: Problem
    place: Place
    """Of what belongs to no project, the project is empty."""
    says: str
    """One clause for a person; ids and numbers only."""
    repair: Repair | None = None
    """What puts it right; None where no sealed record says what is right."""
