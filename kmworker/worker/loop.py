"""The worker: takes events, and knows what to do when a server is away.

Whatever goes wrong, an event stays unacknowledged until it is settled. A server that
is away stops the intake and nothing else: what is at hand is let go of, and comes again.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import structlog

from kmworker.clock import Clock
from kmworker.domain.message import POISON_AT, Delivery
from kmworker.domain.waiting import Taken
from kmworker.errors import BrokerUnavailable, TransientError
from kmworker.ports import Bus, Store
from kmworker.settings import WorkerSettings
from kmworker.worker.chores import Chore, Chores
from kmworker.worker.held_back import MAX_HELD_BACK
from kmworker.worker.outbox import OutboxAnnouncer
from kmworker.worker.pipeline import Pipeline
from kmworker.worker.repeats import Repeats
from kmworker.worker.reporter import Reporter
from kmworker.worker.rollback import Anchor
from kmworker.worker.stages import Stages
from kmworker.worker.sweeper import Sweeper
from kmworker.worker.tally import RUNNING, WAITING, Tally
from kmworker.worker.timekeeping import TIMEKEEPING_S, Timekeeper

__all__ = ["KEYRING_S", "OUTBOX_S", "Worker"]

log = structlog.get_logger()

IDLE_WAIT_S: Final = 1.0
TICK_S: Final = 1.0
ANCHOR_S: Final = 1.0
OUTBOX_S: Final = 1.0
KEYRING_S: Final = 2.0
STOP_POLL_S: Final = 0.01
FULL_POLL_S: Final = 0.05
# Full jitter between nothing and this, so that workers do not come back in step.
FIRST_BACKOFF_S: Final = 0.1
MAX_BACKOFF_S: Final = 5.0


class Worker:
    """One worker process's loop."""

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        *,
        bus: Bus,
        store: Store,
        stages: Stages,
        sweeper: Sweeper,
        timekeeper: Timekeeper,
        anchor: Anchor,
        outbox: OutboxAnnouncer,
        reporter: Reporter,
        tally: Tally,
        clock: Clock,
        settings: WorkerSettings,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._bus = bus
        self._store = store
        self._stages = stages
        self._sweeper = sweeper
        self._timekeeper = timekeeper
        self._anchor = anchor
        self._outbox = outbox
        self._reporter = reporter
        self._tally = tally
        self._clock = clock
        self._settings = settings
        self._jitter = jitter
        self._stop_by: float | None = None
        self._admitted = False
        self._compared = False
        """With the anchor, since the broker was there."""
        self._failures = 0
        self._repeats = Repeats(clock)
        """What was logged since the last turn that went well."""
        self._chores = Chores(
            clock,
            [
                *reporter.chores,
                Chore(bus.tick, TICK_S, while_away=True),
                Chore(self._anchor_commits, ANCHOR_S),
                Chore(self._announce_left, OUTBOX_S),
                Chore(timekeeper.check, TIMEKEEPING_S),
                Chore(self._follow_keyring, KEYRING_S),
            ],
        )
        self._try_again = False
        self._generation = 0
        self._pipeline = Pipeline(
            stages,
            bus,
            store,
            tally,
            clock,
            jitter=jitter,
            max_attempts=settings.max_attempts,
            max_held=min(MAX_HELD_BACK, settings.batch_max),
        )

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
            self._outbox.close()
            self._bus.close()

    def _anchor_commits(self) -> None:
        # At the end it is done for the last time, and there are deadlines to keep before that.
        if self._stop_by is None:
            self._anchor.record_if_new()

    def _announce_left(self) -> None:
        if self._stop_by is None:
            self._outbox.announce(self._stages.exchanges.producer)

    def _follow_keyring(self) -> None:
        if self._admitted:
            self._store.follow_keyring()

    def _leave(self) -> None:
        """Anchor the last commits: whoever starts next remembers nothing of them.

        Not if batches are still under way: the broker has let us wait until the deadline.
        """
        try:
            if self._admitted and self._compared and not self._pipeline:
                self._anchor.record()
        except TransientError as error:
            log.debug("last commits are not anchored", detail=str(error))

    def _is_over(self) -> bool:
        if self._stop_by is None:
            return False
        at_hand = bool(self._pipeline or self._pipeline.ready or self._try_again)
        return not at_hand or self._clock.monotonic() > self._stop_by

    def _turn_or_pause(self) -> None:
        try:
            self._open()
            self._turn()
            if self._failures:
                self._failures = 0
                self._repeats.forget()
            self._tally.state = WAITING if self._pipeline.is_full else RUNNING
        except TransientError as error:
            self._fail(error)
            self._pause()

    def _open(self) -> None:
        if not self._admitted:
            producer = self._store.admit()
            self._timekeeper.check()
            self._stages.exchanges = replace(self._stages.exchanges, producer=producer)
            self._admitted = True
            if self._repeats.to_tell(("store admitted", producer)):
                log.info("store admitted", source=producer)
        self._bus.open()
        if not self._compared:
            # What the store cannot tell of itself, and the broker can.
            self._anchor.check()
            self._compared = True
        # Compared with what we worked on, not with what was before this call: an earlier
        # one may have renewed the channel and failed after that.
        if self._bus.generation != self._generation:
            self._generation = self._bus.generation
            # The broker delivers again whatever came on the channel before.
            self._pipeline.forget_channel()
            if self._repeats.to_tell("broker connected"):
                log.info("broker connected")

    def _turn(self) -> None:
        """Take what is there and bring it through all stages."""
        self._chores.do_late()
        pipeline = self._pipeline
        pipeline.ready.release(self._store)
        pipeline.try_held_back()
        is_retry, self._try_again = self._try_again, False
        free = max(self._settings.batch_max - pipeline.carried, 0)
        some_wait = bool(pipeline.ready) or self._sweeper.is_due
        # A crowd that waited, and a stream of fresh events, have a half of each batch at least.
        most = free - free // 2 if some_wait else free
        if is_retry:
            deliveries = list(pipeline.unsettled.values())
        else:
            deliveries = self._receive(most, may_wait=not some_wait)
        taken = self._take(free - len(deliveries)) if some_wait else []
        if some_wait and not is_retry and len(deliveries) == most:
            deliveries += self._receive(free - most - len(taken), may_wait=False)
        if not (taken or deliveries or pipeline):
            self._tally.busy_since = 0.0
            return
        self._be_busy()
        self._handle(deliveries, taken, is_retry=is_retry)
        if is_retry:
            # Nothing more is taken before it is known whether the trouble is over.
            pipeline.finish()

    def _take(self, limit: int) -> list[Taken]:
        """Return waiting events that may be tried together; one is tried alone before."""
        ready, at_hand = self._pipeline.ready, self._pipeline.entries()
        taken = ready.without(at_hand, self._sweeper.sweep_if_due(ready, limit))
        if self._pipeline.has_refused_dead_letters:
            # The dead letter of what is past its deadline would only be refused, for ever.
            ready.leave(waiting.entry for waiting in taken)
            self._sweeper.pause()
            taken = []
        try:
            if len(taken) < limit:
                taken += ready.take(self._store, limit - len(taken), at_hand)
            alone, taken = ready.single_out(taken, self._store)
            if alone:
                self._be_busy()
                self._pipeline.handle_apart([], [alone])
        except TransientError:
            ready.give_back(waiting.entry for waiting in taken)
            raise
        return taken

    def _be_busy(self) -> None:
        self._tally.busy_since = self._tally.busy_since or self._clock.now()

    def _handle(
        self, deliveries: Sequence[Delivery], taken: Sequence[Taken], *, is_retry: bool
    ) -> None:
        """Handle events that were delivered before apart from those that were not."""
        fresh = [d for d in deliveries if not d.delivery_count]
        if fresh or taken or self._pipeline.carried:
            self._pipeline.handle(fresh, taken, is_retry=is_retry)
        else:
            self._pipeline.go_on()
        self._pipeline.handle_apart([d for d in deliveries if 0 < d.delivery_count < POISON_AT])
        for delivery in deliveries:
            if delivery.delivery_count >= POISON_AT:
                self._pipeline.handle_poison(delivery)

    def _receive(self, limit: int, *, may_wait: bool) -> list[Delivery]:
        """Return new deliveries, at most ``limit``; wait for them if nothing else is to be done."""
        pipeline = self._pipeline
        if self._stop_by is not None:
            if pipeline and not pipeline.can_go_on:
                # For confirms, which `receive` waits for otherwise.
                self._clock.sleep(STOP_POLL_S)
            return []
        if pipeline.is_full:
            # Until what is held back is stored, for which it is tried again in time.
            self._tally.last_error = f"BrokerUnavailable: {self._tally.trouble}"
            self._clock.sleep(FULL_POLL_S)
            return []
        if limit <= 0:
            return []
        # Less than a batch may be taken where some of one is carried over.
        is_idle = may_wait and not pipeline.can_go_on and limit == self._settings.batch_max
        wait_s = IDLE_WAIT_S if is_idle and not self._chores.are_due else 0.0
        deliveries = self._stages.receive(limit, wait_s)
        if is_idle and not deliveries:
            self._chores.do_one()
        pipeline.unsettled.update((delivery.tag, delivery) for delivery in deliveries)
        return deliveries

    def _fail(self, error: TransientError) -> None:
        self._failures += 1
        self._compared = False
        # The store's client does not connect anew by itself: as long as it meets with no error, it
        # speaks to the server that was admitted, and whatever that forgets shows at the commits.
        # So a trouble of the broker's alone does not cost a look at all projects for each retry.
        self._admitted &= isinstance(error, BrokerUnavailable)
        # Their deliveries are unsettled, their entries still wait: both come again.
        self._pipeline.drop(error)
        self._try_again = bool(self._pipeline.unsettled)
        self._tally.state = WAITING
        self._tally.last_error = f"{type(error).__name__}: {error}"
        self._tally.count("failures")
        if times := self._repeats.to_tell((type(error), str(error))):
            often = {"times": times} if times > 1 else {}
            log.warning("waiting", error=type(error).__name__, detail=str(error), **often)

    def _pause(self) -> None:
        """Wait with full jitter, and go on answering the broker's heartbeats."""
        most = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(self._failures, 16))
        until = self._clock.monotonic() + self._jitter(0, most)
        while (remaining := until - self._clock.monotonic()) > 0 and not self._is_over():
            self._clock.sleep(min(remaining, 0.1))
            try:
                self._chores.do_while_away()
            except TransientError as error:
                log.debug("heartbeat failed", detail=str(error))
