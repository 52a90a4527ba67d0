"""A store that only pretends: what waits in it, and what is due."""

from collections.abc import Sequence
from typing import cast

from kmworker.domain.message import Original
from kmworker.domain.model import Item
from kmworker.domain.plan import Entry
from kmworker.domain.waiting import Due, Swept, Taken
from kmworker.ports import Store
from tests.kit.builders import volume

V, W = volume("v"), volume("w")


class PretendedStore:
    """Entries by source; whatever goes wrong is told to it."""

    def __init__(self, **entries: int) -> None:
        self.entries = {
            volume(source): [f"{source}-{number}" for number in range(count)]
            for source, count in entries.items()
        }
        self.attempts: dict[str, int] = {}
        self.fails: dict[object, Exception] = {}
        self.sweeps: dict[str, list[Swept]] = {}
        self.index: dict[str, float] = {}
        self.now = 1000.0
        self.looked_at: list[tuple[str, int, str]] = []
        self.leases: list[tuple[str, str, float]] = []
        self.is_leased = False

    def take(self, sources: Sequence[Item], limit: int) -> list[list[Taken] | Exception]:
        self._perhaps_fail("take")
        return [
            self.fails.get(source)
            or [self._taken(source, name) for name in self.entries.get(source, [])[:limit]]
            for source in sources
        ]

    def release(self, entries: list[Entry]) -> None:
        self._perhaps_fail("release")
        for entry in entries:
            self.attempts[entry.name] -= 1

    def due(self, limit: int) -> list[Due]:
        found = sorted((at, project) for project, at in self.index.items() if at <= self.now)
        return [Due(project, at) for at, project in found[:limit]]

    def look_again(self, looked_at: Sequence[tuple[Due, float | None]]) -> None:
        for due, after_s in looked_at:
            del self.index[due.project]
            if after_s is not None:
                self.index[due.project] = self.now + after_s

    def sweep(self, project: str, limit: int, after: str) -> Swept:
        self.looked_at.append((project, limit, after))
        self._perhaps_fail(project)
        return self.sweeps[project].pop(0)

    def sweeps_of(self, **sweeps: list[Swept]) -> None:
        """Let projects be due, the first named first."""
        self.sweeps = sweeps
        self.index = {project: float(at) for at, project in enumerate(sweeps)}

    def review_crowds(self) -> None:
        pass

    def lease(self, work: str, holder: str, seconds: float) -> bool:
        self.leases.append((work, holder, seconds))
        return not self.is_leased

    def past(self, name: str) -> Taken:
        return self._taken(V, name)

    def _taken(self, source: Item, name: str) -> Taken:
        self.attempts[name] = self.attempts.get(name, 0) + 1
        entry = Entry(source, name, self.attempts[name], expired=False)
        return Taken(entry, Original(b"", "", {}))

    def _perhaps_fail(self, what: object) -> None:
        if what in self.fails:
            raise self.fails[what]


def as_store(pretended: PretendedStore) -> Store:
    return cast("Store", pretended)


def names(taken: list[Taken]) -> list[str]:
    return [waiting.entry.name for waiting in taken]
