"""The stages over counters: what items say, counted, against what was counted up.

A project's key-ids are counted in slices of so many items, each in a pass of its own, so
that memory is bounded: a slice takes about 100 MB, whatever the project's size.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from zlib import crc32

from kmworker.clock import Clock
from kmworker.domain.model import Disposition, Place
from kmworker.store.counts import number_in
from kmworker.store.inspection import pages
from kmworker.store.reading import PAGE_SIZE, StoreReader, text
from kmworker.verify.rules.counters import (
    EARLY,
    RELEASED,
    Counted,
    count_finding,
    forgotten,
    is_unsettled,
    sum_findings,
)
from kmworker.verify.rules.findings import Finding, Problem
from kmworker.verify.rules.keys import unused_findings
from kmworker.verify.rules.opened import Sound
from kmworker.verify.scan.opening import Opening
from kmworker.verify.scan.stages import CheckedPage

__all__ = ["ROUNDS", "CounterStage", "passes_over", "slices"]

SLICE_ITEMS: Final = 250_000
# How often a wrong counter is counted again that moved while it was counted.
ROUNDS: Final = 3
DISPOSITIONS: Final = list(Disposition)
STATS: Final = [*DISPOSITIONS, *map(forgotten, DISPOSITIONS), EARLY, RELEASED]
# Inside a JSON string a quote is escaped, so this can only be the field.
KEY_ID: Final = re.compile(rb'"key_id":"([^"]+)"')

Steps = Iterator[CheckedPage]
Stats = dict[str, bytes | None]


def passes_over(records: int) -> int:
    """Return in how many slices so many records are counted."""
    return max(1, -(-records // SLICE_ITEMS))


def slices(records: int) -> Iterator[Callable[[bytes], bool]]:
    """Give for each slice what says of a name whether it is in it."""
    number = passes_over(records)
    for each in range(number):
        yield partial(_is_in_slice, each, number)


def _is_in_slice(number: int, slices: int, name: bytes) -> bool:
    return slices == 1 or crc32(name) % slices == number


@dataclass(slots=True)
class _Slice:
    """What one pass has counted, of the names that are in its slice."""

    is_in: Callable[[bytes], bool]
    keys: dict[bytes, int] = field(default_factory=dict)
    """By key-id, the hash of its record."""
    before: dict[bytes, bytes] = field(default_factory=dict)
    holders: Counter[bytes] = field(default_factory=Counter)
    seen: set[bytes] = field(default_factory=set)
    """A scan may give an item twice."""

    @property
    def names(self) -> set[bytes]:
        return self.keys.keys() | self.before.keys() | self.holders.keys()


@dataclass(slots=True)
class _Round:
    """What one round over all slices has counted."""

    length: int
    stats: Stats
    dispositions: Counter[Disposition] = field(default_factory=Counter)
    doubtful: int = 0

    def number(self, name: str) -> int:
        """Return what one of the stats said before."""
        return number_in(self.stats[name]) or 0

    def gone(self, stats: Stats, name: str) -> int:
        """Return how far one of the stats has come since."""
        return max((number_in(stats[name]) or 0) - self.number(name), 0)


class CounterStage:
    """Checks holders, the dispositions in stats, and that each key-id is held or ends."""

    name = "counters"
    keys = ("items", "keys", "keys:due", "holders", "stats")

    def __init__(self, reader: StoreReader, opening: Opening, clock: Clock) -> None:
        self._reader = reader
        self._opening = opening
        self._clock = clock

    def run(self, project: str, cursor: int) -> Steps:
        """Check; always from the beginning."""
        del cursor
        length, stats = self._numbers(project)
        first = _Round(length, stats)
        moved: set[Place] = set()
        says_stats = False
        for looked_at, counted, unused in self._round(project, first):
            findings = [*unused, *_judged(project, counted, moved)]
            says_stats |= any(it.problem is Problem.STATS_WRONG for it in findings)
            yield CheckedPage(0, looked_at, findings)
        says_stats |= any(place.key == "stats" for place in moved)
        for attempt in range(2, ROUNDS + 1):
            if moved:
                yield CheckedPage(0, 0, self._once_more(project, moved, is_last=attempt == ROUNDS))
        # Together only if each by itself was right, and every item could be counted.
        if not (says_stats or first.doubtful):
            length, stats = self._numbers(project)
            yield CheckedPage(0, 0, list(sum_findings(project, stats, length)))

    def _once_more(self, project: str, moved: set[Place], *, is_last: bool) -> list[Finding]:
        """Count again what was wrong and moved meanwhile."""
        length, stats = self._numbers(project)
        wanted = moved.copy()
        moved.clear()
        findings: list[Finding] = []
        for _looked_at, counted, _unused in self._round(project, _Round(length, stats)):
            again = [count for count in counted if _at(project, count) in wanted]
            findings += _judged(project, again, None if is_last else moved)
        return findings

    def _round(
        self, project: str, this: _Round
    ) -> Iterator[tuple[int, list[Counted], list[Finding]]]:
        """Count everything once.

        Gives how much was looked at, counters as soon as they are counted, and what is wrong
        with key-ids that no item holds.
        """
        for number, is_in in enumerate(slices(this.length)):
            part = _Slice(is_in)
            # First the key-ids, then their counters, then the items: each was written in one
            # step with an item that is counted after it.
            for page in self._reader.all(project, "keys"):
                part.keys.update((name, hash(raw)) for name, raw in page if part.is_in(name))
            for page in self._reader.all(project, "holders"):
                part.before.update((name, n) for name, n in page if part.is_in(name))
            for page in self._reader.all(project, "items"):
                self._count(project, page, part, this, counts_all_flaws=number == 0)
                yield len(page), [], []
            # A flawed item may be the one that holds it.
            unheld = [] if this.doubtful else part.keys.keys() - part.holders.keys()
            for names in pages(unheld, PAGE_SIZE):
                yield 0, [], self._unused(project, part, this, names)
            for names in pages(part.names, PAGE_SIZE):
                yield 0, self._holders(project, part, this, names), []
        yield 0, self._stats(project, this), []

    def _count(
        self,
        project: str,
        page: Iterable[tuple[bytes, Any]],
        part: _Slice,
        this: _Round,
        *,
        counts_all_flaws: bool,
    ) -> None:
        for ref, raw in page:
            match = KEY_ID.search(raw)
            is_here = part.is_in(ref if match is None else match[1])
            if not (is_here or counts_all_flaws):
                continue
            item = self._opening.item(project, text(ref), raw)
            if not isinstance(item, Sound):
                this.doubtful += 1
            elif is_here and ref not in part.seen:
                part.seen.add(ref)
                assignment = item.value.assignment
                if assignment is None:
                    continue
                this.dispositions[assignment.disposition] += 1
                if assignment.key_id is not None and item.value.tombstone is None:
                    part.holders[assignment.key_id.encode()] += 1

    def _unused(
        self, project: str, part: _Slice, this: _Round, names: Sequence[bytes]
    ) -> list[Finding]:
        """Judge key-ids of which no holder was counted.

        One may have been released, or joined, where the scan had been. Each last release and each
        first joining of a key-id changes its record, but for one: a release is only of the last
        holder if the counter says so. So nobody held it, if its record is as it was, and it was
        said to have no holder before, or nothing was released meanwhile.
        """
        wanted = [text(name) for name in names]
        found = self._reader.fetch(project, {"keys": wanted, "keys:due": wanted}, atomic=True)
        _length, stats = self._numbers(project)
        has_gone = this.gone(stats, RELEASED) > 0
        findings: list[Finding] = []
        for name in names:
            key_id, raw = text(name), found["keys"][text(name)]
            is_as_it_was = raw is not None and hash(raw) == part.keys[name]
            if is_as_it_was and not (has_gone and number_in(part.before.get(name)) != 0):
                own = self._opening.key(project, key_id, raw)
                due, now = found["keys:due"][key_id], self._clock.now()
                findings += unused_findings(project, own, due, now)
        return findings

    def _holders(
        self, project: str, part: _Slice, this: _Round, names: Sequence[bytes]
    ) -> list[Counted]:
        after = self._reader.fetch(project, {"holders": map(text, names)})["holders"]
        length, stats = self._unmoved(project, this)
        gone = this.gone(stats, RELEASED)
        return [
            Counted(
                "holders", text(name), part.before.get(name), after[text(name)],
                part.holders[name], this.doubtful, length, gone=gone,
            )
            for name in names
        ]  # fmt: skip

    def _stats(self, project: str, this: _Round) -> list[Counted]:
        length, stats = self._unmoved(project, this)
        return [
            Counted(
                "stats", it, this.stats[it], stats[it], this.dispositions[it], this.doubtful,
                length, others=this.number(forgotten(it)), gone=this.gone(stats, forgotten(it)),
            )
            for it in DISPOSITIONS
        ]  # fmt: skip

    def _unmoved(self, project: str, this: _Round) -> tuple[int | None, Stats]:
        """Return how many items there are, None if that has changed, and the stats."""
        length, stats = self._numbers(project)
        return (length if length == this.length else None), stats

    def _numbers(self, project: str) -> tuple[int, Stats]:
        """Return how many items there are, and the stats, at one moment."""
        length, stats = self._reader.lengths(project, "items", STATS)
        return length, dict(zip(STATS, stats, strict=True))


def _at(project: str, counted: Counted) -> Place:
    return Place(project, counted.key, counted.field)


def _judged(project: str, counted: Iterable[Counted], moved: set[Place] | None) -> list[Finding]:
    """Return what is wrong; what also moved is added to ``moved`` instead, if there is one."""
    findings = []
    for count in counted:
        if moved is not None and is_unsettled(count):
            moved.add(_at(project, count))
        elif (finding := count_finding(project, count)) is not None:
            findings.append(finding)
    return findings
