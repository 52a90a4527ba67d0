"""The worker: takes events, and knows what to do when a server is away.

Whatever goes wrong, an event stays unacknowledged until it is settled. A server that
is away stops the intake and nothing else: what is at hand is let go of, and comes again.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import structlog

from kmworker.anchor import Anchor
from kmworker.clock import Clock, Every
from kmworker.errors import TransientError
from kmworker.handling import Handling
from kmworker.message import Delivery
from kmworker.path import BatchPath
from kmworker.ports import Bus, Store, Taken
from kmworker.reporting import Reporter
from kmworker.settings import WorkerSettings
from kmworker.tally import RUNNING, WAITING, Tally
from kmworker.waiting import Sweeper

__all__ = ["Worker"]

log = structlog.get_logger()

IDLE_WAIT_S: Final = 1.0
TICK_S: Final = 1.0
# Not when all else is done that is done once a second.
ANCHOR_OFFSET_S: Final = 0.7
STOP_POLL_S: Final = 0.01
# Full jitter between nothing and this, so that workers do not come back in step.
BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MOST_S: Final = 5.0
# An event that was delivered this often without an acknowledgement may be why.
SUSPECT_AT: Final = 2


class Worker:
    """One worker process's loop."""

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        *,
        bus: Bus,
        store: Store,
        path: BatchPath,
        sweeper: Sweeper,
        anchor: Anchor,
        reporter: Reporter,
        tally: Tally,
        clock: Clock,
        settings: WorkerSettings,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._bus = bus
        self._store = store
        self._path = path
        self._sweeper = sweeper
        self._anchor = anchor
        self._reporter = reporter
        self._tally = tally
        self._clock = clock
        self._settings = settings
        self._jitter = jitter
        self._stop_by: float | None = None
        self._admitted = False
        self._failures = 0
        self._tick_due = Every(clock, TICK_S)
        self._anchor_due = Every(clock, TICK_S, ANCHOR_OFFSET_S)
        self._try_again = False
        self._generation = 0
        self._handling = Handling(path, store, tally, clock, max_attempts=settings.max_attempts)

    def stop(self) -> None:
        """Take no more events, finish those at hand, return from `run`."""
        if self._stop_by is None:
            self._stop_by = self._clock.monotonic() + self._settings.stop_deadline_s

    def run(self) -> None:
        """Work until stopped.

        Raises:
            SetupError: the store or the broker is not one that may be used.
        """
        try:
            while not self._is_over():
                self._turn_or_pause()
            self._leave()
        finally:
            self._reporter.last()
            self._bus.close()

    def _leave(self) -> None:
        """Anchor the last commits: whoever starts next remembers nothing of them.

        Not if batches are still under way: the broker has let us wait until the deadline.
        """
        try:
            if self._admitted and not self._handling:
                self._anchor.drop()
        except TransientError as error:
            log.debug("last commits are not anchored", detail=str(error))

    def _is_over(self) -> bool:
        if self._stop_by is None:
            return False
        at_hand = bool(self._handling or self._handling.ready or self._try_again)
        return not at_hand or self._clock.monotonic() > self._stop_by

    def _turn_or_pause(self) -> None:
        try:
            self._open()
            self._turn()
            self._failures = 0
            self._tally.state = RUNNING
        except TransientError as error:
            self._fail(error)
            self._pause()

    def _open(self) -> None:
        if not self._admitted:
            source = self._store.admit()
            self._path.exchanges = replace(self._path.exchanges, source=source)
            log.info("store admitted", source=source)
        self._bus.open()
        if not self._admitted:
            # What the store cannot tell of itself, and the broker can.
            self._anchor.check()
            self._admitted = True
        # Compared with what we worked on, not with what was before this call: an earlier
        # one may have renewed the channel and failed after that.
        if self._bus.generation != self._generation:
            self._generation = self._bus.generation
            # The broker delivers again whatever came on the channel before.
            self._handling.forget_channel()
            log.info("broker connected")

    def _turn(self) -> None:
        """Take what is there and bring it through all steps."""
        self._keep_alive()
        # At the end it is done for the last time, and there are deadlines to keep before that.
        if self._stop_by is None and self._anchor_due.is_due():
            self._anchor.drop_if_due()
        ready = self._handling.ready
        ready.release(self._store)
        taken = self._sweeper.sweep_if_due(ready)
        is_retry = self._try_again
        room = max(self._settings.batch_max - self._handling.carried, 0)
        try:
            if room:
                taken += ready.take(self._store, room, self._handling.entries())
            alone, taken = ready.single_out(taken, self._store)
            if alone:
                self._be_busy()
                self._handling.handle_apart([], [alone])
            deliveries = self._intake(room - len(taken))
        except TransientError:
            ready.give_back(waiting.entry for waiting in taken)
            raise
        if not (taken or deliveries or self._handling):
            self._tally.busy_since = 0.0
            return
        self._be_busy()
        self._handle(deliveries, taken)
        if is_retry:
            # Nothing more is taken before it is known whether the trouble is over.
            self._handling.finish()

    def _be_busy(self) -> None:
        self._tally.busy_since = self._tally.busy_since or self._clock.now()

    def _handle(self, deliveries: Sequence[Delivery], taken: Sequence[Taken]) -> None:
        """Handle events that were delivered before apart from those that were not."""
        fresh = [d for d in deliveries if not d.delivery_count]
        if fresh or taken or self._handling.carried:
            self._handling.handle(fresh, taken)
        else:
            self._handling.go_on()
        self._handling.handle_apart([d for d in deliveries if 0 < d.delivery_count < SUSPECT_AT])
        for delivery in deliveries:
            if delivery.delivery_count >= SUSPECT_AT:
                self._handling.handle_suspect(delivery)

    def _intake(self, room: int) -> list[Delivery]:
        unsettled = self._handling.unsettled
        if self._try_again:
            self._try_again = False
            return list(unsettled.values())
        if self._stop_by is not None:
            if self._handling and not self._handling.can_go_on:
                # For confirms, which `receive` waits for otherwise.
                self._clock.sleep(STOP_POLL_S)
            return []
        if room <= 0:
            return []
        at_hand = (
            self._handling.can_go_on or self._handling.ready or room < self._settings.batch_max
        )
        deliveries = self._path.receive(room, 0.0 if at_hand else IDLE_WAIT_S)
        unsettled.update((delivery.tag, delivery) for delivery in deliveries)
        return deliveries

    def _fail(self, error: TransientError) -> None:
        self._failures += 1
        self._admitted = False
        # Their deliveries are unsettled, their entries still wait: both come again.
        self._handling.drop()
        self._try_again = bool(self._handling.unsettled)
        self._tally.state = WAITING
        self._tally.last_error = f"{type(error).__name__}: {error}"
        self._tally.count("failures")
        log.warning("waiting", error=type(error).__name__, detail=str(error))

    def _pause(self) -> None:
        """Wait with full jitter, and go on answering the broker's heartbeats."""
        most = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(self._failures, 16))
        until = self._clock.monotonic() + self._jitter(0, most)
        while (remaining := until - self._clock.monotonic()) > 0 and not self._is_over():
            self._clock.sleep(min(remaining, 0.1))
            try:
                self._keep_alive()
            except TransientError as error:
                log.debug("heartbeat failed", detail=str(error))

    def _keep_alive(self) -> None:
        """Do what is to be done now and then, whether or not the servers are there."""
        self._reporter.report_if_due()
        if self._tick_due.is_due():
            self._bus.tick()
