"""When a worker reports, and what happens if it cannot: nothing."""

import os
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import structlog

from kmworker.clock import Clock
from kmworker.domain.keks import KeyringTrouble
from kmworker.errors import told
from kmworker.ports import Bus, Pending, QueueCounts, Report, Reports
from kmworker.worker.chores import Chore
from kmworker.worker.incarnation import incarnation
from kmworker.worker.tally import COUNTED, STOPPED, Tally

__all__ = ["Reporter"]

log = structlog.get_logger()

Fields = Mapping[str, str | int | float]

FEED_EVERY_S: Final = 0.1
# In small pages: an event may have to wait for what comes before it.
MAX_FEED: Final = 100
SELF_EVERY_S: Final = 1.0
QUEUES_EVERY_S: Final = 5.0


class Reporter:
    """Tells dashboards about a worker, now and then.

    Attributes:
        chores: what is to be told, and how often.
    """

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        reports: Reports,
        bus: Bus,
        tally: Tally,
        clock: Clock,
        *,
        worker_id: str,
        kek_ids: Callable[[], Iterable[str]],
        keyring_trouble: Callable[[], KeyringTrouble | None] = lambda: None,
    ) -> None:
        self._reports = reports
        self._bus = bus
        self._tally = tally
        self._clock = clock
        self._worker_id = worker_id
        self._kek_ids = kek_ids
        self._keyring_trouble = keyring_trouble
        self._started_at = clock.now()
        self._incarnation = incarnation(os.getpid())
        self.chores = (
            Chore(self._tell_of_itself, SELF_EVERY_S, while_away=True),
            Chore(self._tell_of_queues, QUEUES_EVERY_S, while_away=True),
            Chore(self._tell_what_happened, FEED_EVERY_S, while_away=True),
        )
        self._logged: Counter[str] = Counter()
        self._pending: Pending[None] | None = None

    def last(self) -> None:
        """Report what is left to tell, at the worker's end."""
        self._log()
        self._end()
        fields = {**self._fields(), "state": STOPPED, "busy_since": 0.0}
        minute = self._tally.end_minute(self._worker_id)
        seen_at = self._clock.now()
        with self._best_effort():
            self._reports.write(
                Report(self._worker_id, seen_at, fields, self._tally.feed(), minute, None)
            ).result()

    def _tell_of_itself(self) -> None:
        self._log()
        self._begin(self._fields(), self._tally.minute(self._worker_id))

    def _tell_of_queues(self) -> None:
        self._begin(queues=self._counts())

    def _tell_what_happened(self) -> None:
        self._begin(feed=self._tally.feed(MAX_FEED))
        with self._best_effort():
            self._reports.count_if_due(self._clock.now())

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
            log.debug("queues not counted", error=told(error))
            return None

    def _begin(
        self,
        fields: Fields | None = None,
        minute: Fields | None = None,
        feed: list[dict[str, str]] | None = None,
        queues: QueueCounts | None = None,
    ) -> None:
        if not (fields or minute or feed or queues):
            return
        self._end()
        report = Report(
            self._worker_id, self._clock.now(), fields or {}, feed or [], minute, queues
        )
        with self._best_effort():
            self._pending = self._reports.write(report)

    def _end(self) -> None:
        """See how the report before this one ended: nobody waits for it in between."""
        pending, self._pending = self._pending, None
        if pending is not None:
            with self._best_effort():
                pending.result()

    @contextmanager
    def _best_effort(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  # best effort, whatever is wrong
            # The loop meets the same trouble where it matters.
            log.debug("report not written", error=told(error))

    def _fields(self) -> Fields:
        keyring = self._keyring_trouble()
        return {
            "host": platform.node(),
            "pid": os.getpid(),
            "incarnation": self._incarnation,
            "state": self._tally.state,
            "started": self._started_at,
            "seen_at": self._clock.now(),
            "last_batch": self._tally.last_batch_at,
            "busy_since": self._tally.busy_since,
            "last_error": self._tally.last_error,
            "clock_ahead_s": self._tally.clock_ahead_s,
            "trouble": self._tally.trouble,
            # None becomes active that a live worker lacks.
            "kek_ids": " ".join(sorted(self._kek_ids())),
            "keyring_trouble": "" if keyring is None else keyring.flaw,
            "keyring_trouble_since": 0.0 if keyring is None else keyring.since_s,
            **self._tally.totals,
        }
