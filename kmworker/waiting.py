"""The sweep over the waiting room, for what nobody came to take.

A source's arrival takes its waiting events along at once. The sweep is for the rest:
those past their deadline, and those whose taker died between the two steps.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import structlog

from kmworker.clock import Clock
from kmworker.errors import PermanentError, TransientError
from kmworker.model import Item
from kmworker.plan import Entry
from kmworker.ports import Store, Taken

__all__ = ["ReadySources", "Sweeper"]

log = structlog.get_logger()

LEASE: Final = "sweep"


class ReadySources:
    """Sources that are there, while events still wait for them; each once."""

    def __init__(self) -> None:
        self._sources: dict[Item, None] = {}
        self._untried: dict[Entry, None] = {}
        """Taken, and counted as tried, which they were not."""
        self._passed_over = False
        """Whether what was tried before has given way to the others."""

    def __bool__(self) -> bool:
        """Say whether there is anything to do."""
        return bool(self._sources or self._untried)

    def add(self, sources: Iterable[Item]) -> None:
        """Remember sources whose waiting events are to be taken."""
        self._sources.update(dict.fromkeys(sources))

    def give_back(self, entries: Iterable[Entry]) -> None:
        """Let events that could not be tried be taken again, without counting this time."""
        for entry in entries:
            self._untried[entry] = None
            self._sources[entry.source] = None

    def wait_on(self, entries: Iterable[Entry]) -> None:
        """Let events wait on: their sources are not there after all."""
        for entry in entries:
            self._untried[entry] = None
            # To take from an absent source would be to take the same events for ever.
            self._sources.pop(entry.source, None)

    def single_out(self, taken: Sequence[Taken], store: Store) -> tuple[Taken | None, list[Taken]]:
        """Return what is to be tried alone, or else what is to be tried together.

        An event that was tried before is tried alone: a worker may have died of it, or of one
        that it was tried with. So the tries of all others are taken back before this one's is
        made. The next time the others have their turn: another worker may have taken the same
        event a moment ago, and will be done with it by then.
        """
        suspects = [waiting for waiting in taken if waiting.entry.attempts > 1]
        others = [waiting for waiting in taken if waiting.entry.attempts <= 1]
        if not suspects:
            return None, others
        self._passed_over = bool(others) and not self._passed_over
        if self._passed_over:
            alone, together, left = None, others, suspects
        else:
            alone, together, left = suspects[0], [], [*suspects[1:], *others]
            self.add([alone.entry.source])
        self.give_back(waiting.entry for waiting in left)
        self.release(store)
        return alone, together

    def release(self, store: Store) -> None:
        """Take back the tries that were none; when the store is there, so not at once."""
        if not self._untried:
            return
        try:
            store.release(list(self._untried))
        except TransientError:
            raise
        except Exception as error:  # noqa: BLE001  # a count too high is no reason to stop
            log.warning("attempts of waiting events stay counted", error=_said(error))
        self._untried.clear()

    def take(self, store: Store, room: int, at_hand: Iterable[Entry] = ()) -> list[Taken]:
        """Take waiting events, at most ``room``; a source is done when it gives too few.

        Those ``at_hand`` are being tried already, and this is no other try.
        """
        # Asked for two each, those for which one event waits are done at once.
        sources = list(islice(self._sources, max(room // 2, 1)))
        if not sources:
            return []
        limit = room // len(sources)
        names = {entry.name for entry in at_hand}
        taken: list[Taken] = []
        for source, found in zip(sources, store.take(sources, limit), strict=True):
            if isinstance(found, Exception):
                # One project's keys must not stop the rest.
                log.warning("waiting events cannot be taken", item=source.ref, error=_said(found))
            else:
                taken += found
            if isinstance(found, Exception) or len(found) < limit:
                del self._sources[source]
        again = [waiting for waiting in taken if waiting.entry.name in names]
        self._untried.update((waiting.entry, None) for waiting in again)
        return [waiting for waiting in taken if waiting.entry.name not in names]


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
            try:
                due += self._sweep(project, ready)
            except TransientError:
                # What was found before is counted as tried, so it is tried.
                if not due:
                    raise
                self._more_is_due = True
                break
            except Exception as error:  # noqa: BLE001  # one project's keys must not stop the rest
                log.warning("project cannot be swept", project=project, error=_said(error))
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


def _said(error: Exception) -> str:
    # Whatever else it is, its text may hold more than ids.
    return error.detail if isinstance(error, PermanentError) else type(error).__name__
