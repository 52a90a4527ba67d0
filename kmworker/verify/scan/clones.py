"""The stage over how many key-ids name a scope's DEK beside one."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kmworker.domain.model import Disposition, KeyState
from kmworker.store.counts import number_in
from kmworker.store.inspection import pages
from kmworker.store.reading import PAGE_SIZE, StoreReader, text
from kmworker.verify.rules.clones import Clones, clones_finding, is_unsettled
from kmworker.verify.rules.findings import Finding
from kmworker.verify.rules.opened import Sound
from kmworker.verify.scan.counters import ROUNDS, slices
from kmworker.verify.scan.opening import Opening
from kmworker.verify.scan.stages import CheckedPage

__all__ = ["CloneStage"]

# Inside a JSON string a quote is escaped, so this can only be the field.
SCOPE_ID: Final = re.compile(rb'"scope_id":"([^"]+)"')


@dataclass(slots=True)
class _ScopeSlice:
    """What one pass has counted, of the scopes that are in its slice."""

    is_in: Callable[[bytes], bool]
    length: int
    """How many key-ids there were before."""
    clones: int | None
    """How many clones there had been; None if that is no number."""
    before: dict[bytes, bytes] = field(default_factory=dict)
    living: Counter[bytes] = field(default_factory=Counter)
    seen: set[bytes] = field(default_factory=set)
    """A scan may give a key-id twice."""
    doubtful: int = 0
    """Flawed key-ids, of which nobody can say of which scope they are."""


class CloneStage:
    """Counts the key-ids of each scope that are not destroyed."""

    name = "clones"
    keys = ("keys", "clones", "stats")

    def __init__(self, reader: StoreReader, opening: Opening) -> None:
        self._reader = reader
        self._opening = opening

    def run(self, project: str, cursor: int) -> Iterator[CheckedPage]:
        """Check; always from the beginning, and again what was wrong and moved meanwhile."""
        del cursor
        moved: set[str] = set()
        for attempt in range(1, ROUNDS + 1):
            wanted, moved = moved, set()
            for counted in self._round(project):
                findings: list[Finding] = []
                for it in counted:
                    if attempt > 1 and it.scope_id not in wanted:
                        continue
                    if attempt < ROUNDS and is_unsettled(it):
                        moved.add(it.scope_id)
                    elif (finding := clones_finding(project, it)) is not None:
                        findings.append(finding)
                # Key-ids have been looked at by another stage.
                yield CheckedPage(0, 0, findings)
            if not moved:
                return

    def _round(self, project: str) -> Iterator[list[Clones]]:
        """Count everything once; give what was counted, and nothing after each page."""
        length, _clones = self._numbers(project)
        doubtful = 0
        for number, is_in in enumerate(slices(length)):
            # First how many clones there have been, then the counters, then what they count.
            part = _ScopeSlice(is_in, *self._numbers(project), doubtful=doubtful)
            for page in self._reader.all(project, "clones"):
                part.before.update((name, n) for name, n in page if is_in(name))
            for page in self._reader.all(project, "keys"):
                self._count(project, page, part, counts_all_flaws=number == 0)
                yield []
            doubtful = part.doubtful
            for names in pages(part.before.keys() | part.living.keys(), PAGE_SIZE):
                yield self._counted(project, part, names)

    def _count(
        self,
        project: str,
        page: Iterable[tuple[bytes, Any]],
        part: _ScopeSlice,
        *,
        counts_all_flaws: bool,
    ) -> None:
        for key_id, raw in page:
            match = SCOPE_ID.search(raw)
            is_here = part.is_in(key_id if match is None else match[1])
            if not (is_here or counts_all_flaws):
                continue
            key = self._opening.key(project, text(key_id), raw)
            if not isinstance(key, Sound):
                part.doubtful += 1
            elif is_here and key_id not in part.seen:
                part.seen.add(key_id)
                is_living = key.value.state is not KeyState.DESTROYED
                part.living[key.value.scope_id.encode()] += is_living

    def _counted(self, project: str, part: _ScopeSlice, names: Sequence[bytes]) -> list[Clones]:
        after = self._reader.fetch(project, {"clones": map(text, names)})["clones"]
        length, clones = self._numbers(project)
        is_known = part.clones is not None and clones is not None
        # As many as there could be, where it is not known how many.
        came = max((clones or 0) - (part.clones or 0), 0) if is_known else length
        return [
            Clones(
                text(name), part.before.get(name), after[text(name)], part.living[name],
                part.doubtful, came, length if length == part.length else None,
            )
            for name in names
        ]  # fmt: skip

    def _numbers(self, project: str) -> tuple[int, int | None]:
        """Return how many key-ids there are, and how many clones there have been."""
        length, (clones,) = self._reader.lengths(project, "keys", [Disposition.CLONE])
        return length, number_in(clones)
