"""Which numbers of each writer have come: what comes again is told from what is missing.

A writer sends its records in order, and again what was not confirmed. So a number may come twice,
or late: by as many numbers as a writer has unconfirmed at most.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from kmworker.domain.values import value

__all__ = ["LATE_AT_MOST", "Missing", "Novelty", "TrailPlace", "Writers"]

LATE_AT_MOST: Final = 4096
"""Numbers: what has not come when the writer is so far ahead is missing. A writer has no more of
them unconfirmed."""
LATE_S: Final = 3600.0
"""Seconds: or when so much time has passed. What was not confirmed is sent again within seconds of
the next connection, before anything newer."""
# Of as many records it is known whether the same came again: a writer repeats what it sent last.
MAX_DIGESTS: Final = 200_000
# Gaps of one writer that are kept apart; more are one.
MAX_GAPS: Final = 100
# Processes start a few times a day; the least lately heard are forgotten.
MAX_WRITERS: Final = 100_000


class Novelty(Enum):
    """What a record is that comes."""

    NEW = "new"
    REPEATED = "repeated"
    """The same, or one under so old a number that it is known no more."""
    CONFLICTING = "conflicting"
    """Another one under the number of one that is there."""


@value
class Missing:
    """Numbers of a writer that have not come."""

    writer: str
    first: int
    last: int
    line: int
    """At which the one after them stands."""


@value
class TrailPlace:
    """Where in the trail a record is."""

    line: int
    at_s: float
    """When it was written there, Unix seconds."""


@dataclass(slots=True)
class _Gap:
    first: int
    last: int
    line: int
    """At which the number after it came."""
    at_s: float


@dataclass(slots=True)
class _Numbers:
    highest: int = 0
    gaps: list[_Gap] = field(default_factory=list)
    """In their order."""


class Writers:
    """What is known of all writers of one trail."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[str, _Numbers] = OrderedDict()
        self._digests: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def judge(self, writer: str, number: int, digest: bytes) -> Novelty:
        """Return what a record is; nothing is noted."""
        before = self._digests.get((writer, number))
        if before is not None:
            return Novelty.REPEATED if before == digest else Novelty.CONFLICTING
        known = self._numbers.get(writer)
        if known is None or number > known.highest or _gap_of(known, number) is not None:
            return Novelty.NEW
        return Novelty.REPEATED

    def note(self, writer: str, number: int, digest: bytes, place: TrailPlace) -> None:
        """Note that a new one has come."""
        known = self._numbers.setdefault(writer, _Numbers())
        self._numbers.move_to_end(writer)
        if number > known.highest:
            if number > known.highest + 1:
                known.gaps.append(_Gap(known.highest + 1, number - 1, place.line, place.at_s))
                _join_oldest(known.gaps)
            known.highest = number
        elif (at := _gap_of(known, number)) is not None:
            _close(known.gaps, at, number)
        self._digests[writer, number] = digest
        if len(self._digests) > MAX_DIGESTS:
            self._digests.popitem(last=False)
        if len(self._numbers) > MAX_WRITERS:
            self._numbers.popitem(last=False)

    def missing(self, now_s: float) -> tuple[list[Missing], list[Missing]]:
        """Return what has not come and will not, and what may still come."""
        missing: list[Missing] = []
        awaited: list[Missing] = []
        for writer, known in self._numbers.items():
            for gap in known.gaps:
                is_late = gap.first < known.highest - LATE_AT_MOST or gap.at_s < now_s - LATE_S
                found = missing if is_late else awaited
                found.append(Missing(writer, gap.first, gap.last, gap.line))
        return missing, awaited

    def as_fields(self) -> dict[str, Any]:
        """Return it as it is written at the beginning of a file; digests are left out."""
        return {
            writer: [it.highest, *([gap.first, gap.last, gap.line, gap.at_s] for gap in it.gaps)]
            for writer, it in self._numbers.items()
        }

    def restore(self, fields: Any) -> None:  # noqa: ANN401  # parsed JSON
        """Take up what was written.

        Raises:
            ValueError: it is something else.
        """
        try:
            self._numbers = OrderedDict(
                (str(writer), _Numbers(int(highest), [_gap_in(gap) for gap in gaps]))
                for writer, (highest, *gaps) in fields.items()
            )
        except (AttributeError, TypeError):
            raise ValueError("not the numbers of writers") from None


def _gap_in(written: Any) -> _Gap:  # noqa: ANN401  # parsed JSON
    first, last, line, at_s = written
    return _Gap(int(first), int(last), int(line), float(at_s))


def _gap_of(known: _Numbers, number: int) -> int | None:
    """Return which gap a number is in."""
    places = (at for at, gap in enumerate(known.gaps) if gap.first <= number <= gap.last)
    return next(places, None)


def _close(gaps: list[_Gap], at: int, number: int) -> None:
    """Take a number out of a gap."""
    gap = gaps[at]
    left = [
        _Gap(gap.first, number - 1, gap.line, gap.at_s),
        _Gap(number + 1, gap.last, gap.line, gap.at_s),
    ]
    gaps[at : at + 1] = [it for it in left if it.first <= it.last]
    _join_oldest(gaps)


def _join_oldest(gaps: list[_Gap]) -> None:
    """Keep few: two that are joined say that what came between them is missing, too.

    That may double what comes again; forgetting one would lose what comes late.
    """
    if len(gaps) > MAX_GAPS:
        oldest, next_one = gaps[:2]
        gaps[:2] = [_Gap(oldest.first, next_one.last, oldest.line, oldest.at_s)]
