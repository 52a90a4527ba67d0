"""For Python programs that publish lifecycle events or act on assignments.

::

    event = VolumeCreated(project_id="2f1d", volume_id="1111")
    with Producer(url, event_source="/cinder/blk01") as producer:
        producer.publish(event)

    with Subscriber(url, queue="kmworker.sub.cinder") as subscriber:
        subscriber.run(lambda assignment: print(assignment.item.ref, assignment.key_id))

    with Keys(url, identity=identity, enrolment=enrolment) as keys:
        with keys.get(Item("2f1d", Kind.VOLUME, "1111")) as delivered:
            pipe.write(delivered.key.view)

It speaks AMQP and nothing else: neither Redis nor the installation's keys are ever in its reach,
but for those that are delivered to it. What to publish when, what to do with an assignment, and
how a node gets a key, is in docs/producing.md, docs/subscribing.md and docs/delegating.md.
"""

from typing import TYPE_CHECKING, Any

from kmworker.client.assignment import Assignment, Release
from kmworker.client.key_change import KeyChange
from kmworker.client.producer import Producer, Unrouted
from kmworker.client.subscriber import Subscriber
from kmworker.domain.event import UNENCRYPTED, RequestedEncryption
from kmworker.domain.keys import Janitor, KeyEvent, KeyState, Operator
from kmworker.domain.model import Cause, DataAction, Disposition, Encryption, Item, Kind, Transport
from kmworker.errors import (
    BrokerUnavailable,
    KMWorkerError,
    PermanentError,
    Reason,
    SetupError,
    TransientError,
    Untrusted,
)
from kmworker.wire.events import types
from kmworker.wire.events.types import *  # noqa: F403  # every type of event, by its class

if TYPE_CHECKING:
    from kmworker.client.copies import GivenUp
    from kmworker.client.keys import KeyRefused, Keys, NoAnswer
    from kmworker.wire.answers.messages import Refusal, Revoking

__all__ = [
    "UNENCRYPTED",
    "Assignment",
    "BrokerUnavailable",
    "Cause",
    "DataAction",
    "Disposition",
    "Encryption",
    "GivenUp",
    "Item",
    "Janitor",
    "KMWorkerError",
    "KeyChange",
    "KeyEvent",
    "KeyRefused",
    "KeyState",
    "Keys",
    "Kind",
    "NoAnswer",
    "Operator",
    "PermanentError",
    "Producer",
    "Reason",
    "Refusal",
    "Release",
    "RequestedEncryption",
    "Revoking",
    "SetupError",
    "Subscriber",
    "TransientError",
    "Transport",
    "Unrouted",
    "Untrusted",
]
__all__ += types.__all__


def __getattr__(name: str) -> Any:  # noqa: ANN401  # whatever is asked for
    """Import what opens keys when it is asked for: most programs ask for none."""
    if name in {"Refusal", "Revoking"}:
        from kmworker.wire.answers import messages  # noqa: PLC0415  # see above

        return getattr(messages, name)
    if name not in {"GivenUp", "KeyRefused", "Keys", "NoAnswer"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kmworker.client import keys  # noqa: PLC0415  # see above

    return getattr(keys, name)
