"""For Python programs that publish lifecycle events or act on assignments.

::

    event = VolumeCreated(project_id="2f1d", volume_id="1111")
    with Producer(url, event_source="/cinder/blk01") as producer:
        producer.publish(event)

    with Subscriber(url, queue="kmworker.sub.cinder") as subscriber:
        subscriber.run(lambda assignment: print(assignment.item.ref, assignment.key_id))

It speaks AMQP and nothing else: neither Redis nor key material is ever in its reach. What
to publish when, and what to do with an assignment, is in docs/producing.md and
docs/subscribing.md.
"""

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
)
from kmworker.wire.events import types
from kmworker.wire.events.types import *  # noqa: F403  # every type of event, by its class

__all__ = [
    "UNENCRYPTED",
    "Assignment",
    "BrokerUnavailable",
    "Cause",
    "DataAction",
    "Disposition",
    "Encryption",
    "Item",
    "Janitor",
    "KMWorkerError",
    "KeyChange",
    "KeyEvent",
    "KeyState",
    "Kind",
    "Operator",
    "PermanentError",
    "Producer",
    "Reason",
    "Release",
    "RequestedEncryption",
    "SetupError",
    "Subscriber",
    "TransientError",
    "Transport",
    "Unrouted",
]
__all__ += types.__all__
