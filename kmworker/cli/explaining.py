"""What would become of events: the worker's own plan, put into words.

Nothing is decided here. The events go through the same pure fold as in a worker, so that
an explanation cannot differ from what happens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kmworker.batch import fold, items_to_look_up
from kmworker.clock import rfc3339
from kmworker.decision import Refuse
from kmworker.events import Event
from kmworker.message import Original
from kmworker.model import (
    Assignment,
    Cause,
    DataAction,
    Disposition,
    Encryption,
    Held,
    Item,
    KeyRecord,
    KeyState,
    ScopeRecord,
    State,
)
from kmworker.plan import Arrival, AssignWrite, Fresh, Outcome, ParkWrite, Plan, Repeat
from kmworker.policy import Policy

__all__ = ["GUARDS", "Assumption", "Explanation", "assume", "explain_events", "items_to_look_up"]

GUARDS: Final[Mapping[str, str]] = {
    "not-encrypted": "the event says that the item is not encrypted, or the policy's default does",
    "cross-project": "the source belongs to another project, and tenants never share a DEK",
    "source-unencrypted": "the source is not encrypted, so there is no key to share",
    "encryption-differs": "the item asks for another cipher or key size: the DEK would not fit",
    "iv-repeats": "the source's cipher is a stream by position: two versions give away their XOR",
    "unknown-cipher": "the source's cipher is not listed in the policy: the worst is assumed",
    "source-not-active": "the source's key is suspended or compromised, and is not spread",
}
GUARD: Final = "guard:"
ASSUMED: Final = "assumed"


@dataclass(frozen=True, slots=True)
class Assumption:
    """A source that nobody has looked up."""

    encryption: Encryption | None
    """None: it is not encrypted."""
    state: KeyState = KeyState.ACTIVE


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would become of one event, or of the partition that it founds."""

    project: str
    item: str
    decision: str
    """A disposition, `repeat`, `wait` or a dead letter's reason."""
    by: str | None
    """The rule, or `guard:<name>`."""
    why: str
    encryption: Encryption | None = None
    data_action: str | None = None
    copied_bytes: int | None = None
    """None if nobody knows: the event has no `size_bytes`, or there is no decision yet."""
    reencrypted_bytes: int | None = None


def explain_events(
    events: Sequence[Event], known: Mapping[Item, State], policy: Policy
) -> Iterator[Explanation]:
    """Say what would become of these events, if they came together and in this order.

    Args:
        events: as they were read.
        known: the state of every item of `items_to_look_up`.
        policy: the operator's rules.
    """
    arrivals = [Arrival(event, Original(b"", event.cause.type, {})) for event in events]
    plan = fold(arrivals, known, policy, Fresh(rfc3339(0), lambda: "(new)", ""))
    outcomes = {id(arrival): outcome for arrival, outcome in plan.outcomes}
    for arrival in arrivals:
        event = arrival.event
        founded = plan.founded.get(event.item)
        if founded is not None:
            yield from _founding(plan, founded, policy)
        yield _explained(event, outcomes[id(arrival)], policy)


def assume(source: Item, assumption: Assumption) -> Held:
    """Return a source's state as if it were in the store."""
    key = scope = None
    if assumption.encryption is not None:
        key = KeyRecord(ASSUMED, ASSUMED, assumption.state, None, rfc3339(0))
        scope = ScopeRecord(
            ASSUMED, source.ref, ASSUMED, assumption.encryption, ASSUMED, None, rfc3339(0)
        )
    assignment = Assignment(
        item=source,
        disposition=Disposition.NONE if key is None else Disposition.CREATE,
        key_id=None if key is None else ASSUMED,
        scope_id=None if key is None else ASSUMED,
        source=None,
        node=None,
        encryption=assumption.encryption,
        data_action=DataAction.NONE,
        reencrypt_from=None,
        rule=ASSUMED,
        cause=Cause(ASSUMED, ASSUMED, ASSUMED),
        assigned_at=rfc3339(0),
    )
    return Held(assignment, key, scope)


def _founding(plan: Plan, partition: Item, policy: Policy) -> Iterator[Explanation]:
    """Explain the partition that its first replica brings along."""
    for write in plan.writes:
        if isinstance(write, AssignWrite) and write.assignment.item == partition:
            # Nothing is in it yet, so nothing is copied.
            yield _assigned(write.assignment, 0, None, policy)


def _explained(event: Event, outcome: Outcome, policy: Policy) -> Explanation:
    item = event.item
    match outcome:
        case AssignWrite(assignment):
            return _assigned(assignment, event.size_bytes, event.wish, policy)
        case Repeat(held):
            before = held.assignment
            why = f"it was assigned before, {before.disposition.value}; that is announced again"
            return Explanation(
                item.project, item.ref, "repeat", before.rule, why, before.encryption, "none", 0, 0
            )
        case ParkWrite(source):
            why = f"{source.ref} is not there: the event waits for it"
            return Explanation(item.project, item.ref, "wait", None, why)
        case Refuse(reason, detail):
            return Explanation(item.project, item.ref, reason.value, None, detail)
    # StillWaiting is for events from the waiting room, Later for what rests on this batch.
    why = "it contradicts another of these events, which is decided first"
    return Explanation(item.project, item.ref, "wait", None, why)


def _assigned(
    assignment: Assignment, size_bytes: int | None, wish: Disposition | None, policy: Policy
) -> Explanation:
    copies = assignment.data_action is not DataAction.NONE
    copied_bytes = size_bytes if copies else 0
    return Explanation(
        project=assignment.item.project,
        item=assignment.item.ref,
        decision=assignment.disposition.value,
        by=assignment.rule,
        why=_why(assignment, wish, policy),
        encryption=assignment.encryption,
        data_action=assignment.data_action.value,
        copied_bytes=copied_bytes,
        reencrypted_bytes=copied_bytes,
    )


def _why(assignment: Assignment, wish: Disposition | None, policy: Policy) -> str:
    if assignment.rule.startswith(GUARD):
        return GUARDS[assignment.rule.removeprefix(GUARD)]
    rule = next(rule for rule in policy.rule if rule.name == assignment.rule)
    if rule.honour_wish and wish is not None:
        return f"the rule hears the event's wish: {wish.value}"
    unheard = "" if wish is None else f", and does not hear the event's wish: {wish.value}"
    return f"the rule says {rule.then.value}{unheard}"
