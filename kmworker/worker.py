"""The worker: takes batches, and knows what to do when one fails.

Whatever goes wrong, an event stays unacknowledged until it is settled. A server that
is away stops the intake and nothing else; a batch that fails as a whole is split until
the one event that causes it stands alone, so that no event suffers for its neighbour.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final

import structlog

from kmworker.anchor import Anchor
from kmworker.clock import Clock
from kmworker.decision import Refuse
from kmworker.errors import PermanentError, SetupError, TransientError, WaitingRoomFull
from kmworker.message import Delivery
from kmworker.outcomes import Dead, Left, dead_from
from kmworker.path import BatchPath, too_many
from kmworker.plan import Arrival
from kmworker.ports import Bus, Store, Taken
from kmworker.reporting import Reporter
from kmworker.settings import WorkerSettings
from kmworker.tally import RUNNING, WAITING, Tally
from kmworker.waiting import ReadySources, Sweeper

__all__ = ["Worker"]

log = structlog.get_logger()

IDLE_WAIT_S: Final = 1.0
TICK_S: Final = 1.0
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
        self._next_tick = 0.0
        self._unsettled: dict[int, Delivery] = {}
        """Taken from the bus and not acknowledged, by tag."""
        self._try_again = False
        self._carried: list[Arrival] = []
        self._ready = ReadySources()
        self._generation = 0

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
        """Anchor the last commits: whoever starts next remembers nothing of them."""
        try:
            if self._admitted:
                self._anchor.drop()
        except TransientError as error:
            log.debug("last commits are not anchored", detail=str(error))

    def _is_over(self) -> bool:
        if self._stop_by is None:
            return False
        at_hand = bool(self._carried or self._ready or self._try_again)
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
            self._unsettled.clear()
            self._carried = [arrival for arrival in self._carried if arrival.delivery is None]
            log.info("broker connected")

    def _turn(self) -> None:
        """Take what is there and bring it through all steps."""
        if self._keep_alive():
            self._anchor.drop_if_due()
        self._ready.release(self._store)
        taken = self._sweeper.sweep_if_due(self._ready)
        room = max(self._settings.batch_max - len(self._carried), 0)
        try:
            if room:
                at_hand = [a.entry for a in self._carried if a.entry is not None]
                taken += self._ready.take(self._store, room, at_hand)
            alone = self._ready.single_out(taken, self._store)
            deliveries = [] if alone else self._intake(room - len(taken))
        except TransientError:
            self._ready.give_back(waiting.entry for waiting in taken)
            raise
        if not (alone or taken or deliveries or self._carried):
            self._tally.busy_since = 0.0
            return
        self._tally.busy_since = self._tally.busy_since or self._clock.now()
        if alone:
            self._batch([], [alone], [])
            return
        suspects = [d for d in deliveries if d.delivery_count >= SUSPECT_AT]
        redelivered = [d for d in deliveries if 0 < d.delivery_count < SUSPECT_AT]
        fresh = [d for d in deliveries if not d.delivery_count]
        carried, self._carried = self._carried, []
        self._batch(fresh, taken, carried)
        self._batch(redelivered, [], [])
        for suspect in suspects:
            self._alone(suspect)

    def _intake(self, room: int) -> list[Delivery]:
        if self._try_again:
            self._try_again = False
            return list(self._unsettled.values())
        if room <= 0 or self._stop_by is not None:
            return []
        wait_s = 0.0 if room < self._settings.batch_max or self._ready else IDLE_WAIT_S
        deliveries = self._path.receive(room, wait_s)
        self._unsettled.update((delivery.tag, delivery) for delivery in deliveries)
        return deliveries

    def _batch(
        self, deliveries: Sequence[Delivery], taken: Sequence[Taken], carried: Sequence[Arrival]
    ) -> None:
        if not (deliveries or taken or carried):
            return
        began = self._clock.monotonic()
        before = self._tally.totals.copy()
        arrivals, dead = self._path.parse(deliveries, taken)
        try:
            self._split([*carried, *arrivals], dead)
        except TransientError:
            events: list[Arrival | Dead] = [*arrivals, *carried, *dead]
            self._ready.give_back(event.entry for event in events if event.entry is not None)
            raise
        self._tally.last_batch_at = self._tally.busy_since = self._clock.now()
        log.info(
            "batch",
            events=len(deliveries) + len(taken) + len(carried),
            ms=round((self._clock.monotonic() - began) * 1000, 1),
            **(self._tally.totals - before),
        )

    def _split(self, arrivals: Sequence[Arrival], dead: Sequence[Dead]) -> None:
        """Run a batch; if it fails as a whole, its halves, down to the one event at fault."""
        try:
            self._take_up(self._path.run(arrivals, dead), arrivals, dead)
        except (TransientError, SetupError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, only one event may suffer
            size = len(arrivals) + len(dead)
            if size <= 1:
                self._blame(arrivals, dead, error)
                return
            log.warning("batch failed, splitting it", events=size, error=type(error).__name__)
            half, dead_half = (len(arrivals) + 1) // 2, len(dead) // 2
            self._split(arrivals[:half], dead[:dead_half])
            self._split(arrivals[half:], dead[dead_half:])

    def _take_up(self, left: Left, arrivals: Sequence[Arrival], dead: Sequence[Dead]) -> None:
        self._carried += left.carried
        self._ready.wait_on(left.still_waiting)
        self._ready.add(left.ready)
        kept = {a.delivery.tag for a in (*left.carried, *left.full) if a.delivery is not None}
        events: list[Arrival | Dead] = [*arrivals, *dead]
        for event in events:
            if event.delivery is not None and event.delivery.tag not in kept:
                self._unsettled.pop(event.delivery.tag, None)
        if left.full:
            project = left.full[0].event.item.project
            raise WaitingRoomFull(
                f"waiting.max events of project {project} wait for their sources;"
                " no more are taken until some of these come or expire"
            )

    def _blame(self, arrivals: Sequence[Arrival], dead: Sequence[Dead], error: Exception) -> None:
        """Deal with the one event that a batch fails on."""
        if not arrivals:
            self._bury_bare(dead, error)
            return
        (arrival,) = arrivals
        cause = arrival.event.cause
        if isinstance(error, PermanentError):
            refusal = Refuse(error.reason, error.detail)
        elif arrival.attempts < self._settings.max_attempts:
            log.error("event failed", event_id=cause.id, attempt=arrival.attempts)
            self._carried.append(replace(arrival, attempts=arrival.attempts + 1))
            return
        else:
            log.error("event failed for the last time", event_id=cause.id)
            refusal = too_many(arrival.attempts)
        self._split([], [dead_from(arrival, refusal)])

    def _bury_bare(self, dead: Sequence[Dead], error: Exception) -> None:
        """Leave off what stands beside the event: that may be what cannot be published."""
        for letter in dead:
            if letter.original.properties:
                log.warning("dead letter loses its properties", event_id=letter.event_id)
                bare = replace(letter.original, properties={})
                self._split([], [replace(letter, original=bare)])
                return
        log.error("a dead letter cannot be published")
        raise TransientError("a dead letter cannot be published") from error

    def _alone(self, suspect: Delivery) -> None:
        """Handle an event that may have ended a worker, counting the try before it."""
        digest = sha256(suspect.original.body).hexdigest()[:32]
        attempts = self._store.count_attempt(digest)
        if attempts > self._settings.max_attempts:
            # Reading it may be what ends us: in the end it is given up unread.
            read = attempts <= 2 * self._settings.max_attempts
            self._split([], self._path.give_up(suspect, attempts - 1, read=read))
        else:
            try:
                self._batch([suspect], [], [])
            except TransientError:
                # Only ends of the process may add up.
                self._store.forget_attempts(digest)
                raise
        self._store.forget_attempts(digest)

    def _fail(self, error: TransientError) -> None:
        self._failures += 1
        self._admitted = False
        # Their deliveries are unsettled, their entries still wait: both come again.
        self._ready.give_back(a.entry for a in self._carried if a.entry is not None)
        self._carried = []
        self._try_again = bool(self._unsettled)
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

    def _keep_alive(self) -> bool:
        """Do what is due about once a second; say whether it was."""
        now = self._clock.monotonic()
        if now < self._next_tick:
            return False
        self._next_tick = now + TICK_S
        self._reporter.report_if_due()
        self._bus.tick()
        return True
