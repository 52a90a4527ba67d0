"""Batches on their way: several at a time, and what to do when one fails.

While the broker stores the assignments of some batches, the store writes the next one, and
the one after that is received and read. Nothing waits for the broker while there is something
to do. Nothing of a batch is acknowledged before its own confirms, nor before the batch ahead
of it. A batch that fails as a whole is split until the one event that causes it stands alone,
so that no event suffers for its neighbour.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256

import structlog

from kmworker.clock import Clock
from kmworker.decision import Refuse
from kmworker.errors import PermanentError, SetupError, TransientError, WaitingRoomFull
from kmworker.message import Delivery
from kmworker.outcomes import Dead, Left, dead_from
from kmworker.path import BatchPath, Flight, Written, too_many
from kmworker.plan import Arrival, Entry
from kmworker.ports import Store, Taken
from kmworker.tally import Tally
from kmworker.waiting import ReadySources

__all__ = ["Handling"]

log = structlog.get_logger()


class Handling:
    """Brings events through all steps, and knows which of them are not settled yet.

    Attributes:
        ready: sources that are there while events wait for them.
        unsettled: deliveries that were taken and not acknowledged, by tag.
    """

    def __init__(
        self, path: BatchPath, store: Store, tally: Tally, clock: Clock, *, max_attempts: int
    ) -> None:
        self.ready = ReadySources()
        self.unsettled: dict[int, Delivery] = {}
        self._path = path
        self._store = store
        self._tally = tally
        self._clock = clock
        self._max_attempts = max_attempts
        self._carried: list[Arrival] = []
        self._written: Written | None = None
        self._flights: deque[Flight] = deque()

    def __bool__(self) -> bool:
        """Say whether anything is at hand."""
        return bool(self._carried or self._written or self._flights)

    @property
    def can_go_on(self) -> bool:
        """Say whether there is something to do before the broker says more."""
        return bool(self._carried or self._written) or self._is_confirmed()

    @property
    def carried(self) -> int:
        """Return how many events the next batch begins with."""
        return len(self._carried)

    def entries(self) -> list[Entry]:
        """Return the waiting events that are carried over; none is ever in flight."""
        return _entries(self._carried)

    def handle(self, deliveries: Sequence[Delivery], taken: Sequence[Taken]) -> None:
        """Begin a batch, with what was carried over, and bring those before it on.

        Raises:
            TransientError: a server is away; `drop` is to be called.
        """
        carried, self._carried = self._carried, []
        arrivals, dead = self._path.parse(deliveries, taken)
        arrivals = [*carried, *arrivals]
        entries = _entries([*arrivals, *dead])
        with self._given_back(entries):
            try:
                asked = self._path.ask(arrivals, dead)
                self._announce()
                self._written = self._path.write(asked)
            except (TransientError, SetupError):
                raise
            except Exception as error:  # noqa: BLE001  # whatever it is, only one event may suffer
                self.finish()
                self._halve(arrivals, dead, error)
                return
            # What waits is in the waiting room until it is settled, and would be taken again.
            if entries:
                self.finish()
        self._settle_confirmed()

    def handle_apart(self, deliveries: Sequence[Delivery], taken: Sequence[Taken] = ()) -> None:
        """Bring a batch through all steps, with no other in flight."""
        if not (deliveries or taken):
            return
        with self._given_back([waiting.entry for waiting in taken]):
            self.finish()
            self._split(*self._path.parse(deliveries, taken))

    def handle_suspect(self, suspect: Delivery) -> None:
        """Handle an event that may have ended a worker, counting the try before it."""
        self.finish()
        digest = sha256(suspect.original.body).hexdigest()[:32]
        attempts = self._store.count_attempt(digest)
        if attempts > self._max_attempts:
            # Reading it may be what ends us: in the end it is given up unread.
            read = attempts <= 2 * self._max_attempts
            self._split([], self._path.give_up(suspect, attempts - 1, read=read))
        else:
            try:
                self.handle_apart([suspect])
            except TransientError:
                # Only ends of the process may add up.
                self._store.forget_attempts(digest)
                raise
        self._store.forget_attempts(digest)

    def go_on(self) -> None:
        """Bring what is under way on, and wait for the store alone."""
        self._announce()
        self._settle_confirmed()

    def finish(self) -> None:
        """Settle every batch that is under way."""
        self._announce()
        while self._flights:
            self._finish(self._flights.popleft())

    def drop(self) -> None:
        """Let go of what is at hand: it comes again."""
        self.ready.give_back(self.entries())
        self._carried = []
        self._let_go()

    def forget_channel(self) -> None:
        """Let go of what came on a channel that is gone: the broker delivers it again."""
        self.unsettled.clear()
        # Their tags are those of other deliveries now.
        self._let_go()
        self._carried = [arrival for arrival in self._carried if arrival.delivery is None]

    @contextmanager
    def _given_back(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Let waiting events be taken again if a server is away; it was no try of theirs."""
        try:
            yield
        except TransientError:
            self.ready.give_back(entries)
            raise

    def _let_go(self) -> None:
        self._written = None
        self._flights.clear()

    def _announce(self) -> None:
        """Announce the batch that is written."""
        written, self._written = self._written, None
        if written is None:
            return
        try:
            flight = self._path.announce(written)
        except (TransientError, SetupError):
            raise
        except Exception as error:  # noqa: BLE001  # as in `handle`
            # Acknowledged strictly in order.
            self.finish()
            self._halve(written.asked.arrivals, written.asked.dead, error)
            return
        self._take_up(flight.left)
        self._flights.append(flight)
        if flight.left.full:
            self.finish()

    def _is_confirmed(self) -> bool:
        return bool(self._flights) and self._flights[0].confirms.have_come()

    def _settle_confirmed(self) -> None:
        while self._is_confirmed():
            self._finish(self._flights.popleft())

    def _finish(self, flight: Flight) -> None:
        with self._given_back(_entries([*flight.arrivals, *flight.dead])):
            try:
                self._settle(flight)
            except (TransientError, SetupError):
                raise
            except Exception as error:  # noqa: BLE001  # as in `handle`
                # What is on its way to the store was counted before what is written again.
                self._announce()
                self._halve(flight.arrivals, flight.dead, error)
            else:
                _refuse_more_if_full(flight.left)

    def _split(self, arrivals: Sequence[Arrival], dead: Sequence[Dead]) -> None:
        """Run a batch; if it fails as a whole, its halves, down to the one event at fault."""
        try:
            flight = self._path.announce(self._path.write(self._path.ask(arrivals, dead)))
            self._settle(flight)
        except (TransientError, SetupError):
            raise
        except Exception as error:  # noqa: BLE001  # as in `handle`
            self._halve(arrivals, dead, error)
        else:
            self._take_up(flight.left)
            _refuse_more_if_full(flight.left)

    def _halve(self, arrivals: Sequence[Arrival], dead: Sequence[Dead], error: Exception) -> None:
        size = len(arrivals) + len(dead)
        if size <= 1:
            self._blame(arrivals, dead, error)
            return
        log.warning("batch failed, splitting it", events=size, error=type(error).__name__)
        half, dead_half = (len(arrivals) + 1) // 2, len(dead) // 2
        self._split(arrivals[:half], dead[:dead_half])
        self._split(arrivals[half:], dead[dead_half:])

    def _take_up(self, left: Left) -> None:
        self._carried += left.carried
        self.ready.wait_on(left.still_waiting)
        self.ready.add(left.ready)

    def _settle(self, flight: Flight) -> None:
        self._path.finish(flight)
        left = flight.left
        kept = {a.delivery.tag for a in (*left.carried, *left.full) if a.delivery is not None}
        events: list[Arrival | Dead] = [*flight.arrivals, *flight.dead]
        for event in events:
            if event.delivery is not None and event.delivery.tag not in kept:
                self.unsettled.pop(event.delivery.tag, None)
        self._tally.last_batch_at = self._tally.busy_since = self._clock.now()
        took_s = self._clock.monotonic() - flight.began
        log.debug("batch", events=len(events), ms=round(took_s * 1000, 1))

    def _blame(self, arrivals: Sequence[Arrival], dead: Sequence[Dead], error: Exception) -> None:
        """Deal with the one event that a batch fails on."""
        if not arrivals:
            self._bury_bare(dead, error)
            return
        (arrival,) = arrivals
        cause = arrival.event.cause
        if isinstance(error, PermanentError):
            refusal = Refuse(error.reason, error.detail)
        elif arrival.attempts < self._max_attempts:
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


def _entries(events: Iterable[Arrival | Dead]) -> list[Entry]:
    return [event.entry for event in events if event.entry is not None]


def _refuse_more_if_full(left: Left) -> None:
    if left.full:
        raise WaitingRoomFull(
            f"waiting.max events of project {left.full[0].event.item.project} wait for their"
            " sources; no more are taken until some of these come or expire"
        )
