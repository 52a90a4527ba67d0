"""Which broker a URL means."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from kmworker.bus.anchor_queue import AnchorQueue
from kmworker.bus.dead_queue import DeadQueue, RabbitDeadQueue
from kmworker.bus.dead_stream import StreamDeadQueue
from kmworker.bus.link import Link
from kmworker.bus.publisher import Publisher
from kmworker.bus.rabbit import RabbitBus
from kmworker.bus.route import Router
from kmworker.bus.streams import StreamBus
from kmworker.bus.subscriber import RabbitSubscriber, StreamSubscriber, Subscriber
from kmworker.bus.topology import Topology
from kmworker.message import Outgoing
from kmworker.ports import Bus, Keep
from kmworker.redis_client import Client, connect_to
from kmworker.settings import STREAM_SCHEMES, BrokerSettings

__all__ = [
    "Publishing", "open_bus", "open_dead_queue", "open_keep", "open_publisher", "open_subscriber",
]  # fmt: skip


class Publishing(Protocol):
    """Confirmed publishing."""

    def open(self) -> None:
        """Connect."""
        ...

    def publish(self, messages: Sequence[Outgoing]) -> list[bool]:
        """Publish all and wait for their confirms; say of each whether a queue took it."""
        ...

    def close(self) -> None:
        """Leave."""
        ...


class StreamPublisher:
    """`Publishing` on the embedded mode's streams."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._router = Router(client)

    def open(self) -> None:
        """Do nothing: the client connects with its first command."""

    def publish(self, messages: Sequence[Outgoing]) -> list[bool]:
        """Publish all; the server has them on disk when it replies."""
        return self._router.publish(messages)

    def close(self) -> None:
        """Leave."""
        self._client.close()


def open_bus(settings: BrokerSettings, *, prefetch: int, name: str) -> Bus:
    """Return the bus of a worker; it connects when it is opened.

    Raises:
        SetupError: no broker is configured.
    """
    client = _stream_client(settings)
    if client is None:
        return RabbitBus(settings, prefetch=prefetch, name=name)
    return StreamBus(client, namespace=settings.namespace, prefetch=prefetch, name=name)


def open_publisher(settings: BrokerSettings, name: str) -> Publishing:
    """Return a publisher; it connects when it is opened.

    Raises:
        SetupError: no broker is configured.
    """
    client = _stream_client(settings)
    if client is None:
        return Publisher(Link(settings, name), settings.confirm_timeout_s)
    return StreamPublisher(client)


def open_subscriber(settings: BrokerSettings, exchange: str, patterns: Sequence[str]) -> Subscriber:
    """Return a subscriber with a queue of its own; it listens when it is opened.

    Raises:
        SetupError: no broker is configured.
    """
    client = _stream_client(settings)
    if client is None:
        return RabbitSubscriber(settings, exchange, patterns)
    return StreamSubscriber(client, exchange, patterns)


@contextmanager
def open_keep(settings: BrokerSettings, name: str) -> Iterator[Keep]:
    """Connect for the anchor alone: nothing is consumed.

    Raises:
        SetupError: no broker is configured.
        BrokerUnavailable: it is not there.
    """
    if _stream_client(settings) is not None:
        yield lambda _choose: None
        return
    link = Link(settings, f"kmworker {name}")
    publisher = Publisher(Link(settings, f"kmworker {name} publisher"), settings.confirm_timeout_s)
    queue = AnchorQueue(link, Topology(settings.namespace))
    try:
        link.open()
        queue.open()
        publisher.open()
        yield lambda choose: queue.swap(choose, publisher.publish)
    finally:
        publisher.close()
        link.close()


def open_dead_queue(settings: BrokerSettings, name: str) -> DeadQueue:
    """Return the dead letters; they can be looked at when it is opened.

    Raises:
        SetupError: no broker is configured.
    """
    client = _stream_client(settings)
    if client is None:
        return RabbitDeadQueue(settings, name)
    return StreamDeadQueue(client, settings.namespace)


def _stream_client(settings: BrokerSettings) -> Client | None:
    if settings.url is None or settings.url.partition(":")[0] not in STREAM_SCHEMES:
        return None
    return connect_to(settings.url, settings.connect_timeout_s)
