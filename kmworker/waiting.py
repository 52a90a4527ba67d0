"""The sweep over the waiting room, for what nobody came to take.

A source's arrival takes its waiting events along at once. The sweep is for the rest:
those past their deadline, and those whose taker died between the two steps.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from kmworker.clock import Clock
from kmworker.model import Item
from kmworker.ports import Store, Taken

__all__ = ["ReadySources", "Sweeper"]

LEASE: Final = "sweep"


class ReadySources:
    """Sources that are there, while events still wait for them; each once."""

    def __init__(self) -> None:
        self._sources: dict[Item, None] = {}

    def __bool__(self) -> bool:
        """Say whether there is anything to take."""
        return bool(self._sources)

    def add(self, sources: Iterable[Item]) -> None:
        """Remember sources whose waiting events are to be taken."""
        self._sources.update(dict.fromkeys(sources))

    def take(self, store: Store, room: int) -> list[Taken]:
        """Take waiting events, at most ``room``; a source is done when it gives fewer."""
        taken: list[Taken] = []
        for source in list(self._sources):
            wanted = room - len(taken)
            if wanted <= 0:
                break
            found = store.take(source, wanted)
            taken += found
            if len(found) < wanted:
                del self._sources[source]
        return taken


class Sweeper:
    """Goes over all projects now and then; one worker at a time, by lease."""

    def __init__(
        self, store: Store, clock: Clock, *, worker_id: str, every_s: float, limit: int
    ) -> None:
        self._store = store
        self._clock = clock
        self._worker_id = worker_id
        self._every_s = every_s
        self._limit = limit
        # At once: a crash may be the reason for this worker's start.
        self._next_at = clock.monotonic()
        self._more_is_due = False

    def sweep_if_due(self, ready: ReadySources) -> list[Taken]:
        """Return the events past their deadline; add sources to take from to ``ready``."""
        if not self._more_is_due and not self._is_my_turn():
            return []
        self._more_is_due = False
        due: list[Taken] = []
        for project in self._store.projects():
            due += self._sweep(project, ready)
        return due

    def _is_my_turn(self) -> bool:
        now = self._clock.monotonic()
        if now < self._next_at:
            return False
        self._next_at = now + self._every_s
        # Shorter than the interval, so that a dead holder's lease is gone by the next turn.
        return self._store.lease(LEASE, self._worker_id, self._every_s * 0.9)

    def _sweep(self, project: str, ready: ReadySources) -> Iterator[Taken]:
        after = ""
        while True:
            swept = self._store.sweep(project, self._limit, after)
            yield from swept.due
            self._more_is_due |= len(swept.due) >= self._limit
            ready.add(swept.present)
            after = swept.after
            if not after:
                return
