"""Which key-id an item gets, and what becomes of it when it is gone: pure, total functions.

The early returns stand in the order of precedence, and each says why it stands where it
does. What is left of a creation is how the item's data comes to be: the table in `copying`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from kmworker.domain.answers import (
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
)
from kmworker.domain.ciphers import objection
from kmworker.domain.contradiction import contradiction, is_cause_of, shown
from kmworker.domain.copying import by_table
from kmworker.domain.event import Event, Granting, Happening, Release
from kmworker.domain.model import Broken, Held, KeyState, Kind, Released, State, held_in
from kmworker.domain.policy import Policy
from kmworker.errors import Reason

__all__ = [
    "Already", "Bury", "Create", "Decision", "Gone", "Join", "Late", "NoKey", "Refuse", "Wait",
    "decide", "decide_release", "refuse_grant",
]  # fmt: skip


NO_PROPERTIES: Final[Mapping[str, Any]] = MappingProxyType({})


def decide(  # noqa: PLR0911  # one for each answer, in the order of precedence
    event: Event,
    own: State,
    source: State,
    policy: Policy,
    properties: Mapping[str, Any] = NO_PROPERTIES,
) -> Decision:
    """Choose how the event's item gets its key-id.

    Args:
        event: what happened.
        own: what is known of the item itself.
        source: what is known of ``event.derived_from``; None also for images.
        policy: the operator's rules.
        properties: of the message that brought the event.
    """
    if isinstance(own, Broken):
        return Refuse(Reason.INTEGRITY, own.detail)
    # A repeated event repeats its first answer, whatever the policy says today.
    if own is not None and (answer := _as_before(event, own)) is not None:
        return answer
    # Who may not say it learns nothing of the source, and does not wait for it.
    beyond = _beyond_reach(event, policy, properties)
    if beyond is not None:
        return beyond
    # What the event asks for can be judged without its source, so it never waits in vain.
    wrong = objection(event.encryption, policy)
    if wrong is not None:
        return Refuse(Reason.POLICY_DENIED, wrong)
    if event.derived_from is None or event.derived_from.kind is Kind.IMAGE:
        return by_table(event, None, policy)
    if isinstance(source, Broken):
        return Refuse(Reason.INTEGRITY, source.detail)
    life = _life_of(source, event.source_generation)
    if not isinstance(life, Held):
        return life
    # Nothing can be read from this source any more, by whatever key.
    if life.key is not None and life.key.state is KeyState.DESTROYED:
        if isinstance(source, Released) and source.item.kind is Kind.PARTITION:
            # A person has ended it with its key: this replica founds it anew.
            return Wait()
        ref = life.assignment.item.ref
        return Refuse(Reason.SOURCE_UNUSABLE, f"the key of {ref} is destroyed")
    return by_table(event, life, policy)


def decide_release(
    event: Release, own: State, policy: Policy, properties: Mapping[str, Any] = NO_PROPERTIES
) -> Decision:
    """Choose what becomes of an item that is gone; the arguments are those of `decide`."""
    # First of all, or anybody could have everybody's keys destroyed.
    beyond = _beyond_reach(event, policy, properties)
    if beyond is not None:
        return beyond
    match own:
        case Broken(detail):
            return Refuse(Reason.INTEGRITY, detail)
        case None:
            return Bury(None)
        case Held() | Released():
            if event.generation < own.generation:
                return Late()
            if isinstance(own, Released) and event.generation == own.generation:
                return Gone(own)
            return Bury(own)


def refuse_grant(event: Granting, policy: Policy, properties: Mapping[str, Any]) -> Refuse | None:
    """Return why a grant may not be made or ended by this event; None if it may."""
    if policy.producers is None and not policy.trusts_everybody:
        # Whoever may publish a creation gets no key by that. By this he would.
        detail = "attachments are believed of producers alone, and the policy lists none"
        return Refuse(Reason.NOT_ALLOWED, f"{detail}: [[producer]]")
    return _beyond_reach(event, policy, properties)


def _beyond_reach(event: Happening, policy: Policy, properties: Mapping[str, Any]) -> Refuse | None:
    if policy.producers is None:
        return None
    beyond = policy.producers.objection(event, properties)
    return None if beyond is None else Refuse(Reason.NOT_ALLOWED, beyond)


def _as_before(event: Event, own: Held | Released) -> Decision | None:
    """Return the answer to an event whose item has a record; None: a new life begins."""
    newest = own.generation
    if event.generation != newest:
        return Late() if event.generation < newest else None
    if isinstance(own, Held):
        otherwise = contradiction(event, own.assignment)
        return Already(own) if otherwise is None else Refuse(Reason.CONFLICT, otherwise)
    # It was released before it was heard of, and is assigned now: its name is known to many.
    if own.held is None or own.is_early:
        return None
    if is_cause_of(event, own.held.assignment):
        return Gone(own)
    return Refuse(
        Reason.CONFLICT, f"{shown(event.item.ref)} was deleted at {own.tombstone.released_at}"
    )


def _life_of(source: Held | Released | None, wanted: int) -> Held | Wait | Refuse:
    """Return the life of a source that an event means, or what becomes of the event without it."""
    if source is None:
        return Wait()
    held = held_in(source)
    # Nobody numbers the lives of a partition.
    is_partition = source.item.kind is Kind.PARTITION
    if held is not None and (held.generation == wanted or is_partition):
        return held
    newest = source.generation
    # Of what is gone and was never heard of, the creation may be on its way.
    is_early = isinstance(source, Released) and source.is_early
    if newest < wanted or (is_early and newest == wanted):
        return Wait()
    return Refuse(
        Reason.SOURCE_UNUSABLE,
        f"the life of {shown(source.item.ref)} that it was made from (generation {wanted}) is over:"
        f" the newest is {newest}",
    )
