"""What to write for a batch of events, over what is known.

Pure: time, random ids and the KEK's name come in as values. An overlay of what the
batch itself has decided lets a snapshot see the volume that came before it, and an
event that overtook its source within the batch is decided right after that source.
"""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from kmworker.domain.contradiction import contradiction
from kmworker.domain.decision import (
    Already,
    Bury,
    Create,
    Decision,
    Gone,
    Join,
    Late,
    NoKey,
    Refuse,
    Wait,
    decide,
    decide_release,
    refuse_grant,
)
from kmworker.domain.event import Attach, Detach, Event, Granting, Happening, Release
from kmworker.domain.grants import NO_GRANTS, Grants, GrantsSeen, Unchanged, Ungranted, granted
from kmworker.domain.lifecycle import let_go
from kmworker.domain.look_up import NOTHING, Presumed
from kmworker.domain.model import (
    Broken,
    Held,
    Item,
    KeyRecord,
    Kind,
    Released,
    State,
    Tombstone,
    held_in,
)
from kmworker.domain.new_records import new_assignment, new_records
from kmworker.domain.plan import (
    Arrival,
    AssignWrite,
    Fresh,
    GrantWrite,
    Later,
    Lives,
    Nothing,
    Outcome,
    ParkWrite,
    Plan,
    ReleaseWrite,
    Repeat,
    StillWaiting,
    entry_name,
)
from kmworker.domain.policy import Policy
from kmworker.errors import Reason

__all__ = ["plan_batch"]

NONE_SEEN: Final[Mapping[Item, GrantsSeen | Broken | None]] = MappingProxyType({})


def plan_batch(  # noqa: PLR0913  # all that a decision rests on
    arrivals: Sequence[Arrival],
    known: Mapping[Item, State],
    policy: Policy,
    fresh: Fresh,
    presumed: Presumed = NOTHING,
    *,
    grants: Mapping[Item, GrantsSeen | Broken | None] = NONE_SEEN,
) -> Plan:
    """Decide each event over what is known and what was decided before it.

    Args:
        arrivals: events in the order received.
        known: the state of every item of `items_to_look_up`.
        policy: the operator's rules.
        fresh: time, ids and the KEK's name.
        presumed: what was not looked up; only what is written is decided over it.
        grants: of every item of `grants_to_look_up`.
    """
    return _Planning(known, presumed, policy, fresh, grants).run(arrivals)


class _Planning:
    def __init__(
        self,
        known: Mapping[Item, State],
        presumed: Presumed,
        policy: Policy,
        fresh: Fresh,
        grants: Mapping[Item, GrantsSeen | Broken | None],
    ) -> None:
        self._grants = grants
        self._granting: dict[Item, tuple[Grants, list[Arrival]]] = {}
        self._known: dict[Item, State] = {**presumed.recalled, **known}
        self._policy = policy
        self._fresh = fresh
        self._overlay: dict[Item, tuple[Held | Released, AssignWrite | ReleaseWrite]] = {}
        self._overtakers: defaultdict[Item, list[Arrival]] = defaultdict(list)
        self._plan = Plan(presumed=presumed)

    def run(self, arrivals: Sequence[Arrival]) -> Plan:
        queue = deque(arrivals)
        while queue:
            arrival = queue.popleft()
            if isinstance(arrival.event, Attach | Detach):
                self._grant(arrival, arrival.event)
                continue
            self._decide(arrival)
            # Those that overtook this item follow at once, before anything else. Not if it is
            # held back itself: two items that name each other would go round for ever.
            if arrival.event.item in self._overlay:
                queue.extendleft(reversed(self._overtakers.pop(arrival.event.item, [])))
        for waiting in self._overtakers.values():
            for arrival in waiting:
                self._wait(arrival)
        self._write_grants()
        return self._plan

    def _decide(self, arrival: Arrival) -> None:
        event = arrival.event
        if event.item in self._overlay and self._repeats_in_batch(arrival):
            return
        own = self._own(event.item)
        decision = self._answer(arrival, own)
        if isinstance(decision, Wait) and _is_partition(event.derived_from):
            decision = self._found_partition(arrival)
        match decision:
            case Refuse():
                self._refuse(arrival, decision)
            case Already(held):
                self._repeat(arrival, held)
            case Gone(released):
                self._repeat(arrival, released)
            case Late():
                self._conclude_known(arrival, Nothing())
            case Wait():
                self._let_source_go_first(arrival)
            case Bury(before):
                self._release(arrival, before)
            case Create() | Join() | NoKey():
                self._assign(arrival, decision, own)

    def _answer(self, arrival: Arrival, own: State) -> Decision:
        event, properties = arrival.event, arrival.original.properties
        if isinstance(event, Release):
            return decide_release(event, own, self._policy, properties)
        assert isinstance(event, Event)  # noqa: S101  # grants are decided apart
        return decide(event, own, self._source(event), self._policy, properties)

    def _own(self, item: Item) -> State:
        made = self._overlay.get(item)
        return self._known.get(item) if made is None else made[0]

    def _source(self, event: Happening) -> State:
        source = event.derived_from
        if source is None:
            return None
        # Another project's item is in another slot: what is not committed there is not there.
        if source.project != event.item.project:
            return self._known.get(source)
        return self._own(source)

    def _repeats_in_batch(self, arrival: Arrival) -> bool:
        """Let a second event for an item of this batch share the first one's write."""
        event, (known, write) = arrival.event, self._overlay[arrival.event.item]
        match event, known:
            case Event(), Held(assignment):
                is_other = contradiction(event, assignment) is not None
                if is_other or event.generation != assignment.generation:
                    return False
            case Release(), Released():
                if event.generation != known.generation:
                    return False
            case _:
                return False
        self._conclude(arrival, write)
        return True

    def _conclude_known(self, arrival: Arrival, outcome: Repeat | Nothing) -> None:
        """Conclude with what rests on nothing that is compared: so it has to be known."""
        item = arrival.event.item
        is_known = item not in self._overlay and item not in self._plan.presumed
        self._conclude(arrival, outcome if is_known else Later())

    def _repeat(self, arrival: Arrival, known: Held | Released) -> None:
        self._conclude_known(arrival, Repeat(known))
        source, held = arrival.event.derived_from, held_in(known)
        if source is None or held is None or not _is_partition(source):
            return
        founder = self._known.get(source)
        if isinstance(founder, Held) and founder.assignment.cause == held.assignment.cause:
            self._plan.founded[arrival.event.item] = source

    def _let_source_go_first(self, arrival: Arrival) -> None:
        source = arrival.event.derived_from
        assert source is not None  # noqa: S101  # only a source can be waited for
        if source.project == arrival.event.item.project:
            self._overtakers[source].append(arrival)
        else:
            self._wait(arrival)

    def _wait(self, arrival: Arrival) -> None:
        source = arrival.event.derived_from
        assert source is not None  # noqa: S101  # see above
        entry = arrival.entry
        if arrival.event.item in self._plan.presumed:
            # Whoever has a key waits for nothing, and this one may.
            self._conclude(arrival, Later())
        elif entry is None:
            name = entry_name(arrival.event, arrival.original)
            wanted = _source_generation(arrival.event)
            write = ParkWrite(source, arrival.event.item, name, arrival.original, wanted)
            self._plan.writes.append(write)
            self._conclude(arrival, write)
        elif entry.expired:
            self._conclude(arrival, _source_missing(source))
        else:
            self._conclude(arrival, StillWaiting())

    def _conclude(self, arrival: Arrival, outcome: Outcome) -> None:
        self._plan.outcomes.append((arrival, outcome))

    def _refuse(self, arrival: Arrival, refusal: Refuse) -> None:
        event = arrival.event
        rests_on_overlay = event.item in self._overlay or event.derived_from in self._overlay
        is_final = not (rests_on_overlay or event.item in self._plan.presumed)
        self._conclude(arrival, refusal if is_final else Later())

    def _found_partition(self, arrival: Arrival) -> Decision:
        """Create the partition that its first replica names (it has no event of its own).

        If a person has ended it with its key, it is another life of its name.
        """
        event, partition = arrival.event, arrival.event.derived_from
        assert isinstance(event, Event)  # noqa: S101  # only such have a source
        assert partition is not None  # noqa: S101  # the caller looked
        ended = self._own(partition)
        before = ended if isinstance(ended, Released) else None
        founding = replace(
            event,
            item=partition,
            derived_from=None,
            requested=None,
            node=None,
            generation=0 if before is None else before.generation + 1,
        )
        founded = decide(founding, None, None, self._policy, arrival.original.properties)
        if not isinstance(founded, Create | NoKey):
            return founded
        self._write(founding, founded, before)
        decision = self._answer(arrival, None)
        if isinstance(decision, Refuse):
            # No partition without its first replica.
            self._plan.writes.pop()
            del self._overlay[partition]
        else:
            self._plan.founded[event.item] = partition
        return decision

    def _assign(self, arrival: Arrival, decision: Create | Join | NoKey, own: State) -> None:
        if arrival.entry is not None and arrival.entry.expired:
            # Its dead letter may be on its way: an answer now would be a second one.
            self._conclude(arrival, _source_missing(arrival.entry.source))
            return
        event = arrival.event
        assert isinstance(event, Event)  # noqa: S101  # nothing else is assigned
        if own is None:
            self._conclude(arrival, self._write(event, decision))
            return
        if isinstance(own, Held):
            # The life before this one was never said to be over.
            ended = self._bury(self._tombstone(event, own.generation, own), own)
            begun = self._write(event, decision, ended.released)
            self._conclude(arrival, Lives((ended, begun)))
            return
        assert isinstance(own, Released)  # noqa: S101  # what is broken is refused
        begun = self._write(event, decision, own)
        if own.generation == event.generation:
            tombstone = replace(own.tombstone, was_early=True)
            ended = self._bury(Released(own.item, tombstone, begun.stored()), begun.stored())
            self._conclude(arrival, Lives((begun, ended)))
        else:
            self._conclude(arrival, begun)

    def _release(self, arrival: Arrival, before: Held | Released | None) -> None:
        event = arrival.event
        assert isinstance(event, Release)  # noqa: S101  # nothing else is buried
        tombstone = self._tombstone(event, event.generation, before)
        self._conclude(arrival, self._bury(tombstone, before))

    def _tombstone(
        self, event: Happening, generation: int, before: Held | Released | None
    ) -> Released:
        tombstone = Tombstone(generation, event.cause, self._fresh.now)
        return Released(event.item, tombstone, held_in(before))

    def _bury(self, released: Released, before: Held | Released | None) -> ReleaseWrite:
        write = ReleaseWrite(released, before, self._deactivated(released, before))
        self._overlay[released.item] = (released, write)
        self._plan.writes.append(write)
        return write

    def _deactivated(self, released: Released, before: Held | Released | None) -> KeyRecord | None:
        """Return what the key-id becomes if nobody else holds it: the store counts who does."""
        if not isinstance(before, Held) or before.key is None:
            return None
        fresh, cause = self._fresh, released.tombstone.cause
        return let_go(before.key, before.scope, cause, fresh.now, fresh.destroy_at)

    def _grant(self, arrival: Arrival, event: Granting) -> None:
        beyond = refuse_grant(event, self._policy, arrival.original.properties)
        seen, made = self._grants.get(event.item), self._granting.get(event.item)
        if isinstance(seen, Broken):
            beyond = beyond or Refuse(Reason.INTEGRITY, seen.detail)
        if beyond is not None or isinstance(seen, Broken):
            assert beyond is not None  # noqa: S101  # see above
            self._conclude(arrival, beyond)
            return
        before = NO_GRANTS if seen is None else seen.grants
        now, kept_days = self._fresh.now, self._fresh.tombstone_days
        # Others of the batch have made it what it is now, and that is not written yet.
        after, sharing = made or (before, [])
        answer = granted(after, event, now, kept_days)
        match answer:
            case Grants():
                self._granting[event.item] = (answer, [*sharing, arrival])
            case Unchanged() if sharing:
                sharing.append(arrival)
            case Unchanged():
                self._conclude(arrival, Nothing())
            case Ungranted(reason, detail):
                self._conclude(arrival, Later() if sharing else Refuse(reason, detail))

    def _write_grants(self) -> None:
        """Write all that a batch has made of an item's grants at once."""
        for item, (after, arrivals) in self._granting.items():
            seen = self._grants.get(item)
            assert not isinstance(seen, Broken)  # noqa: S101  # then all are refused
            write = GrantWrite(item, seen, after)
            self._plan.writes.append(write)
            for arrival in arrivals:
                self._conclude(arrival, write)

    def _write(
        self, event: Event, decision: Create | Join | NoKey, before: Released | None = None
    ) -> AssignWrite:
        source = held_in(self._source(event))
        key, scope = new_records(event, decision, source, self._fresh)
        assignment = new_assignment(event, decision, key, self._fresh.now, before)
        in_project = source is not None and source.item.project == event.item.project
        write = AssignWrite(assignment, key, scope, source if in_project else None, before)
        self._overlay[event.item] = (write.stored(), write)
        self._plan.writes.append(write)
        return write


def _is_partition(item: Item | None) -> bool:
    return item is not None and item.kind is Kind.PARTITION


def _source_generation(event: Happening) -> int:
    return event.source_generation if isinstance(event, Event) else 0


def _source_missing(source: Item) -> Refuse:
    return Refuse(Reason.SOURCE_MISSING, f"{source.ref} did not appear in time")
