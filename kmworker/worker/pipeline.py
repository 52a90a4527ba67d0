"""Batches on their way: several at a time.

While the broker stores the assignments of some batches, the store writes the next one, and
the one after that is received and read. Nothing waits for the broker while there is something
to do. Nothing of an event is acknowledged before its own confirms; what a queue refuses is held
back alone, and all else goes on. A batch that fails as a whole is handed to isolation, so that
no event suffers for its neighbour.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from kmworker.clock import Clock
from kmworker.domain.message import Delivery
from kmworker.domain.plan import Arrival, Entry
from kmworker.domain.resolve import Left
from kmworker.domain.waiting import Taken
from kmworker.errors import PublishRefused, SetupError, TransientError
from kmworker.ports import Bus, Store
from kmworker.worker.blame import MAX_ENDS
from kmworker.worker.held_back import HeldBack
from kmworker.worker.isolate import Isolator
from kmworker.worker.parse import Batch
from kmworker.worker.ready_sources import ReadySources
from kmworker.worker.stages import AwaitingCommit, AwaitingConfirms, Stages
from kmworker.worker.tally import Tally

__all__ = ["Pipeline"]

log = structlog.get_logger()


class Pipeline:
    """Brings events through all stages, and knows which of them are not settled yet.

    Attributes:
        ready: sources that are there while events wait for them.
        unsettled: deliveries that were taken and not acknowledged, by tag.
    """

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        stages: Stages,
        bus: Bus,
        store: Store,
        tally: Tally,
        clock: Clock,
        *,
        jitter: Callable[[float, float], float],
        max_attempts: int,
        max_held: int,
    ) -> None:
        self.ready = ReadySources()
        self.unsettled: dict[int, Delivery] = {}
        self._stages = stages
        self._bus = bus
        self._store = store
        self._tally = tally
        self._clock = clock
        self._max_attempts = max_attempts
        self._carried: list[Arrival] = []
        self._committing: deque[AwaitingCommit] = deque()
        """The oldest first, as is the next; all of them began after those that await confirms."""
        self._confirming: deque[AwaitingConfirms] = deque()
        self._ends = 0
        """How often in a row the broker has ended a connection over what was published."""
        self._untried: list[str] = []
        """Digests of poison messages whose tries were counted, and ended by a server's absence."""
        self._held_back = HeldBack(
            assignments=stages.exchanges.assignments,
            dead=stages.exchanges.dead,
            clock=clock,
            tally=tally,
            jitter=jitter,
            most=max_held,
            put_aside=bus.put_aside,
            wait_on=self.ready.wait_on,
        )
        self._isolator = Isolator(
            run=self._run,
            reopen=bus.open,
            pause=self._held_back.pause,
            hold=self._held_back.hold_unsendable,
            max_attempts=max_attempts,
        )

    def __bool__(self) -> bool:
        """Return whether anything is at hand."""
        return bool(self._carried or self._committing or self._confirming)

    @property
    def can_go_on(self) -> bool:
        """Return whether there is something to do before the broker says more."""
        return bool(
            self._carried
            or self._committing
            or self._held_back.has_ended_pause
            or self._is_confirmed
        )

    @property
    def carried(self) -> int:
        """Return how many events the next batch begins with."""
        return len(self._carried)

    def entries(self) -> list[Entry]:
        """Return the waiting events that are carried over or held; none is ever under way."""
        return [*Batch(self._carried, []).entries, *self._held_back.entries()]

    @property
    def is_full(self) -> bool:
        """Return whether too much is held back for more to be taken."""
        return self._held_back.is_full

    @property
    def has_refused_dead_letters(self) -> bool:
        """Return whether dead letters were refused a moment ago."""
        return self._held_back.has_refused_dead_letters

    def try_held_back(self) -> None:
        """Try again what could not go on, as far as it is time for it."""
        while self._untried:
            self._store.uncount_attempt(self._untried[-1])
            self._untried.pop()
        if self._held_back.is_to_look_again():
            self.finish()
            self._bus.renew()
        self._carried += self._held_back.due_arrivals()
        # Alone: should one of them end the connection, it is known to which this may happen.
        while dead_letters := self._held_back.due_dead_letters():
            self.finish()
            self._isolator.run(Batch([], dead_letters), MAX_ENDS)
        if paused := self._held_back.due_paused():
            batch = Batch(paused, [])
            with self._given_back(batch.entries):
                self.finish()
                self._isolator.run(batch, MAX_ENDS)

    def handle(
        self, deliveries: Sequence[Delivery], taken: Sequence[Taken], *, is_retry: bool
    ) -> None:
        """Begin a batch, with what was carried over, and bring those before it on.

        Raises:
            TransientError: a server is away; `drop` is to be called.
        """
        carried, self._carried = self._carried, []
        read = self._stages.parse(deliveries, taken)
        batch = Batch([*carried, *read.arrivals], read.dead, may_be_new=not is_retry)
        entries = batch.entries
        with self._given_back(entries):
            if self._ends < MAX_ENDS:
                self._begin(batch)
            else:
                self.finish()
                self._isolator.run(batch.tried, self._ends)
                self._ends = 0
            # What waits is in the waiting room until it is settled, and would be taken again.
            if entries:
                self.finish()
        self._settle_confirmed()

    def handle_apart(self, deliveries: Sequence[Delivery], taken: Sequence[Taken] = ()) -> None:
        """Bring a batch through all stages, with no other under way."""
        if not (deliveries or taken):
            return
        with self._given_back([waiting.entry for waiting in taken]):
            self.finish()
            self._isolator.run(self._stages.parse(deliveries, taken), self._ends)

    def handle_poison(self, poison: Delivery) -> None:
        """Handle an event that may have ended a worker, counting the try before it."""
        self.finish()
        digest = poison.original.digest[:32]
        attempts = self._store.count_attempt(digest)
        if is_tried := attempts <= self._max_attempts:
            try:
                self.handle_apart([poison])
            except TransientError:
                # Only ends of the process may add up. As soon as the store is there.
                self._untried.append(digest)
                raise
        else:
            self._isolator.run(self._stages.give_up(poison, attempts - 1), self._ends)
        # What was tried, and is kept only since its dead letter was refused, went all the way: that
        # others end the process meanwhile is not its doing. What is given up, cannot be sent or
        # pauses may yet end whoever tries it next.
        is_harmless = is_tried and self._held_back.holds_dead_letter_of(poison.tag)
        if is_harmless or poison.tag not in self.unsettled:
            self._store.forget_attempts(digest)

    def go_on(self) -> None:
        """Bring what is under way on, and wait for the store alone."""
        self._announce()
        self._settle_confirmed()

    def finish(self) -> None:
        """Settle every batch that is under way."""
        self._announce()
        while self._confirming:
            self._settle_first()

    def drop(self, why: TransientError) -> None:
        """Let go of what is at hand: it comes again."""
        self._ends = self._ends + 1 if isinstance(why, PublishRefused) else 0
        self.ready.give_back(self.entries())
        self._carried = []
        self._held_back.clear()
        self._forget_batches()

    def forget_channel(self) -> None:
        """Let go of what came on a channel that is gone: the broker delivers it again."""
        self.unsettled.clear()
        # Their tags are those of other deliveries now.
        self._forget_batches()
        self.ready.give_back(self._held_back.entries())
        self._held_back.clear()
        self._carried = [arrival for arrival in self._carried if arrival.delivery is None]

    def _forget_batches(self) -> None:
        self._committing.clear()
        self._confirming.clear()

    @property
    def _is_confirmed(self) -> bool:
        """Return whether all confirms of the oldest batch are there."""
        return bool(self._confirming) and self._confirming[0].confirms.done()

    @contextmanager
    def _given_back(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Let waiting events be taken again if a server is away; it was no try of theirs."""
        try:
            yield
        except TransientError:
            self.ready.give_back(entries)
            raise

    @contextmanager
    def _isolated_if_failed(self, batch: Batch, *, after: Callable[[], None]) -> Iterator[None]:
        """Find the one event at fault if the batch fails; ``after`` brings others on before."""
        try:
            yield
        except (TransientError, SetupError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, only one event may suffer
            after()
            self._isolator.run(batch.tried, self._ends, error)

    def _begin(self, batch: Batch) -> None:
        """Bring a batch to the store, and the one before it from there to the broker."""
        # Should it fail, those before it are settled first, so that events keep their order.
        with self._isolated_if_failed(batch, after=self.finish):
            looked_up = self._stages.look_up(batch)
            if looked_up.is_asked:
                self._announce()
            self._committing.append(self._stages.commit(looked_up))
        # While the store writes this one.
        self._announce(leaving=1)

    def _announce(self, *, leaving: int = 0) -> None:
        """Announce the batches that are written, but for so many of the newest."""
        while len(self._committing) > leaving:
            written = self._committing.popleft()
            with self._isolated_if_failed(written.batch, after=self.finish):
                announced = self._stages.announce(written)
                self._take_up(announced.left)
                self._confirming.append(announced)

    def _settle_confirmed(self) -> None:
        while self._is_confirmed:
            self._settle_first()

    def _settle_first(self) -> None:
        announced = self._confirming.popleft()
        # What is on its way to the store was counted before what is written again.
        with self._isolated_if_failed(announced.batch, after=self._announce):
            self._settle(announced)

    def _run(self, batch: Batch) -> None:
        """Bring a batch through all stages, whatever comes of it."""
        stages = self._stages
        announced = stages.announce(stages.commit(stages.look_up(batch)))
        self._settle(announced)
        self._take_up(announced.left)

    def _take_up(self, left: Left) -> None:
        self._carried += left.carried
        self.ready.wait_on(left.still_waiting)
        self.ready.add(left.ready)

    def _settle(self, announced: AwaitingConfirms) -> None:
        self._stages.settle(announced, self._held_back)
        for delivery in announced.done.deliveries:
            self.unsettled.pop(delivery.tag, None)
        self._tally.last_batch_at = self._tally.busy_since = self._clock.now()
        took_s = self._clock.monotonic() - announced.began
        log.debug("batch", events=len(announced.batch.events), ms=round(took_s * 1000, 1))
