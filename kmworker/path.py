"""One batch, start to finish: the seven steps.

We commit before we announce and acknowledge only what was confirmed, so a crash
anywhere leaves the event with the broker. Its redelivery finds the assignment and
announces the same bytes again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

import structlog

from kmworker.announcement import announce
from kmworker.batch import fold, items_to_look_up
from kmworker.clock import Clock, rfc3339
from kmworker.dead_letters import dead_letter
from kmworker.decision import Refuse
from kmworker.errors import BrokerUnavailable, Reason, TransientError
from kmworker.events import UNKNOWN_TYPE, Unreadable, parse
from kmworker.message import Delivery, Original, Outgoing
from kmworker.model import Item, State
from kmworker.outcomes import Dead, Done, Left, dead_from, sort_out
from kmworker.plan import Arrival, Entry, Fresh, Plan
from kmworker.policy import Policy
from kmworker.ports import Bus, Commits, Confirms, Known, Store, Taken
from kmworker.tally import Tally
from kmworker.values import value

__all__ = ["Asked", "BatchPath", "Exchanges", "Flight", "Step", "Written"]

log = structlog.get_logger()


class Step(StrEnum):
    """The seven steps, in order."""

    RECEIVE = "receive"
    PARSE = "parse"
    LOOK_UP = "look-up"
    PLAN = "plan"
    COMMIT = "commit"
    ANNOUNCE = "announce"
    SETTLE = "settle"


@value
class Exchanges:
    """Where a worker publishes, and the CloudEvents source it publishes as."""

    assignments: str
    dead: str
    source: str = ""


@value
class Asked:
    """A batch whose items are being looked up."""

    arrivals: Sequence[Arrival]
    dead: Sequence[Dead]
    known: Known
    began: float
    """Monotonic seconds."""


@value
class Written:
    """A batch that is planned, and on its way to the store's disk."""

    asked: Asked
    known: Mapping[Item, State]
    plan: Plan
    commits: Commits


@value
class Flight:
    """A batch that is on disk; its assignments and dead letters are on their way to the broker."""

    arrivals: Sequence[Arrival]
    dead: Sequence[Dead]
    done: Done
    left: Left
    confirms: Confirms
    """Of the assignments, then of the dead letters."""
    sent_at: str
    """RFC 3339, UTC."""
    began: float
    """Monotonic seconds."""


class BatchPath:
    """Takes deliveries, and events that waited, through all seven steps."""

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        *,
        bus: Bus,
        store: Store,
        policy: Policy,
        clock: Clock,
        tally: Tally,
        exchanges: Exchanges,
        fresh: Callable[[], Fresh],
        max_attempts: int,
        on_step: Callable[[Step], None],
    ) -> None:
        self.exchanges = exchanges
        self._bus = bus
        self._store = store
        self._policy = policy
        self._clock = clock
        self._tally = tally
        self._fresh = fresh
        self._max_attempts = max_attempts
        self._on_step = on_step

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Step 1: take what is there; never wait to fill a batch."""
        deliveries = self._bus.receive(limit, timeout_s)
        if deliveries:
            self._on_step(Step.RECEIVE)
        return deliveries

    def parse(
        self, deliveries: Iterable[Delivery], taken: Iterable[Taken]
    ) -> tuple[list[Arrival], list[Dead]]:
        """Step 2: bytes to events, or to dead letters."""
        read = [_read(d.original, delivery=d) for d in deliveries]
        read += [self._read_waiting(waiting) for waiting in taken]
        self._on_step(Step.PARSE)
        return (
            [event for event in read if isinstance(event, Arrival)],
            [letter for letter in read if isinstance(letter, Dead)],
        )

    def give_up(self, suspect: Delivery, attempts: int, *, read: bool) -> list[Dead]:
        """Return the dead letter of an event that ended too many workers."""
        refusal = too_many(attempts)
        if not read:
            return [Dead(suspect.original, refusal, "", UNKNOWN_TYPE, suspect, None, attempts)]
        arrivals, dead = self.parse([suspect], [])
        return [*dead, *(dead_from(replace(a, attempts=attempts), refusal) for a in arrivals)]

    def ask(self, arrivals: Sequence[Arrival], dead: Sequence[Dead]) -> Asked:
        """Step 3, as far as asking.

        This stage and those that follow may be those of several batches in turn: what one has
        written the next one's look-up sees, if it is asked after that.

        Raises:
            TransientError: some step could not be done now, here as in all stages. Nothing is
                lost: what was not acknowledged may go through all steps again, in any order,
                any number of times.
        """
        began = self._clock.monotonic()
        wanted = items_to_look_up(arrival.event for arrival in arrivals)
        return Asked(arrivals, dead, self._store.ask(wanted), began)

    def write(self, asked: Asked) -> Written:
        """Step 3, when the store has answered, step 4, and step 5 as far as sending."""
        known = asked.known()
        self._on_step(Step.LOOK_UP)
        plan = fold(asked.arrivals, known, self._policy, self._fresh())
        self._on_step(Step.PLAN)
        return Written(asked, known, plan, self._store.write(plan.writes))

    def announce(self, written: Written) -> Flight:
        """Step 5, when the store has all of it on disk, and step 6 as far as sending."""
        committed = written.commits()
        self._on_step(Step.COMMIT)
        asked = written.asked
        done, left = sort_out(written.plan, committed, written.known, asked.dead)
        source, exchange = self.exchanges.source, self.exchanges.assignments
        # From the stored records.
        assignments = [announce(held, source, exchange) for held in done.announce]
        now = rfc3339(self._clock.now())
        letters = [self._dead_letter(dead, now) for dead in done.dead]
        confirms = self._bus.send([*assignments, *letters])
        return Flight(asked.arrivals, asked.dead, done, left, confirms, now, asked.began)

    def finish(self, flight: Flight) -> None:
        """Step 6, when the broker has all of it on disk, and step 7."""
        done, routed = flight.done, flight.confirms()
        self._tally.count("unrouted", routed[: len(done.announce)].count(False))
        if not all(routed[len(done.announce) :]):
            # Someone deleted the queue or its binding. Connecting anew declares them again.
            self._bus.close()
            raise BrokerUnavailable(f"no queue is bound to {self.exchanges.dead}")
        self._on_step(Step.ANNOUNCE)
        self._settle(done)
        self._count(done, flight.sent_at)
        self._on_step(Step.SETTLE)

    def _settle(self, done: Done) -> None:
        """Step 7: the acknowledgement last of all."""
        if done.dead:
            self._count_dead(done.dead)
        if done.entries:
            self._store.remove(done.entries)
        self._bus.acknowledge(done.deliveries)

    def _dead_letter(self, dead: Dead, now: str) -> Outgoing:
        return dead_letter(
            dead.original,
            dead.refusal,
            exchange=self.exchanges.dead,
            event_id=dead.event_id,
            event_type=dead.event_type,
            dead_at=now,
            attempts=dead.attempts,
        )

    def _count_dead(self, dead: Sequence[Dead]) -> None:
        try:
            self._store.count_dead([letter.refusal.reason for letter in dead])
        except TransientError:
            raise
        except Exception as error:  # noqa: BLE001  # the letters are out, and not to be repeated
            log.warning("dead letters not counted", error=type(error).__name__)

    def _count(self, done: Done, sent_at: str) -> None:
        self._tally.assigned([held.assignment for held in done.new])
        self._tally.count("repeat", done.repeats)
        self._tally.count("waiting", done.parked)
        for letter in done.dead:
            self._tally.dead(letter.refusal, letter.event_id, letter.event_type, sent_at)
        now = self._clock.monotonic()
        for delivery in done.deliveries:
            self._tally.took(now - delivery.received_at)

    def _read_waiting(self, waiting: Taken) -> Arrival | Dead:
        if waiting.problem:
            refusal = Refuse(Reason.INTEGRITY, waiting.problem)
            return Dead(
                waiting.original,
                refusal,
                "",
                "unknown",
                None,
                waiting.entry,
                waiting.entry.attempts,
            )
        read = _read(waiting.original, entry=waiting.entry)
        # The first try is made in company, and counted for all of it.
        if isinstance(read, Dead) or waiting.entry.attempts <= self._max_attempts + 1:
            return read
        # Counted before each try, so this one ended a worker max_attempts times, alone.
        cause = read.event.cause
        refusal = too_many(waiting.entry.attempts - 1)
        return Dead(
            read.original, refusal, cause.id, cause.type, None, waiting.entry,
            waiting.entry.attempts - 1,
        )  # fmt: skip


def too_many(attempts: int) -> Refuse:
    """Give up on an event that fails by a fault of ours."""
    return Refuse(Reason.INTERNAL, f"processing it failed {attempts} times; see the worker's log")


def _read(
    original: Original, *, delivery: Delivery | None = None, entry: Entry | None = None
) -> Arrival | Dead:
    event = parse(original.body, original.properties.get("content_type"), original.routing_key)
    if not isinstance(event, Unreadable):
        return Arrival(event, original, delivery, entry)
    attempts = 1 if entry is None else entry.attempts
    refusal = Refuse(event.reason, event.detail)
    return Dead(original, refusal, event.event_id, event.event_type, delivery, entry, attempts)
