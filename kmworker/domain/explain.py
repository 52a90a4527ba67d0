"""What would become of events: the worker's own plan, put into words.

Nothing is decided here. The events go through the same pure planner as in a worker, so that
an explanation cannot differ from what happens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from kmworker.domain.decision import Refuse
from kmworker.domain.event import Attach, Event, Happening
from kmworker.domain.look_up import items_to_look_up
from kmworker.domain.message import Original
from kmworker.domain.model import (
    Assignment,
    Cause,
    DataAction,
    Disposition,
    Encryption,
    Held,
    Item,
    KeyRecord,
    KeyState,
    Kind,
    Released,
    ScopeRecord,
    State,
)
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
)
from kmworker.domain.planner import plan_batch
from kmworker.domain.policy import Policy

__all__ = ["GUARDS", "Assumption", "Explanation", "assume", "explain_events", "items_to_look_up"]

GUARDS: Final[Mapping[str, str]] = {
    "not-encrypted": "the event says that the item is not encrypted, or the policy's default does",
    "cross-project": "the source belongs to another project, and tenants never share a DEK",
    "source-unencrypted": "the source is not encrypted, so there is no key to share",
    "encryption-differs": "the item asks for another cipher or key size: the DEK would not fit",
    "unknown-cipher": "the source's cipher is not listed in the policy: the worst is assumed",
    "iv-repeats": "the source's cipher is a stream by position: two versions give away their XOR",
    "source-not-active": "the source's key is suspended or compromised, and is not spread",
}
GUARD: Final = "guard:"
STAYS: Final = "; but a copy as it is stays under its source's key"
UNDECIDED: Final = "neither the event nor the policy's default says that it is encrypted"
ASSUMED: Final = "assumed"
NO_TIME: Final = "1970-01-01T00:00:00.000Z"


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
    """A disposition, `release`, `attach`, `detach`, `repeat`, `late`, `wait` or a dead letter's
    reason."""
    by: str | None
    """The rule, or `guard:<name>`."""
    why: str
    encryption: Encryption | None = None
    data_action: str | None = None
    copied_bytes: int | None = None
    """None if nobody knows: the event has no `size_bytes`, or there is no decision yet."""
    reencrypted_bytes: int | None = None
    size_bytes: int | None = None
    """As the event says it."""


def explain_events(
    events: Sequence[Happening],
    known: Mapping[Item, State],
    policy: Policy,
    user: str | None = None,
) -> Iterator[Explanation]:
    """Say what would become of these events, if they came together and in this order.

    Args:
        events: as they were read.
        known: the state of every item of `items_to_look_up`.
        policy: the operator's rules.
        user: who sends them; None: somebody who may.
    """
    if user is None:
        policy = policy.without_producers()
    properties = {} if user is None else {"user_id": user}
    arrivals = [Arrival(event, Original(b"", event.cause.type, properties)) for event in events]
    plan = _planned(arrivals, known, policy)
    # What rests on the others is decided when they are stored, as by a worker.
    later = [arrival for arrival, outcome in plan.outcomes if isinstance(outcome, Later)]
    rest = _planned(later, {**known, **_stored(plan)}, policy)
    outcomes = {id(arrival): outcome for arrival, outcome in (*plan.outcomes, *rest.outcomes)}
    for arrival in arrivals:
        event, outcome = arrival.event, outcomes[id(arrival)]
        founded = plan.founded.get(event.item)
        if founded is not None and isinstance(outcome, AssignWrite) and isinstance(event, Event):
            yield from _founding(plan, founded, event, policy)
        yield _explained(event, outcome, policy)


def _planned(arrivals: Sequence[Arrival], known: Mapping[Item, State], policy: Policy) -> Plan:
    return plan_batch(arrivals, known, policy, Fresh(NO_TIME, lambda: "(new)", ""))


def _stored(plan: Plan) -> dict[Item, State]:
    """Return what would be known of the plan's items once they are stored."""
    known: dict[Item, State] = {}
    for write in plan.writes:
        if isinstance(write, AssignWrite):
            known[write.item] = write.stored()
        elif isinstance(write, ReleaseWrite):
            known[write.item] = write.released
    return known


def assume(source: Item, assumption: Assumption) -> Held:
    """Return a source's state as if it were in the store."""
    key = scope = None
    if assumption.encryption is not None:
        is_compromised = assumption.state is KeyState.COMPROMISED
        own = KeyState.ACTIVE if is_compromised else assumption.state
        key = KeyRecord(
            ASSUMED, ASSUMED, ASSUMED, own, None, NO_TIME, is_compromised=is_compromised
        )
        scope = ScopeRecord(
            ASSUMED, source.ref, ASSUMED, assumption.encryption, ASSUMED, None, NO_TIME
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
        assigned_at=NO_TIME,
    )
    return Held(assignment, key, scope)


def _founding(plan: Plan, partition: Item, event: Event, policy: Policy) -> Iterator[Explanation]:
    """Explain the partition that its first replica brings along."""
    for write in plan.writes:
        if isinstance(write, AssignWrite) and write.assignment.item == partition:
            # Nothing is in it yet, so nothing is copied.
            yield _assigned(write.assignment, 0, _why(write.assignment, event, policy))


def _explained(  # noqa: PLR0911  # one for each outcome
    event: Happening, outcome: Outcome, policy: Policy
) -> Explanation:
    item = event.item
    match outcome:
        case AssignWrite():
            return _begun(event, outcome, policy)
        case ReleaseWrite():
            return Explanation(item.project, item.ref, "release", None, _why_released(outcome))
        case Lives(writes):
            (begun,) = (write for write in writes if isinstance(write, AssignWrite))
            explained = _begun(event, begun, policy)
            return replace(explained, why=f"{explained.why}; {_why_lives(writes)}")
        case Repeat(known):
            return _repeated(item, known)
        case Nothing():
            why = "a later life of its name is known: nothing is done, and nothing announced"
            return Explanation(item.project, item.ref, "late", None, why)
        case GrantWrite():
            return _granting(event)
        case ParkWrite(source):
            why = f"{source.ref} is not there: the event waits for it"
            return Explanation(item.project, item.ref, "wait", None, why)
        case Refuse(reason, detail):
            return Explanation(item.project, item.ref, reason.value, None, detail)
        # Of what is explained, none has waited; a refusal for later was decided again in vain.
        case StillWaiting() | Later():
            why = "it contradicts another of these events, which is decided first"
            return Explanation(item.project, item.ref, "wait", None, why)


def _repeated(item: Item, known: Held | Released) -> Explanation:
    if isinstance(known, Released):
        why = "it was released before; that is announced again"
        return Explanation(item.project, item.ref, "repeat", None, why)
    before = known.assignment
    why = f"it was assigned before, {before.disposition.value}; that is announced again"
    return Explanation(
        item.project, item.ref, "repeat", before.rule, why, before.encryption, "none", 0, 0
    )


def _granting(event: Happening) -> Explanation:
    project, item = event.item.project, event.item.ref
    if isinstance(event, Attach):
        why = f"clients of node {event.node} may have its key, until it is detached"
        return Explanation(project, item, "attach", None, why)
    return Explanation(project, item, "detach", None, "this attachment is no grant any more")


def _begun(event: Happening, write: AssignWrite, policy: Policy) -> Explanation:
    assignment = write.assignment
    assert isinstance(event, Event)  # noqa: S101  # nothing else is assigned
    return _assigned(assignment, event.size_bytes, _why(assignment, event, policy))


def _why_released(write: ReleaseWrite) -> str:
    if write.before is None:
        return "nothing is known of it: it is kept in mind, should its creation still come"
    held = write.released.held
    if held is None or held.assignment.key_id is None:
        return "its record becomes a tombstone; it held no key-id"
    return (
        f"its record becomes a tombstone; its key-id {held.assignment.key_id} has one holder fewer,"
        " and others read on with it"
    )


def _why_lives(writes: Sequence[AssignWrite | ReleaseWrite]) -> str:
    if isinstance(writes[0], ReleaseWrite):
        return "the life of its name before this one is released first"
    return "its release came before it: it is released at once"


def _assigned(assignment: Assignment, size_bytes: int | None, why: str) -> Explanation:
    copies = assignment.data_action is not DataAction.NONE
    copied_bytes = size_bytes if copies else 0
    return Explanation(
        project=assignment.item.project,
        item=assignment.item.ref,
        decision=assignment.disposition.value,
        by=assignment.rule,
        why=why,
        encryption=assignment.encryption,
        data_action=assignment.data_action.value,
        copied_bytes=copied_bytes,
        reencrypted_bytes=0 if assignment.data_action is DataAction.DECRYPT else copied_bytes,
        size_bytes=size_bytes,
    )


def _why(assignment: Assignment, event: Event, policy: Policy) -> str:
    if assignment.rule == "guard:not-encrypted" and event.encryption is None:
        return UNDECIDED
    if assignment.rule.startswith(GUARD):
        shares = assignment.disposition in {Disposition.CLONE, Disposition.REUSE}
        return GUARDS[assignment.rule.removeprefix(GUARD)] + (STAYS if shares else "")
    requested = event.requested
    rule = next(rule for rule in policy.rule if rule.name == assignment.rule)
    if rule.allow_requested and requested is assignment.disposition:
        return f"the rule allows the requested disposition: {requested.value}"
    unheard = (
        ""
        if requested is None
        else f", and does not allow the requested disposition: {requested.value}"
    )
    return f"the rule says {rule.then.value}{unheard}{_of_an_image(assignment.source)}"


def _of_an_image(source: Item | None) -> str:
    if source is None or source.kind is not Kind.IMAGE:
        return ""
    return (
        "; the image is taken for plain data from outside: if it holds a volume's ciphertext, "
        "announce it as a replica of that volume, and name the replica as the source"
    )
