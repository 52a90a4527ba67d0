"""The sweep over the waiting rooms, for what nobody came to take.

A source's arrival takes its waiting events along at once. The sweep is for the rest:
those past their deadline, and those whose taker died between the two steps. It looks only
at projects that the index says have something due, a few in a turn: what it costs follows
what there is to do, and fresh events go on in between.
"""

from dataclasses import dataclass
from typing import Final

import structlog

from kmworker.clock import Clock
from kmworker.domain.waiting import Due, Taken
from kmworker.errors import TransientError, told
from kmworker.ports import Store
from kmworker.worker.ready_sources import ReadySources

__all__ = ["Sweeper"]

log = structlog.get_logger()

LEASE: Final = "sweep"
# Looked at in one turn: fresh events wait for them.
PROJECTS_AT_ONCE: Final = 8


@dataclass(slots=True)
class _Look:
    """How far a look at a project has come, which may take more than one turn."""

    after: str = ""
    has_more: bool = False
    """Whether more was due than could be taken."""
    has_been_found: bool = False
    """Whether anything is to be done, and so to be looked at again."""


class Sweeper:
    """Goes over the projects that have something due; one worker at a time, by lease."""

    def __init__(self, store: Store, clock: Clock, *, worker_id: str, every_s: float) -> None:
        self._store = store
        self._clock = clock
        self._worker_id = worker_id
        self._every_s = every_s
        # At once: a crash may be the reason for this worker's start.
        self._next_at = clock.monotonic()
        self._lease_until = self._next_at
        self._is_sweeping = False
        self._looks: dict[str, _Look] = {}

    @property
    def is_due(self) -> bool:
        """Return whether it is time to look."""
        return self._is_sweeping or self._clock.monotonic() >= self._next_at

    def sweep_if_due(self, ready: ReadySources, limit: int) -> list[Taken]:
        """Return events past their deadline, at most ``limit``; add sources to take from.

        A few projects are looked at each time, the longest due first, until none is left.
        """
        if limit <= 0 or not self._may_sweep():
            return []
        found = self._store.due(min(PROJECTS_AT_ONCE, limit))
        self._is_sweeping = bool(found)
        if not found:
            self._looks.clear()
            return []
        due: list[Taken] = []
        again: list[tuple[Due, float | None]] = []
        try:
            for one in found:
                taken, after_s = self._look_at(one.project, ready, limit // len(found))
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
        self, project: str, ready: ReadySources, limit: int
    ) -> tuple[list[Taken], float | None]:
        """Return what is due, and after how long to look again; None: at its next deadline."""
        look = self._looks.pop(project, None) or _Look()
        try:
            swept = self._store.sweep(project, limit, look.after)
        except TransientError:
            raise
        except Exception as error:  # noqa: BLE001  # one project's keys must not stop the rest
            log.warning("project cannot be swept", project=project, error=told(error))
            return [], self._every_s
        ready.add(swept.present)
        look.after = swept.after
        look.has_more |= len(swept.due) >= limit
        look.has_been_found |= bool(swept.due or swept.present)
        if look.after:
            self._looks[project] = look
        if look.after or look.has_more:
            return swept.due, 0.0
        return swept.due, self._every_s if look.has_been_found else None
