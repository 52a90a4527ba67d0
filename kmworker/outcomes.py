"""What became of each event of a batch, once the store has answered. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from kmworker.decision import Refuse
from kmworker.errors import Reason
from kmworker.message import Delivery, Original
from kmworker.model import Held, Item, State
from kmworker.plan import Arrival, AssignWrite, Entry, Later, ParkWrite, Plan, Repeat, StillWaiting
from kmworker.ports import Committed, Outcome
from kmworker.values import value

__all__ = ["Dead", "Done", "Left", "dead_from", "sort_out"]

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

    announce: list[Held] = field(default_factory=list)
    new: list[Held] = field(default_factory=list)
    """Those of this batch's own making, for the counters."""
    repeats: int = 0
    parked: int = 0
    dead: list[Dead] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)


@dataclass(slots=True)
class Left:
    """What a batch leaves to do."""

    carried: list[Arrival] = field(default_factory=list)
    """To look up and plan again."""
    ready: list[Item] = field(default_factory=list)
    """Items that are there now, while events wait for them."""
    still_waiting: list[Entry] = field(default_factory=list)
    full: list[Arrival] = field(default_factory=list)
    """Events that their waiting room has no place for: they stay unacknowledged."""


def dead_from(arrival: Arrival, refusal: Refuse) -> Dead:
    """Send a readable event to the dead letters."""
    cause = arrival.event.cause
    attempts = max(arrival.attempts, 0 if arrival.entry is None else arrival.entry.attempts)
    return Dead(
        arrival.original, refusal, cause.id, cause.type, arrival.delivery, arrival.entry, attempts
    )


def sort_out(
    plan: Plan, committed: Sequence[Committed], known: Mapping[Item, State], dead: Sequence[Dead]
) -> tuple[Done, Left]:
    """Say what is to be announced and settled, and what is left to do.

    Args:
        plan: what was decided.
        committed: the store's answer to each of ``plan.writes``.
        known: what was looked up for the plan.
        dead: events that were refused before there was a plan.
    """
    return _Sorting(plan, committed, known, dead).run()


class _Sorting:
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
        self._assigned_here: set[Item] = set()
        self._done = Done()
        self._left = Left()
        for letter in dead:
            self._bury(letter)

    def run(self) -> tuple[Done, Left]:
        for answer in self._stored.values():
            self._note_stored(answer)
        for arrival, outcome in self._plan.outcomes:
            match outcome:
                case AssignWrite():
                    self._assigned(arrival, self._answers[id(outcome)])
                case ParkWrite():
                    self._parked(arrival, self._answers[id(outcome)])
                case Repeat(held):
                    self._repeated(arrival, held)
                case Refuse():
                    self._bury(dead_from(arrival, outcome))
                case StillWaiting():
                    assert arrival.entry is not None  # noqa: S101  # only such can still wait
                    self._left.still_waiting.append(arrival.entry)
                case Later():
                    self._carry(arrival)
        return self._done, self._left

    def _note_stored(self, answer: Committed) -> None:
        if answer.assignment is None:
            return
        if answer.outcome is Outcome.WRITTEN:
            self._done.new.append(_held(answer))
        if answer.has_waiting:
            self._left.ready.append(answer.assignment.item)

    def _assigned(self, arrival: Arrival, answer: Committed) -> None:
        orphan = self._orphan(arrival, answer)
        if orphan is not None:
            detail = f"the scope of {orphan.ref} is there without the item"
            self._bury(dead_from(arrival, Refuse(Reason.INTEGRITY, detail)))
        elif answer.assignment is None:
            self._carry(arrival)
        elif answer.assignment.source != arrival.event.derived_from:
            # Another worker assigned it meanwhile, from elsewhere: a conflict, next round.
            self._carry(arrival)
        else:
            if answer.outcome is Outcome.EXISTS or arrival.event.item in self._assigned_here:
                self._done.repeats += 1
            self._assigned_here.add(arrival.event.item)
            self._announce_with_founder(arrival, _held(answer))

    def _orphan(self, arrival: Arrival, answer: Committed) -> Item | None:
        """Return the item whose scope is there without it: this one, or the founded partition."""
        if answer.outcome is Outcome.ORPHAN:
            return arrival.event.item
        partition = self._plan.founded.get(arrival.event.item)
        founding = None if partition is None else self._stored.get(partition)
        # Its replica's write is only stale, and would be in every round to come.
        return partition if founding is not None and founding.outcome is Outcome.ORPHAN else None

    def _parked(self, arrival: Arrival, answer: Committed) -> None:
        if answer.outcome is Outcome.PARKED:
            self._done.parked += 1
            self._settle(arrival)
        elif answer.outcome is Outcome.FULL:
            self._left.full.append(arrival)
        else:
            self._carry(arrival)

    def _repeated(self, arrival: Arrival, held: Held) -> None:
        self._done.repeats += 1
        if held.has_waiting:
            self._left.ready.append(arrival.event.item)
        self._announce_with_founder(arrival, held)

    def _announce_with_founder(self, arrival: Arrival, held: Held) -> None:
        """Announce the partition first, where this event founded it."""
        partition = self._plan.founded.get(arrival.event.item)
        if partition is not None:
            self._announce(self._stored_or_known(partition))
        self._announce(held)
        self._settle(arrival)

    def _stored_or_known(self, item: Item) -> State:
        answer = self._stored.get(item)
        if answer is None or answer.assignment is None:
            return self._known.get(item)
        return _held(answer)

    def _announce(self, state: State) -> None:
        # What is not encrypted is recorded, and there is nothing to announce.
        if isinstance(state, Held) and state.assignment.key_id is not None:
            self._done.announce.append(state)

    def _carry(self, arrival: Arrival) -> None:
        if arrival.rounds < MAX_ROUNDS:
            self._left.carried.append(replace(arrival, rounds=arrival.rounds + 1))
            return
        refusal = Refuse(Reason.INTERNAL, f"the store kept changing for {MAX_ROUNDS} rounds")
        self._bury(dead_from(arrival, refusal))

    def _bury(self, letter: Dead) -> None:
        self._done.dead.append(letter)
        self._settle(letter)

    def _settle(self, event: Arrival | Dead) -> None:
        if event.delivery is not None:
            self._done.deliveries.append(event.delivery)
        if event.entry is not None:
            self._done.entries.append(event.entry)


def _held(answer: Committed) -> Held:
    assert answer.assignment is not None  # noqa: S101  # callers have looked
    return Held(answer.assignment, None, None, answer.data, answer.has_waiting)
