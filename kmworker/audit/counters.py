"""Counters that move while they are checked.

A commit writes an item and counts it in one step, and no item is ever taken away. So of a
counter that is right, a count of the items that lasts a while lies between what the
counter said before and what it said after. Only what lies outside is wrong for certain,
however busy the workers are; and a counter that did not move was counted exactly.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from kmworker.audit.findings import CountMend, Finding, Problem
from kmworker.model import Disposition, Place

__all__ = [
    "Counted", "count_finding", "is_unsettled", "number_in", "sum_findings", "waiting_findings",
]  # fmt: skip

PROBLEMS: Final = {"holders": Problem.HOLDERS_WRONG, "stats": Problem.STATS_WRONG}
# Redis counts to 2**63 and then refuses: what is near it was not counted by a worker.
COUNT_MAX: Final = 2**62


@dataclass(frozen=True, slots=True)
class Counted:
    """One counter, and the items that were counted for it."""

    key: str
    """``holders`` or ``stats``."""
    field: str
    before: bytes | None
    after: bytes | None
    items: int
    doubtful: int
    """Flawed items, of which nobody can say whether they belong here."""
    length: int | None
    """How many items the project has; None if that changed meanwhile."""


def number_in(text: bytes | None) -> int | None:
    """Return what a counter counts, None if it is no count; absent is 0."""
    if text is None:
        return 0
    if not text.isdigit() or not text.isascii() or (len(text) > 1 and text.startswith(b"0")):
        return None
    number = int(text) if len(text) < len(str(COUNT_MAX)) else COUNT_MAX
    return number if number < COUNT_MAX else None


def count_finding(project: str, counted: Counted) -> Finding | None:
    """Return what is wrong with a counter for certain."""
    if not _is_refuted(counted):
        return None
    shown = (counted.after or b"nothing")[:20].decode(errors="replace")
    says = f"it says {shown}, and counting gives {counted.items}"
    place = Place(project, counted.key, counted.field)
    return Finding(PROBLEMS[counted.key], place, says, _mend(counted))


def is_unsettled(counted: Counted) -> bool:
    """Say whether it is wrong, but moved too much to say what is right."""
    return _is_refuted(counted) and not counted.doubtful and _mend(counted) is None


def sum_findings(project: str, stats: Mapping[str, bytes | None], items: int) -> Iterator[Finding]:
    """Judge the dispositions together, as they were at one moment."""
    numbers = [number_in(stats.get(disposition)) for disposition in Disposition]
    total = sum(number or 0 for number in numbers)
    if None not in numbers and total != items:
        says = f"the dispositions add up to {total}, and there are {items} items"
        yield Finding(Problem.STATS_WRONG, Place(project, "stats", "+".join(Disposition)), says)


def waiting_findings(project: str, said: bytes | None, parked: int) -> Iterator[Finding]:
    """Judge the number of waiting events, as it was at one moment."""
    if number_in(said) == parked:
        return
    shown = (said or b"nothing")[:20].decode(errors="replace")
    mend = CountMend("stats", "waiting", said, parked, counted="parked", length=parked)
    says = f"it says {shown}, and counting gives {parked}"
    yield Finding(Problem.STATS_WRONG, Place(project, "stats", "waiting"), says, mend)


def _is_refuted(counted: Counted) -> bool:
    before, after = number_in(counted.before), number_in(counted.after)
    if after is None:
        return True
    return after < counted.items or (before or 0) > counted.items + counted.doubtful


def _mend(counted: Counted) -> CountMend | None:
    if counted.doubtful or counted.before != counted.after:
        return None
    # A counter that is no number is passed over by commits: it does not show that it moved.
    by_itself = number_in(counted.after) is not None
    if not by_itself and counted.length is None:
        return None
    hash_, length = ("", 0) if by_itself else ("items", counted.length or 0)
    return CountMend(counted.key, counted.field, counted.after, counted.items, hash_, length)
