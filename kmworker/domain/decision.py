"""Which key-id an item gets: one pure, total function.

The early returns stand in the order of precedence, and each says why it stands where it
does. What is left is how the item's data comes to be: the table in `copying`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from kmworker.domain.answers import Already, Create, Decision, Join, NoKey, Refuse, Wait
from kmworker.domain.ciphers import objection
from kmworker.domain.contradiction import contradiction
from kmworker.domain.copying import by_table
from kmworker.domain.event import Event
from kmworker.domain.model import Broken, KeyState, Kind, State
from kmworker.domain.policy import Policy
from kmworker.errors import Reason

__all__ = ["Already", "Create", "Decision", "Join", "NoKey", "Refuse", "Wait", "decide"]


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
    if own is not None:
        otherwise = contradiction(event, own.assignment)
        return Already(own) if otherwise is None else Refuse(Reason.CONFLICT, otherwise)
    # Who may not say it learns nothing of the source, and does not wait for it.
    if policy.producers is not None:
        beyond = policy.producers.objection(event, properties)
        if beyond is not None:
            return Refuse(Reason.NOT_ALLOWED, beyond)
    # What the event asks for can be judged without its source, so it never waits in vain.
    wrong = objection(event.encryption, policy)
    if wrong is not None:
        return Refuse(Reason.POLICY_DENIED, wrong)
    if event.derived_from is None or event.derived_from.kind is Kind.IMAGE:
        return by_table(event, None, policy)
    if isinstance(source, Broken):
        return Refuse(Reason.INTEGRITY, source.detail)
    if source is None:
        return Wait()
    # Nothing can be read from this source any more, by whatever key.
    if source.key is not None and source.key.state is KeyState.DESTROYED:
        ref = source.assignment.item.ref
        return Refuse(Reason.SOURCE_UNUSABLE, f"the key of {ref} is destroyed")
    return by_table(event, source, policy)
