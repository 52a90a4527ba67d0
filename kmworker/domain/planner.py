"""What to write for a batch of events, over what is known.

Pure: time, random ids and the KEK's name come in as values. An overlay of what the
batch itself has decided lets a snapshot see the volume that came before it, and an
event that overtook its source within the batch is decided right after that source.
"""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kmworker.domain.contradiction import contradiction
from kmworker.domain.decision import Already, Create, Decision, Join, NoKey, Refuse, Wait, decide
from kmworker.domain.event import Event
from kmworker.domain.look_up import NOTHING, Presumed
from kmworker.domain.model import (
    Assignment,
    DataAction,
    Disposition,
    Held,
    Item,
    KeyRecord,
    KeyState,
    Kind,
    ScopeRecord,
    State,
    scope_id_for,
)
from kmworker.domain.plan import (
    Arrival,
    AssignWrite,
    Fresh,
    Later,
    Outcome,
    ParkWrite,
    Plan,
    Repeat,
    StillWaiting,
    entry_name,
)
from kmworker.domain.policy import Policy
from kmworker.errors import Reason

__all__ = ["plan_batch"]


def plan_batch(
    arrivals: Sequence[Arrival],
    known: Mapping[Item, State],
    policy: Policy,
    fresh: Fresh,
    presumed: Presumed = NOTHING,
) -> Plan:
    """Decide each event over what is known and what was decided before it.

    Args:
        arrivals: events in the order received.
        known: the state of every item of `items_to_look_up`.
        policy: the operator's rules.
        fresh: time, ids and the KEK's name.
        presumed: what was not looked up; only what is written is decided over it.
    """
    return _Planning(known, presumed, policy, fresh).run(arrivals)


class _Planning:
    def __init__(
        self,
        known: Mapping[Item, State],
        presumed: Presumed,
        policy: Policy,
        fresh: Fresh,
    ) -> None:
        self._known = {**presumed.recalled, **known}
        self._policy = policy
        self._fresh = fresh
        self._overlay: dict[Item, tuple[Held, AssignWrite]] = {}
        self._overtakers: defaultdict[Item, list[Arrival]] = defaultdict(list)
        self._plan = Plan(presumed=presumed.new)

    def run(self, arrivals: Sequence[Arrival]) -> Plan:
        queue = deque(arrivals)
        while queue:
            arrival = queue.popleft()
            self._decide(arrival)
            # Those that overtook this item follow at once, before anything else. Not if it is
            # held back itself: two items that name each other would go round for ever.
            if arrival.event.item in self._overlay:
                queue.extendleft(reversed(self._overtakers.pop(arrival.event.item, [])))
        for waiting in self._overtakers.values():
            for arrival in waiting:
                self._wait(arrival)
        return self._plan

    def _decide(self, arrival: Arrival) -> None:
        event = arrival.event
        if event.item in self._overlay and self._repeats_in_batch(arrival):
            return
        decision = self._answer(arrival, self._own(event.item))
        if isinstance(decision, Wait) and _is_partition(event.derived_from):
            decision = self._found_partition(arrival)
        match decision:
            case Refuse():
                self._refuse(arrival, decision)
            case Already(held):
                self._repeat(arrival, held)
            case Wait():
                self._let_source_go_first(arrival)
            case Create() | Join() | NoKey():
                self._assign(arrival, decision)

    def _answer(self, arrival: Arrival, own: State) -> Decision:
        event, properties = arrival.event, arrival.original.properties
        return decide(event, own, self._source(event), self._policy, properties)

    def _own(self, item: Item) -> State:
        made = self._overlay.get(item)
        return self._known.get(item) if made is None else made[0]

    def _source(self, event: Event) -> State:
        source = event.derived_from
        if source is None:
            return None
        # Another project's item is in another slot: what is not committed there is not there.
        if source.project != event.item.project:
            return self._known.get(source)
        return self._own(source)

    def _repeats_in_batch(self, arrival: Arrival) -> bool:
        """Let a second event for an item of this batch share the first one's write."""
        held, write = self._overlay[arrival.event.item]
        if contradiction(arrival.event, held.assignment) is not None:
            return False
        self._conclude(arrival, write)
        return True

    def _repeat(self, arrival: Arrival, held: Held) -> None:
        self._conclude(arrival, Repeat(held))
        source = arrival.event.derived_from
        if source is None or not _is_partition(source):
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
            write = ParkWrite(source, arrival.event.item, name, arrival.original)
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
        """Create the partition that its first replica names (it has no event of its own)."""
        event, partition = arrival.event, arrival.event.derived_from
        assert partition is not None  # noqa: S101  # the caller looked
        founding = replace(event, item=partition, derived_from=None, requested=None, node=None)
        founded = decide(founding, None, None, self._policy, arrival.original.properties)
        if not isinstance(founded, Create | NoKey):
            return founded
        self._write(founding, founded)
        decision = self._answer(arrival, None)
        if isinstance(decision, Refuse):
            # No partition without its first replica.
            self._plan.writes.pop()
            del self._overlay[partition]
        else:
            self._plan.founded[event.item] = partition
        return decision

    def _assign(self, arrival: Arrival, decision: Create | Join | NoKey) -> None:
        if arrival.entry is not None and arrival.entry.expired:
            # Its dead letter may be on its way: an answer now would be a second one.
            self._conclude(arrival, _source_missing(arrival.entry.source))
            return
        self._conclude(arrival, self._write(arrival.event, decision))

    def _write(self, event: Event, decision: Create | Join | NoKey) -> AssignWrite:
        seen = self._source(event)
        source = seen if isinstance(seen, Held) else None
        key, scope = _records(event, decision, source, self._fresh)
        holds = key if key is not None else _shared_key(decision)
        assignment = _assignment(event, decision, holds, self._fresh.now)
        in_project = source is not None and source.assignment.item.project == event.item.project
        write = AssignWrite(assignment, key, scope, source if in_project else None)
        self._overlay[event.item] = (write.stored(), write)
        self._plan.writes.append(write)
        return write


def _is_partition(item: Item | None) -> bool:
    return item is not None and item.kind is Kind.PARTITION


def _source_missing(source: Item) -> Refuse:
    return Refuse(Reason.SOURCE_MISSING, f"{source.ref} did not appear in time")


def _shared_key(decision: Create | Join | NoKey) -> KeyRecord | None:
    return decision.source.key if isinstance(decision, Join) else None


def _records(
    event: Event, decision: Create | Join | NoKey, source: Held | None, fresh: Fresh
) -> tuple[KeyRecord | None, ScopeRecord | None]:
    """Return the new key and the new scope: both for `create`, a key alone for `clone`."""
    if isinstance(decision, NoKey):
        return None, None
    if isinstance(decision, Join):
        shared = decision.source.key
        if decision.disposition is Disposition.REUSE or shared is None:
            return None, None
        return _key(fresh, shared.scope_id, shared.dek_id, cloned_from=shared.key_id), None
    scope_id = scope_id_for(event.item)
    scope = ScopeRecord(
        scope_id=scope_id,
        root=event.item.ref,
        dek_id=fresh.new_id(),
        encryption=decision.encryption,
        kek_id=fresh.kek_id,
        derived_from=None if source is None or source.scope is None else source.scope.scope_id,
        created_at=fresh.now,
    )
    return _key(fresh, scope_id, scope.dek_id, cloned_from=None), scope


def _key(fresh: Fresh, scope_id: str, dek_id: str, cloned_from: str | None) -> KeyRecord:
    return KeyRecord(fresh.new_id(), scope_id, dek_id, KeyState.ACTIVE, cloned_from, fresh.now)


def _assignment(
    event: Event, decision: Create | Join | NoKey, key: KeyRecord | None, now: str
) -> Assignment:
    disposition, encryption = Disposition.NONE, None
    if isinstance(decision, Join):
        disposition = decision.disposition
        encryption = None if decision.source.scope is None else decision.source.scope.encryption
    elif isinstance(decision, Create):
        disposition, encryption = Disposition.CREATE, decision.encryption
    return Assignment(
        item=event.item,
        disposition=disposition,
        key_id=None if key is None else key.key_id,
        scope_id=None if key is None else key.scope_id,
        source=event.derived_from,
        node=event.node,
        encryption=encryption,
        data_action=DataAction.NONE if isinstance(decision, Join) else decision.data_action,
        reencrypt_from=None if isinstance(decision, Join) else decision.reencrypt_from,
        rule=decision.rule,
        cause=event.cause,
        assigned_at=now,
    )
