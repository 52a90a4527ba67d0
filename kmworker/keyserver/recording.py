"""What is recorded of requests before they are answered."""

from dataclasses import field
from typing import Final

from kmworker.domain.audit import Act, Actor, ActorKind, ActOutcome, AuditRecord
from kmworker.domain.values import value
from kmworker.keyserver.decide import Deliver
from kmworker.keyserver.intake import Asking, Refusing
from kmworker.wire.answers.messages import Refusal

__all__ = ["RECORDED", "Granted", "record_of_delivery", "record_of_flaw", "record_of_refusal"]

RECORDED: Final = frozenset(Refusal) - {Refusal.TRY_LATER}
"""That it is to be asked again is said of what is not decided."""


@value
class Granted:
    """A request whose key is to be delivered, once that is recorded."""

    asking: Asking
    deliver: Deliver
    wrapped: bytes = field(repr=False)


def record_of_delivery(it: Granted, at: str) -> AuditRecord:
    """Return what the trail says of a delivery; ``at``: RFC 3339, UTC."""
    asked = it.asking.asked
    return AuditRecord(
        Act.KEY_DELIVERED,
        Actor(ActorKind.CLIENT, it.asking.client.name),
        at,
        request=asked.id,
        reason=it.asking.purpose,
        project=asked.project,
        item=None if asked.item is None else asked.item.ref,
        key_id=it.deliver.key.key_id,
        attachment_id=it.deliver.attachment,
    )


def record_of_refusal(it: Refusing, at: str) -> AuditRecord:
    """Return what it says of a refusal."""
    asked = it.asking.asked
    return AuditRecord(
        Act.KEY_REFUSED,
        Actor(ActorKind.CLIENT, it.asking.client.name),
        at,
        ActOutcome.REFUSED,
        reason=it.reason.value,
        request=asked.id,
        project=asked.project or None,
        item=None if asked.item is None else asked.item.ref,
        key_id=asked.key_id,
    )


def record_of_flaw(asking: Asking, flaw: str, at: str) -> AuditRecord:
    """Return what it says of a record that is forged, damaged or put back, whatever is told of it.

    Args:
        asking: whose request has met it.
        flaw: what is wrong with it.
        at: RFC 3339, UTC.
    """
    asked = asking.asked
    return AuditRecord(
        Act.RECORD_DISBELIEVED,
        Actor(ActorKind.CLIENT, asking.client.name),
        at,
        ActOutcome.REFUSED,
        reason=flaw,
        request=asked.id,
        project=asked.project,
        item=None if asked.item is None else asked.item.ref,
        key_id=asked.key_id,
    )
