"""One batch, start to finish, in four stages: look_up, commit, announce, settle.

Each takes the answer that the last one waits for, computes, and sends. What it returns says by
its type what the batch awaits now, so that several may be under way, each at another stage.

We commit before we announce and acknowledge only what was confirmed, so a crash
anywhere leaves the event with the broker. Its redelivery finds the assignment and
announces the same bytes again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

import structlog

from kmworker.clock import Clock, rfc3339
from kmworker.domain.audit import Unsaid
from kmworker.domain.grants import GrantsSeen
from kmworker.domain.look_up import (
    NOTHING,
    Presumed,
    grants_to_look_up,
    items_to_look_up,
    presume,
)
from kmworker.domain.message import Confirm, Delivery, Outgoing
from kmworker.domain.model import Broken, Item, State
from kmworker.domain.plan import Committed, Fresh, Plan
from kmworker.domain.planner import plan_batch
from kmworker.domain.policy import Policy
from kmworker.domain.resolve import Dead, Done, Left, resolve
from kmworker.domain.values import value
from kmworker.domain.waiting import Taken
from kmworker.errors import BrokerUnavailable, TransientError, told
from kmworker.ports import Bus, Pending, Store
from kmworker.wire.announcements import announce
from kmworker.wire.dead_letters.writing import dead_letter
from kmworker.wire.ended import announce_end
from kmworker.wire.key_changes import announce_key
from kmworker.worker.held_back import HeldBack
from kmworker.worker.outbox import taken
from kmworker.worker.parse import Batch, Parser
from kmworker.worker.recorded import RecordedFirst
from kmworker.worker.tally import Tally

__all__ = [
    "AwaitingCommit",
    "AwaitingConfirms",
    "AwaitingLookup",
    "Exchanges",
    "Milestone",
    "Stages",
]

log = structlog.get_logger()


class Milestone(StrEnum):
    """What a batch has passed, in order."""

    RECEIVE = "receive"
    PARSE = "parse"
    LOOK_UP = "look-up"
    PLAN = "plan"
    COMMIT = "commit"
    ANNOUNCE = "announce"
    SETTLE = "settle"


@value
class Exchanges:
    """Where a worker publishes, and the producer it publishes as: CloudEvents' `source`."""

    assignments: str
    keys: str
    revocations: str
    dead: str
    producer: str = ""


@value
class AwaitingLookup:
    """A batch whose items are being looked up."""

    batch: Batch
    began: float
    """Monotonic seconds."""
    is_asked: bool
    """Whether anything has to be looked up at all."""
    known: Pending[dict[Item, State]]
    presumed: Presumed
    grants: Pending[dict[Item, GrantsSeen | Broken | None]]


@value
class AwaitingCommit:
    """A batch that is planned, and on its way to the store's disk."""

    batch: Batch
    began: float
    known: Mapping[Item, State]
    plan: Plan
    committed: Pending[list[Committed]]


@value
class AwaitingConfirms:
    """A batch that is on disk; its assignments and dead letters are on their way to the broker."""

    batch: Batch
    began: float
    done: Done
    left: Left
    sent_at: str
    """RFC 3339, UTC."""
    confirms: Pending[list[Confirm]]
    """Of the assignments, of the dead letters, of what has become of key-ids, then of what key
    servers are told."""


class Stages:
    """Takes deliveries, and events that waited, through all stages.

    All may raise `TransientError`: it could not be done now. Nothing is lost: what was not
    acknowledged may go through all stages again, in any order, any number of times.
    """

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        *,
        bus: Bus,
        store: Store,
        recorded: RecordedFirst,
        policy: Policy,
        clock: Clock,
        tally: Tally,
        exchanges: Exchanges,
        fresh: Callable[[], Fresh],
        max_attempts: int,
        on_milestone: Callable[[Milestone], None],
    ) -> None:
        self.exchanges = exchanges
        self._bus = bus
        self._store = store
        self._recorded = recorded
        self._policy = policy
        self._clock = clock
        self._tally = tally
        self._fresh = fresh
        self._parser = Parser(store, max_attempts)
        self._on_milestone = on_milestone

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what is there; never wait to fill a batch."""
        deliveries = self._bus.receive(limit, timeout_s)
        if deliveries:
            self._on_milestone(Milestone.RECEIVE)
        return deliveries

    def parse(self, deliveries: Iterable[Delivery], taken: Iterable[Taken]) -> Batch:
        """Turn bytes into events, or into dead letters; raises as `Parser.parse` does."""
        batch = self._parser.parse(deliveries, taken)
        self._on_milestone(Milestone.PARSE)
        return batch

    def give_up(self, poison: Delivery, attempts: int) -> Batch:
        """Return the dead letter of an event that ended too many workers."""
        return self._parser.give_up(poison, attempts)

    def look_up(self, batch: Batch) -> AwaitingLookup:
        """Ask the store what it knows of the items, as far as a plan needs it.

        What other batches have written before this is seen by it.
        """
        began = self._clock.monotonic()
        events, presumed = [it.event for it in batch.arrivals], NOTHING
        if batch.may_be_new:
            events, presumed = presume(batch.arrivals, self._store.recall)
        items = items_to_look_up(events)
        granting = grants_to_look_up(events)
        return AwaitingLookup(
            batch,
            began,
            bool(items or granting),
            self._store.look_up(items),
            presumed,
            self._store.look_up_grants(granting),
        )

    def commit(self, asked: AwaitingLookup) -> AwaitingCommit:
        """Take what the store knows, plan, and send the writes."""
        known = asked.known.result()
        self._on_milestone(Milestone.LOOK_UP)
        arrivals, grants = asked.batch.arrivals, asked.grants.result()
        plan = plan_batch(
            arrivals, known, self._policy, self._fresh(), asked.presumed, grants=grants
        )
        self._on_milestone(Milestone.PLAN)
        return AwaitingCommit(
            asked.batch, asked.began, known, plan, self._store.commit(plan.writes)
        )

    def announce(self, written: AwaitingCommit) -> AwaitingConfirms:
        """When the store has it all on disk, send assignments and dead letters."""
        committed = written.committed.result()
        self._on_milestone(Milestone.COMMIT)
        batch = written.batch
        done, left = resolve(written.plan, committed, written.known, batch.dead)
        producer, exchange = self.exchanges.producer, self.exchanges.assignments
        # From the stored records.
        assignments = [announce(held, producer, exchange) for held in done.announce]
        now = rfc3339(self._clock.now())
        dead_letters = [self._dead_letter(dead, now) for dead in done.dead]
        changes = [announce_key(it, producer, self.exchanges.keys) for it in done.changes]
        revocations = self.exchanges.revocations
        ends = [announce_end(it, producer, revocations, now) for it in done.ended]
        confirms = self._bus.send([*assignments, *dead_letters, *changes, *ends])
        return AwaitingConfirms(batch, written.began, done, left, now, confirms)

    def settle(self, sent: AwaitingConfirms, held_back: HeldBack) -> None:
        """When the broker has on disk what it takes, settle that; the rest goes to ``held_back``.

        It is taken out of ``sent.done``.
        """
        done, announced = sent.done, len(sent.done.announce)
        confirms = sent.confirms.result()
        # No event waits for these: what is not confirmed stays in the outbox.
        last = announced + len(done.dead)
        confirms, others = confirms[:last], confirms[last:]
        of_changes, of_ends = others[: len(done.changes)], others[len(done.changes) :]
        unrouted = confirms[:announced].count(Confirm.UNROUTED)
        if Confirm.REFUSED in of_ends:
            # As shipped it drops its oldest first. No event waits for it: copies end by themselves.
            log.warning(
                "key servers are not told of detachments",
                exchange=self.exchanges.revocations,
                hint="copies are given up at their not_after; give its queue the shipped policy",
            )
        if Confirm.UNROUTED in confirms[announced:]:
            # Someone deleted the queue or its binding. Connecting anew declares them again.
            self._bus.close()
            raise BrokerUnavailable(f"no queue is bound to {self.exchanges.dead}")
        self._on_milestone(Milestone.ANNOUNCE)
        if Confirm.REFUSED in confirms:
            unrouted += held_back.set_aside(done, confirms)
        if done.dead:
            held_back.dead_letters_stored()
        self._tally.count("unrouted", unrouted)
        self._acknowledge(done, sent.left)
        self._let_leave(done, of_changes)
        self._count(done, sent.sent_at)
        self._on_milestone(Milestone.SETTLE)

    def _acknowledge(self, done: Done, left: Left) -> None:
        """Acknowledge, last of all."""
        if left.ready:
            # Whoever comes after us is to find what waits for these, if we do not take it.
            self._store.mark_due({item.project for item in left.ready})
        if done.dead:
            self._count_dead(done.dead)
        if done.entries:
            self._store.remove(done.entries)
        self._bus.acknowledge(done.deliveries)

    def _let_leave(self, done: Done, of_changes: Sequence[Confirm]) -> None:
        """Have recorded, where anything is, what has become of keys and grants; nobody waits.

        What the trail does not take just now stays where it is: whoever looks there next tries.
        """
        if not self._recorded.takes:
            return
        said: list[Unsaid] = [*taken(done.changes, of_changes)]
        if self._recorded.is_on:
            said += done.grants
        if said:
            self._recorded.said(said, self.exchanges.producer)

    def _dead_letter(self, dead: Dead, now: str) -> Outgoing:
        return dead_letter(
            dead.original,
            dead.refusal,
            exchange=self.exchanges.dead,
            event_id=dead.event_id,
            event_type=dead.event_type,
            dead_at=now,
            attempts=dead.attempts,
            user=self._policy.user_of(dead.original.properties),
        )

    def _count_dead(self, dead: Sequence[Dead]) -> None:
        try:
            self._store.count_dead([it.refusal.reason for it in dead])
        except TransientError:
            raise
        except Exception as error:  # noqa: BLE001  # they are out, and not to be repeated
            log.warning("dead letters not counted", error=told(error))

    def _count(self, done: Done, sent_at: str) -> None:
        self._tally.assigned([held.assignment for held in done.new])
        self._tally.released(done.released)
        self._tally.count("repeat", done.repeats)
        self._tally.count("waiting", done.parked)
        for dead in done.dead:
            self._tally.dead(dead.refusal, dead.event_id, dead.event_type, sent_at)
        now = self._clock.monotonic()
        for delivery in done.deliveries:
            self._tally.took(now - delivery.received_at)
