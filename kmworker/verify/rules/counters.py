"""Counters that move while they are checked.

A commit writes an item and counts it in one step; and what is released, or gives way to another
life of its name, is counted by itself, and only up. So of a counter that is right, a count of the
items that lasts a while lies between what the counter said before and what it said after, but for
as many as have gone meanwhile. Only what lies outside is wrong for certain, however busy the
workers are; and a counter that did not move was counted exactly.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from kmworker.domain.model import Disposition, Place
from kmworker.store.counts import number_in
from kmworker.verify.rules.findings import CountRepair, Finding, Problem, ShareRepair

__all__ = [
    "EARLY", "FORGOTTEN", "RELEASED", "Counted", "count_finding", "forgotten", "has_forgotten",
    "is_unsettled", "shares_findings", "sum_findings", "waiting_findings",
]  # fmt: skip

EARLY: Final = "early"
"""In ``stats``: tombstones of items that were never heard of."""
RELEASED: Final = "released"
"""In ``stats``: how often an item was released."""
PROBLEMS: Final = {"holders": Problem.HOLDERS_WRONG, "stats": Problem.STATS_WRONG}


def forgotten(disposition: Disposition) -> str:
    """Return the name, in ``stats``, of how many assignments' records are gone.

    They have given way to another life, or their time was over.
    """
    return f"{disposition}_forgotten"


FORGOTTEN: Final = [forgotten(disposition) for disposition in Disposition]


def has_forgotten(stats: Mapping[str, bytes | None]) -> bool:
    """Return whether an assignment's record has ever gone, or may have, by `FORGOTTEN` in stats.

    That is counted in the step in which the record goes.
    """
    return any(number_in(stats.get(name)) != 0 for name in FORGOTTEN)


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
    others: int = 0
    """What else it counts: items that have given way."""
    gone: int = 0
    """How many may have gone while it was counted."""

    @property
    def right(self) -> int:
        """Return what it should say, if nothing has moved."""
        return self.items + self.others


def count_finding(project: str, counted: Counted) -> Finding | None:
    """Return what is wrong with a counter for certain."""
    if not _is_refuted(counted):
        return None
    shown = (counted.after or b"nothing")[:20].decode(errors="replace")
    says = f"it says {shown}, and counting gives {counted.right}"
    place = Place(project, counted.key, counted.field)
    return Finding(PROBLEMS[counted.key], place, says, _repair(counted))


def is_unsettled(counted: Counted) -> bool:
    """Return whether it is wrong, but moved too much to say what is right."""
    return _is_refuted(counted) and not counted.doubtful and _repair(counted) is None


def sum_findings(project: str, stats: Mapping[str, bytes | None], items: int) -> Iterator[Finding]:
    """Judge the dispositions together, as they were at one moment."""
    numbers = {name: number_in(found) for name, found in stats.items()}
    total = sum(numbers.get(disposition) or 0 for disposition in Disposition)
    total -= sum(numbers.get(forgotten(disposition)) or 0 for disposition in Disposition)
    total += numbers.get(EARLY) or 0
    if None not in numbers.values() and total != items:
        says = f"the dispositions add up to {total}, and there are {items} items"
        yield Finding(Problem.STATS_WRONG, Place(project, "stats", "+".join(Disposition)), says)


def waiting_findings(project: str, said: bytes | None, parked: int) -> Iterator[Finding]:
    """Judge the number of waiting events, as it was at one moment."""
    if number_in(said) == parked:
        return
    shown = (said or b"nothing")[:20].decode(errors="replace")
    repair = CountRepair("stats", "waiting", said, parked, counted="parked", length=parked)
    says = f"it says {shown}, and counting gives {parked}"
    yield Finding(Problem.STATS_WRONG, Place(project, "stats", "waiting"), says, repair)


def shares_findings(
    project: str, parked: int, said: Mapping[bytes, bytes], counted: Mapping[tuple[str, str], int]
) -> Iterator[Finding]:
    """Judge whose the waiting events are said to be, as they were while they were counted.

    Args:
        project: in whose slot they wait.
        parked: how many there are.
        said: each project's share, as stored.
        counted: numbers of ``events`` and ``bytes`` by project; "" has those of which nobody
            can say whose they are, and while there are any, nobody can say what is right.
    """
    whose = {project for project, _what in counted}
    if "" in whose:
        return
    for waits in sorted({*whose, *(name.decode(errors="replace") for name in said)}):
        shown = said.get(waits.encode())
        events, size_bytes = counted.get((waits, "events"), 0), counted.get((waits, "bytes"), 0)
        right = b'{"events":%d,"bytes":%d}' % (events, size_bytes) if events else None
        if shown != right:
            says = f"it says {(shown or b'nothing')[:60].decode(errors='replace')}"
            place = Place(project, "waiting:shares", waits)
            repair = ShareRepair(waits, shown, right, parked)
            says += f", and counting gives {(right or b'nothing').decode()}"
            yield Finding(Problem.WAITING_WRONG, place, says, repair)


def _is_refuted(counted: Counted) -> bool:
    before, after = number_in(counted.before), number_in(counted.after)
    if after is None:
        return True
    if after + counted.gone < counted.right:
        return True
    return (before or 0) > counted.right + counted.doubtful + counted.gone


def _repair(counted: Counted) -> CountRepair | None:
    if counted.doubtful or counted.gone or counted.before != counted.after:
        return None
    # A counter that is no number is skipped by commits: it does not show that it moved.
    by_itself = number_in(counted.after) is not None
    if not by_itself and counted.length is None:
        return None
    hash_, length = ("", 0) if by_itself else ("items", counted.length or 0)
    return CountRepair(counted.key, counted.field, counted.after, counted.right, hash_, length)
