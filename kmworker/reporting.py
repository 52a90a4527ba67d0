"""When a worker reports, and what happens if it cannot: nothing."""

import os
import platform
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from kmworker.clock import Clock
from kmworker.ports import Bus, Reports
from kmworker.tally import COUNTED, STOPPED, QueueCounts, Report, Tally

__all__ = ["Reporter"]

log = structlog.get_logger()

FEED_EVERY_S: Final = 1.0
QUEUES_EVERY_S: Final = 5.0


class Reporter:
    """Tells dashboards about a worker, now and then."""

    def __init__(
        self, reports: Reports, bus: Bus, tally: Tally, clock: Clock, worker_id: str
    ) -> None:
        self._reports = reports
        self._bus = bus
        self._tally = tally
        self._clock = clock
        self._worker_id = worker_id
        self._started_at = clock.now()
        self._next_at = 0.0
        self._next_queues_at = 0.0
        self._logged: Counter[str] = Counter()
        self._end_begun: Callable[[], None] | None = None

    def report_if_due(self) -> None:
        """Report if a second has passed since the last time."""
        now = self._clock.monotonic()
        if now < self._next_at:
            return
        self._next_at = now + FEED_EVERY_S
        self._log()
        queues = None
        if now >= self._next_queues_at:
            self._next_queues_at = now + QUEUES_EVERY_S
            queues = self._counts()
        self._end()
        with self._best_effort():
            self._end_begun = self._reports.begin(self._report(queues))

    def last(self) -> None:
        """Report what is left to tell, at the worker's end."""
        self._log()
        self._end()
        report = self._report(None)
        with self._best_effort():
            self._reports.write(
                Report(
                    self._worker_id,
                    report.seen_at,
                    {**report.fields, "state": STOPPED, "busy_since": 0.0},
                    report.feed,
                    self._tally.end_minute(self._worker_id),
                    None,
                )
            )

    def _log(self) -> None:
        """Say what was done since the last time: a line for each batch would be too many."""
        new = self._tally.totals - self._logged
        done = {name: new[name] for name in COUNTED if new[name]}
        if done:
            log.info("handled", **done)
            self._logged = self._tally.totals.copy()

    def _counts(self) -> QueueCounts | None:
        try:
            return self._bus.counts()
        except Exception as error:  # noqa: BLE001  # best effort, whatever is wrong
            log.debug("queues not counted", error=type(error).__name__)
            return None

    def _end(self) -> None:
        """See how the report before this one ended: nobody waits for it in between."""
        end, self._end_begun = self._end_begun, None
        if end is not None:
            with self._best_effort():
                end()

    @contextmanager
    def _best_effort(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  # best effort, whatever is wrong
            # The loop meets the same trouble where it matters.
            log.debug("report not written", error=type(error).__name__)

    def _report(self, queues: QueueCounts | None) -> Report:
        now = self._clock.now()
        fields: dict[str, str | int | float] = {
            "host": platform.node(),
            "pid": os.getpid(),
            "state": self._tally.state,
            "started": self._started_at,
            "seen_at": now,
            "last_batch": self._tally.last_batch_at,
            "busy_since": self._tally.busy_since,
            "last_error": self._tally.last_error,
            **self._tally.totals,
        }
        minute = self._tally.minute(self._worker_id)
        return Report(self._worker_id, now, fields, self._tally.feed(), minute, queues)
