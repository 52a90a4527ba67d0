"""How many key-ids name a scope's DEK beside one, while clones come and key-ids are destroyed.

A clone is counted in its scope and in ``stats``, in one step; the end of a key-id in its scope
alone. So of a counter that is right, no more came than clones of the whole project, and what
went is the difference: a count that lasts a while lies between what the counter said at its end
and at its beginning, but for as many as have come meanwhile.
"""

from dataclasses import dataclass

from kmworker.domain.model import Place
from kmworker.store.counts import number_in
from kmworker.verify.rules.findings import CountRepair, Finding, Problem

__all__ = ["Clones", "clones_finding", "is_unsettled"]


@dataclass(frozen=True, slots=True)
class Clones:
    """A scope's counter, and the key-ids that were counted for it."""

    scope_id: str
    before: bytes | None
    after: bytes | None
    living: int
    """Key-ids that name its DEK and are not destroyed."""
    doubtful: int
    """Flawed ones, of which nobody can say whether they belong here."""
    came: int
    """Clones of the project that came while it was counted."""
    length: int | None
    """How many key-ids the project has; None if that changed meanwhile."""

    @property
    def right(self) -> int:
        """Return what it should say, if nothing has moved."""
        return max(self.living - 1, 0)


def clones_finding(project: str, counted: Clones) -> Finding | None:
    """Return what is wrong with a counter for certain."""
    if not _is_refuted(counted):
        return None
    shown = (counted.after or b"nothing")[:20].decode(errors="replace")
    says = f"it says {shown}, and counting gives {counted.right}"
    place = Place(project, "clones", counted.scope_id)
    return Finding(Problem.CLONES_WRONG, place, says, _repair(counted))


def is_unsettled(counted: Clones) -> bool:
    """Return whether it is wrong, but moved too much to say what is right."""
    return _is_refuted(counted) and not counted.doubtful and _repair(counted) is None


def _is_refuted(counted: Clones) -> bool:
    before, after = number_in(counted.before), number_in(counted.after)
    if after is None:
        return True
    if (before or 0) + counted.came < counted.right:
        return True
    return after > counted.right + counted.doubtful + counted.came


def _repair(counted: Clones) -> CountRepair | None:
    if counted.doubtful or counted.came or counted.before != counted.after:
        return None
    # A counter that is no number does not show that it moved.
    by_itself = number_in(counted.after) is not None
    if not by_itself and counted.length is None:
        return None
    hash_, length = ("", 0) if by_itself else ("keys", counted.length or 0)
    return CountRepair("clones", counted.scope_id, counted.after, counted.right, hash_, length)
