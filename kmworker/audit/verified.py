"""What a trail, or an export of it, is found to be."""

from dataclasses import dataclass, field
from enum import StrEnum

from kmworker.audit.checkpoints import Checkpoint
from kmworker.audit.lines import GENESIS, Tip
from kmworker.audit.writers import Missing
from kmworker.domain.values import value

__all__ = ["Tampering", "TrailFault", "Verified"]


class Tampering(StrEnum):
    """What became of a line."""

    CHANGED = "changed"
    REMOVED = "removed"
    MOVED = "moved"
    DOUBLED = "doubled"
    CUT_OFF = "cut off"
    FORKED = "forked"
    FORGED = "forged"


@value
class TrailFault:
    """The first thing that is wrong."""

    kind: Tampering
    line: int
    """The number of the line that it became of."""
    position: int
    """Which line of those that were read shows it, from 1 on."""
    detail: str


@dataclass(slots=True)
class Verified:
    """What a trail, or an export of it, is."""

    first: int = 0
    """The number of the first line; 0: there is none."""
    tip: Tip = GENESIS
    """The last line that is as it was written, and all before it."""
    read: int = 0
    """How many lines were read."""
    records: int = 0
    omitted: int = 0
    """How many are there by their digests alone."""
    fault: TrailFault | None = None
    missing: list[Missing] = field(default_factory=list)
    """Numbers of writers that never came to the auditor."""
    awaited: list[Missing] = field(default_factory=list)
    """Those that may still come: their writers may not be further ahead than they are late."""
    alarms: list[tuple[int, str]] = field(default_factory=list)
    """Lines that the auditor itself has found wanting, and why; the first of them."""
    signed: Checkpoint | None = None
    """The last checkpoint that holds."""
    unsigned: int = 0
    """How many lines came after it, beside the one that holds it: they are signed by nobody."""
    trails: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    """Public keys whose signatures hold; without a check, those that are named."""

    @property
    def is_good(self) -> bool:
        """Return whether nothing is wrong with it."""
        return self.fault is None and not self.missing and not self.alarms
