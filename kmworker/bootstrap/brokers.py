"""Which broker a URL means."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from kmworker.bus.amqp.link import Link
from kmworker.bus.anchor_queue import AnchorQueue
from kmworker.bus.dead_queue import DeadQueue, RabbitDeadQueue
from kmworker.bus.inspection import Inspection
from kmworker.bus.publisher import Publisher
from kmworker.bus.rabbit import RabbitBus
from kmworker.bus.subscriber import RabbitSubscriber
from kmworker.domain.message import Original, Outgoing
from kmworker.embedded.dead_stream import StreamDeadQueue
from kmworker.embedded.route import Router
from kmworker.embedded.streams import StreamBus
from kmworker.embedded.subscriber import StreamSubscriber
from kmworker.ports import Bus, Keep, QueueCounts
from kmworker.settings import BrokerSettings
from kmworker.settings.urls import STREAM_SCHEMES
from kmworker.store.client import Client, connect_to
from kmworker.wire.topology import Topology

__all__ = [
    "Publishing", "Subscription", "count_queues", "open_bus", "open_dead_queue", "open_keep",
    "open_publisher", "open_subscriber", "read_keep", "stream_client",
]  # fmt: skip


class Publishing(Protocol):
    """Confirmed publishing."""

    def open(self) -> None:
        """Connect."""

    def publish(self, messages: Sequence[Outgoing]) -> list[bool]:
        """Publish all and wait for their confirms; say of each whether a queue took it."""

    def close(self) -> None:
        """Leave."""


class Subscription(Protocol):
    """Messages, as they come."""

    def open(self) -> None:
        """Start to listen; what is published from now on arrives."""

    def receive(self, timeout_s: float) -> list[Original]:
        """Return what has come and acknowledge it; wait at most ``timeout_s`` for the first."""

    def close(self) -> None:
        """Stop listening."""


def open_bus(settings: BrokerSettings, *, prefetch: int, name: str) -> Bus:
    """Return the bus of a worker; it connects when it is opened.

    Raises:
        SetupError: no broker is configured.
    """
    client = stream_client(settings)
    if client is None:
        return RabbitBus(settings, prefetch=prefetch, name=name)
    return StreamBus(client, namespace=settings.namespace, prefetch=prefetch, name=name)


def count_queues(settings: BrokerSettings) -> QueueCounts:
    """Ask the broker what is in its queues now.

    Raises:
        NotCounted: this user may not look, or the queues are not there.
        SetupError: no broker is configured.
        BrokerUnavailable: it is not there.
    """
    if stream_client(settings) is not None:
        return open_bus(settings, prefetch=1, name="kmworker status").counts()
    link = Link(settings, "kmworker status")
    try:
        link.open()
        return Inspection(link, Topology(settings.namespace)).counts()
    finally:
        link.close()


def open_publisher(
    settings: BrokerSettings, name: str, *, signs: bool = False, user: str | None = None
) -> Publishing:
    """Return a publisher; it connects when it is opened.

    Args:
        settings: where the broker is.
        name: shown in the broker's list of connections.
        signs: whether messages say who publishes them; streams have no users.
        user: who that is, where the broker calls us otherwise than the URL does.

    Raises:
        SetupError: no broker is configured.
    """
    client = stream_client(settings)
    if client is None:
        link = Link(settings, name)
        return Publisher(link, settings.confirm_timeout_s, signs=signs, user=user)
    return Router(client)


def open_subscriber(
    settings: BrokerSettings, bindings: Mapping[str, Sequence[str]]
) -> Subscription:
    """Return a subscriber with a queue of its own; it listens when it is opened.

    Args:
        settings: where the broker is.
        bindings: patterns by their exchange.

    Raises:
        SetupError: no broker is configured.
    """
    client = stream_client(settings)
    if client is None:
        return RabbitSubscriber(settings, bindings)
    return StreamSubscriber(client, bindings)


@contextmanager
def open_keep(settings: BrokerSettings, name: str) -> Iterator[Keep]:
    """Connect for the anchor alone: nothing is consumed.

    Raises:
        SetupError: no broker is configured.
        BrokerUnavailable: it is not there.
    """
    if stream_client(settings) is not None:
        yield lambda _choose: None
        return
    link = Link(settings, f"kmworker {name}")
    publisher = Publisher(Link(settings, f"kmworker {name} publisher"), settings.confirm_timeout_s)
    queue = AnchorQueue(link, Topology(settings.namespace))
    try:
        link.open()
        queue.open()
        publisher.open()
        yield lambda choose: queue.swap(choose, lambda it: publisher.confirmed(publisher.send(it)))
    finally:
        publisher.close()
        link.close()


def read_keep(settings: BrokerSettings, name: str) -> list[bytes]:
    """Return what the broker keeps for whoever was not there, and leave it there.

    Raises:
        SetupError: no broker is configured.
        BrokerUnavailable: it is not there.
    """
    if stream_client(settings) is not None:
        return []
    link = Link(settings, f"kmworker {name}")
    queue = AnchorQueue(link, Topology(settings.namespace))
    try:
        link.open()
        queue.open(only_reads=True)
        return queue.kept()
    finally:
        link.close()


def open_dead_queue(settings: BrokerSettings, name: str, user: str | None = None) -> DeadQueue:
    """Return the dead letters; they can be looked at when it is opened.

    Args:
        settings: where the broker is.
        name: shown in the broker's list of connections.
        user: who replays, where the broker calls us otherwise than the URL does.

    Raises:
        SetupError: no broker is configured.
    """
    client = stream_client(settings)
    if client is None:
        return RabbitDeadQueue(settings, name, user)
    return StreamDeadQueue(client, settings.namespace)


def stream_client(settings: BrokerSettings) -> Client | None:
    """Return a client of the streams that a URL means; None: it means AMQP."""
    # Only where there is one: several are AMQP.
    if settings.url is None or settings.url.partition(":")[0] not in STREAM_SCHEMES:
        return None
    return connect_to(settings.url, settings.connect_timeout_s)
