"""What became of each event of a batch, once the store has answered. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from kmworker.domain.contradiction import contradiction, is_cause_of
from kmworker.domain.decision import Refuse
from kmworker.domain.event import Detach, Event
from kmworker.domain.grants import GrantsChanged
from kmworker.domain.message import Delivery, Original
from kmworker.domain.model import (
    Announceable,
    Held,
    Item,
    KeyChanged,
    KeyReleased,
    Released,
    State,
    Stored,
)
from kmworker.domain.plan import (
    Arrival,
    AssignWrite,
    Committed,
    Entry,
    GrantWrite,
    Later,
    Lives,
    Nothing,
    ParkWrite,
    Plan,
    ReleaseWrite,
    Repeat,
    StillWaiting,
    Write,
    WriteStatus,
)
from kmworker.domain.values import value
from kmworker.errors import Reason

__all__ = ["Dead", "Done", "Left", "dead_from", "resolve", "too_many"]

# Racing workers agree within a few rounds; more means that plan and store never will.
MAX_ROUNDS: Final = 50


@value
class Dead:
    """An event on its way to the dead letters."""

    original: Original
    refusal: Refuse
    event_id: str
    event_type: str
    delivery: Delivery | None
    entry: Entry | None
    attempts: int


@dataclass(slots=True)
class Done:
    """What is to be announced and settled."""

    announce: list[Announceable] = field(default_factory=list)
    owners: list[Arrival] = field(default_factory=list)
    """For each of these, the event that it is announced for."""
    new: list[Stored] = field(default_factory=list)
    """Those of this batch's own making, for the counters."""
    released: list[KeyReleased] = field(default_factory=list)
    """The same of items that are gone."""
    changes: list[KeyChanged] = field(default_factory=list)
    """Key-ids that this batch has changed: announced, too, and no event waits for that."""
    repeats: int = 0
    parked: int = 0
    granted: int = 0
    """Attachments that were made, or have ended."""
    grants: list[GrantsChanged] = field(default_factory=list)
    """The same, for whoever records them."""
    ended: list[Detach] = field(default_factory=list)
    """What has ended attachments, now or before: key servers tell who may hold a copy."""
    dead: list[Dead] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def take_out(self, events: Sequence[Arrival | Dead]) -> None:
        """Leave these events unsettled."""
        tags = {event.delivery.tag for event in events if event.delivery is not None}
        entries = {event.entry for event in events if event.entry is not None}
        gone = {id(event) for event in events}
        self.deliveries = [it for it in self.deliveries if it.tag not in tags]
        self.entries = [it for it in self.entries if it not in entries]
        self.dead = [it for it in self.dead if id(it) not in gone]


@dataclass(slots=True)
class Left:
    """What a batch leaves to do."""

    carried: list[Arrival] = field(default_factory=list)
    """To look up and plan again."""
    ready: list[Item] = field(default_factory=list)
    """Items that are there now, while events wait for them."""
    still_waiting: list[Entry] = field(default_factory=list)


def dead_from(arrival: Arrival, refusal: Refuse) -> Dead:
    """Send a readable event to the dead letters."""
    cause = arrival.event.cause
    attempts = max(arrival.attempts, 0 if arrival.entry is None else arrival.entry.attempts)
    return Dead(
        arrival.original, refusal, cause.id, cause.type, arrival.delivery, arrival.entry, attempts
    )


def too_many(attempts: int) -> Refuse:
    """Give up on an event that fails by a fault of ours."""
    return Refuse(Reason.INTERNAL, f"processing it failed {attempts} times; see the worker's log")


def resolve(
    plan: Plan, committed: Sequence[Committed], known: Mapping[Item, State], dead: Sequence[Dead]
) -> tuple[Done, Left]:
    """Say what is to be announced and settled, and what is left to do.

    Args:
        plan: what was decided.
        committed: the store's answer to each of ``plan.writes``.
        known: what was looked up for the plan.
        dead: events that were refused before there was a plan.
    """
    return _Resolution(plan, committed, known, dead).run()


class _Resolution:
    def __init__(
        self,
        plan: Plan,
        committed: Sequence[Committed],
        known: Mapping[Item, State],
        dead: Sequence[Dead],
    ) -> None:
        self._plan = plan
        self._known = known
        self._answers = {id(w): answer for w, answer in zip(plan.writes, committed, strict=True)}
        self._stored = {
            write.assignment.item: answer
            for write, answer in zip(plan.writes, committed, strict=True)
            if isinstance(write, AssignWrite)
        }
        self._concluded: set[int] = set()
        """Writes, of which another event shares what has come of them."""
        self._done = Done()
        self._left = Left()
        for refused in dead:
            self._give_up(refused)

    def run(self) -> tuple[Done, Left]:  # noqa: C901  # one case for each outcome
        for write, answer in zip(self._plan.writes, self._answers.values(), strict=True):
            self._note(write, answer)
        for arrival, outcome in self._plan.outcomes:
            match outcome:
                case AssignWrite():
                    self._assigned(arrival, outcome)
                case ReleaseWrite():
                    self._released(arrival, (outcome,))
                case Lives(writes):
                    self._released(arrival, writes)
                case GrantWrite():
                    self._granted(arrival, outcome)
                case ParkWrite():
                    self._parked(arrival, self._answers[id(outcome)])
                case Repeat(known):
                    self._repeated(arrival, known)
                case Nothing():
                    self._count_repeat(arrival)
                    # Whoever ended it may have died before key servers heard of it.
                    self._tell_end(arrival)
                    self._to_settle(arrival)
                case Refuse():
                    self._give_up(dead_from(arrival, outcome))
                case StillWaiting():
                    assert arrival.entry is not None  # noqa: S101  # only such can still wait
                    self._left.still_waiting.append(arrival.entry)
                case Later():
                    self._carry(arrival)
        return self._done, self._left

    def _note(self, write: Write, answer: Committed) -> None:
        if isinstance(write, ParkWrite):
            return
        if isinstance(write, GrantWrite):
            if answer.status is WriteStatus.WRITTEN:
                self._done.grants.append(write.changed)
            return
        if answer.status is WriteStatus.WRITTEN:
            if isinstance(write, AssignWrite):
                self._done.new.append(_stored(answer))
                changed = write.changed
            else:
                self._done.released.append(write.released.told)
                changed = write.deactivated if answer.has_deactivated else None
            if changed is not None:
                self._done.changes.append(KeyChanged(write.item.project, changed))
        if answer.has_waiting:
            self._left.ready.append(write.item)

    def _released(self, arrival: Arrival, writes: Sequence[AssignWrite | ReleaseWrite]) -> None:
        """Conclude an event that ends a life of its item, or does so and begins one."""
        answers = [self._answers[id(write)] for write in writes]
        orphans = [found for it in answers if (found := self._orphan(arrival, it)) is not None]
        if orphans:
            self._give_up_orphan(arrival, orphans[0])
        elif any(it.status is not WriteStatus.WRITTEN for it in answers):
            self._carry(arrival)
        else:
            self._count_shared(arrival, writes[-1])
            self._announce_founder(arrival)
            for write, answer in zip(writes, answers, strict=True):
                if isinstance(write, AssignWrite):
                    self._announce_assigned(arrival, _stored(answer))
                elif write is writes[-1]:
                    # Others are told with the life that follows.
                    self._announce(arrival, write.released.told)
            self._to_settle(arrival)

    def _assigned(self, arrival: Arrival, write: AssignWrite) -> None:
        answer = self._answers[id(write)]
        orphan = self._orphan(arrival, answer)
        if orphan is not None:
            self._give_up_orphan(arrival, orphan)
        elif answer.assignment is None or self._is_told_by_look_up(arrival, answer):
            self._carry(arrival)
        else:
            if answer.status is WriteStatus.EXISTS:
                self._count_repeat(arrival)
            else:
                self._count_shared(arrival, write)
            self._announce_founder(arrival)
            self._announce_assigned(arrival, _stored(answer))
            self._to_settle(arrival)

    def _is_told_by_look_up(self, arrival: Arrival, answer: Committed) -> bool:
        """Return whether what was there before is to be looked up: it may be no repeat of that."""
        event, there = arrival.event, answer.assignment
        if answer.status is WriteStatus.WRITTEN:
            # As it was planned for each event that shares it.
            return False
        if answer.status is WriteStatus.EXISTS and event.item in self._plan.presumed:
            # The key and the scope that it stands on were not verified, nor a partition read.
            return True
        # Another worker assigned it meanwhile, otherwise: a conflict, next round.
        if there is None or not isinstance(event, Event):
            return False
        return event.generation != there.generation or contradiction(event, there) is not None

    def _orphan(self, arrival: Arrival, answer: Committed) -> Item | None:
        """Return the item whose scope is there without it: this one, or the founded partition."""
        if answer.status is WriteStatus.ORPHAN:
            return arrival.event.item
        partition = self._plan.founded.get(arrival.event.item)
        founding = None if partition is None else self._stored.get(partition)
        # Its replica's write is only stale, and would be in every round to come.
        return partition if founding is not None and founding.status is WriteStatus.ORPHAN else None

    def _granted(self, arrival: Arrival, write: GrantWrite) -> None:
        if self._answers[id(write)].status is WriteStatus.WRITTEN:
            self._done.granted += 1
            self._tell_end(arrival)
            self._to_settle(arrival)
        else:
            self._carry(arrival)

    def _tell_end(self, arrival: Arrival) -> None:
        if isinstance(arrival.event, Detach):
            self._done.ended.append(arrival.event)

    def _parked(self, arrival: Arrival, answer: Committed) -> None:
        if answer.status is WriteStatus.PARKED:
            self._done.parked += 1
            self._to_settle(arrival)
        elif answer.status is WriteStatus.FULL:
            # Its own project's flood: nobody else's events wait for it to pass.
            self._give_up(dead_from(arrival, Refuse(Reason.NO_ROOM, answer.detail)))
        else:
            self._carry(arrival)

    def _give_up_orphan(self, arrival: Arrival, orphan: Item) -> None:
        detail = f"the scope of {orphan.ref} is there without the item"
        self._give_up(dead_from(arrival, Refuse(Reason.INTEGRITY, detail)))

    def _repeated(self, arrival: Arrival, known: Held | Released) -> None:
        self._count_repeat(arrival)
        if known.has_waiting:
            self._left.ready.append(arrival.event.item)
        self._announce_founder(arrival)
        if isinstance(known, Held):
            self._announce_assigned(arrival, known)
        else:
            self._announce_made(arrival, known)
            self._announce(arrival, known.told)
        self._to_settle(arrival)

    def _announce_made(self, arrival: Arrival, gone: Released) -> None:
        """Announce what an event came to that made what is gone, as far as nobody else tells it."""
        if gone.held is None or not isinstance(arrival.event, Event):
            return
        if gone.tombstone.was_early:
            # Assigned and at once released, and perhaps neither was heard of.
            self._announce_assigned(arrival, gone.held)
        elif (former := gone.held.assignment.former) is not None:
            self._announce(arrival, former)

    def _count_shared(self, arrival: Arrival, write: AssignWrite | ReleaseWrite) -> None:
        """Count an event as a repeat whose write is another one's, too."""
        if id(write) in self._concluded:
            self._count_repeat(arrival)
        self._concluded.add(id(write))

    def _count_repeat(self, arrival: Arrival) -> None:
        # What a queue refused is no other event.
        self._done.repeats += not arrival.refusals

    def _announce_founder(self, arrival: Arrival) -> None:
        """Announce the partition that this event founded, before all else."""
        partition = self._plan.founded.get(arrival.event.item)
        founder = None if partition is None else self._stored_or_known(partition)
        if isinstance(founder, Stored | Held):
            self._announce(arrival, founder)

    def _announce_assigned(self, arrival: Arrival, held: Stored | Held) -> None:
        """Announce the end of the life before first, where this event ended it."""
        event, former = arrival.event, held.assignment.former
        if former is not None and isinstance(event, Event) and is_cause_of(event, held.assignment):
            self._announce(arrival, former)
        self._announce(arrival, held)

    def _stored_or_known(self, item: Item) -> Stored | State:
        answer = self._stored.get(item)
        if answer is None or answer.assignment is None:
            return self._known.get(item)
        return _stored(answer)

    def _announce(self, arrival: Arrival, held: Announceable) -> None:
        self._done.announce.append(held)
        self._done.owners.append(arrival)

    def _carry(self, arrival: Arrival) -> None:
        if arrival.rounds < MAX_ROUNDS:
            self._left.carried.append(replace(arrival, rounds=arrival.rounds + 1))
            return
        refusal = Refuse(Reason.INTERNAL, f"the store kept changing for {MAX_ROUNDS} rounds")
        self._give_up(dead_from(arrival, refusal))

    def _give_up(self, dead: Dead) -> None:
        self._done.dead.append(dead)
        self._to_settle(dead)

    def _to_settle(self, event: Arrival | Dead) -> None:
        if event.delivery is not None:
            self._done.deliveries.append(event.delivery)
        if event.entry is not None:
            self._done.entries.append(event.entry)


def _stored(answer: Committed) -> Stored:
    assert answer.assignment is not None  # noqa: S101  # callers have looked
    return Stored(answer.assignment, answer.data, answer.has_waiting)
