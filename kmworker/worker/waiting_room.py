"""The sweep over the waiting rooms, for what nobody came to take.

A source's arrival takes its waiting events along at once. The sweep is for the rest:
those past their deadline, and those whose taker died between the two steps. It looks only
at projects that the index says have something due, a few in a turn: what it costs follows
what there is to do, and fresh events go on in between.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import structlog

from kmworker.clock import Clock
from kmworker.domain.model import Item
from kmworker.domain.plan import Entry
from kmworker.domain.waiting import Due, Taken
from kmworker.errors import TransientError, told
from kmworker.ports import Store

__all__ = ["ReadySources", "Sweeper"]

log = structlog.get_logger()

LEASE: Final = "sweep"
# Looked at in one turn: fresh events wait for them.
PROJECTS_AT_ONCE: Final = 8


class ReadySources:
    """Sources that are there, while events still wait for them; each once."""

    def __init__(self) -> None:
        self._sources: dict[Item, None] = {}
        self._untried: dict[Entry, None] = {}
        """Taken, and counted as tried, which they were not."""
        self._skipped = False
        """Whether what was tried before has given way to the others."""

    def __bool__(self) -> bool:
        """Return whether there is anything to do."""
        return bool(self._sources or self._untried)

    def add(self, sources: Iterable[Item]) -> None:
        """Remember sources whose waiting events are to be taken."""
        self._sources.update(dict.fromkeys(sources))

    def give_back(self, entries: Iterable[Entry]) -> None:
        """Let events that could not be tried be taken again, without counting this time."""
        for entry in entries:
            self._untried[entry] = None
            self._sources[entry.source] = None

    def leave(self, entries: Iterable[Entry]) -> None:
        """Let events that could not be tried wait, without counting this time."""
        self._untried.update(dict.fromkeys(entries))

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
        tried_before = [waiting for waiting in taken if waiting.entry.attempts > 1]
        others = [waiting for waiting in taken if waiting.entry.attempts <= 1]
        if not tried_before:
            return None, others
        self._skipped = bool(others) and not self._skipped
        if self._skipped:
            alone, together, left = None, others, tried_before
        else:
            alone, together, left = tried_before[0], [], [*tried_before[1:], *others]
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
            log.warning("attempts of waiting events stay counted", error=told(error))
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
        taken: list[Taken] = []
        for source, found in zip(sources, store.take(sources, limit), strict=True):
            del self._sources[source]
            if isinstance(found, Exception):
                # One project's keys must not stop the rest.
                log.warning("waiting events cannot be taken", item=source.ref, error=told(found))
            else:
                taken += found
            if not isinstance(found, Exception) and len(found) >= limit:
                # Behind the others: one for which a crowd waits must not keep them waiting.
                self._sources[source] = None
        return self.without(at_hand, taken)

    def without(self, at_hand: Iterable[Entry], taken: Sequence[Taken]) -> list[Taken]:
        """Leave off what is ``at_hand``: that is being tried already, and this is no other try."""
        names = {entry.name for entry in at_hand}
        self.leave(waiting.entry for waiting in taken if waiting.entry.name in names)
        return [waiting for waiting in taken if waiting.entry.name not in names]


@dataclass(slots=True)
class _Look:
    """How far a look at a project has come, which may take more than one turn."""

    after: str = ""
    has_more: bool = False
    """Whether more was due than there was room for."""
    has_been_found: bool = False
    """Whether anything is to be done, and so to be looked at again."""


class Sweeper:
    """Goes over the projects that have something due; one worker at a time, by lease."""

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
        self._lease_until = self._next_at
        self._is_sweeping = False
        self._looks: dict[str, _Look] = {}

    @property
    def is_due(self) -> bool:
        """Return whether it is time to look."""
        return self._is_sweeping or self._clock.monotonic() >= self._next_at

    def sweep_if_due(self, ready: ReadySources, room: int) -> list[Taken]:
        """Return events past their deadline, at most ``room``; add sources to take from.

        A few projects are looked at each time, the longest due first, until none is left.
        """
        if room <= 0 or not self._may_sweep():
            return []
        found = self._store.due(min(PROJECTS_AT_ONCE, room))
        self._is_sweeping = bool(found)
        if not found:
            self._looks.clear()
            return []
        due: list[Taken] = []
        again: list[tuple[Due, float | None]] = []
        try:
            for one in found:
                taken, after_s = self._look_at(one.project, ready, room // len(found))
                due += taken
                again.append((one, after_s))
            self._store.look_again(again)
        except TransientError:
            # What was found before is counted as tried, so it is tried.
            if not due:
                raise
        return due

    def pause(self) -> None:
        """Look at no more before it is time for the next sweep."""
        self._is_sweeping = False

    def _may_sweep(self) -> bool:
        now = self._clock.monotonic()
        if self._is_sweeping and now < self._lease_until:
            return True
        if now < self._next_at:
            self._is_sweeping = False
            return False
        self._next_at = now + self._every_s
        # Shorter than the interval, so that a dead holder's lease is gone by the next turn.
        seconds = self._every_s * 0.9
        self._lease_until = now + seconds
        self._is_sweeping = self._store.lease(LEASE, self._worker_id, seconds)
        if self._is_sweeping:
            self._store.review_crowds()
        return self._is_sweeping

    def _look_at(
        self, project: str, ready: ReadySources, room: int
    ) -> tuple[list[Taken], float | None]:
        """Return what is due, and after how long to look again; None: at its next deadline."""
        look = self._looks.pop(project, None) or _Look()
        try:
            swept = self._store.sweep(project, min(room, self._limit), look.after)
        except TransientError:
            raise
        except Exception as error:  # noqa: BLE001  # one project's keys must not stop the rest
            log.warning("project cannot be swept", project=project, error=told(error))
            return [], self._every_s
        ready.add(swept.present)
        look.after = swept.after
        look.has_more |= len(swept.due) >= min(room, self._limit)
        look.has_been_found |= bool(swept.due or swept.present)
        if look.after:
            self._looks[project] = look
            return swept.due, 0.0
        if look.has_more:
            return swept.due, 0.0
        return swept.due, self._every_s if look.has_been_found else None
