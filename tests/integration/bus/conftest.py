"""RabbitMQ as a worker sees it, and as an administrator does.

What is published here no honest producer sends, so it is the administrator who publishes it;
the bus itself has a worker's account.
"""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import amqp
import pytest

from kmworker.bus.amqp.link import Link
from kmworker.bus.rabbit import RabbitBus
from kmworker.domain.message import Delivery
from kmworker.settings import BrokerSettings, Settings
from kmworker.wire.topology import Topology
from tests.integration.running import settings_for
from tests.kit.servers import ADMIN, RabbitMQ, StoreServer

PATIENCE_S = 60.0

NewBus = Callable[..., RabbitBus]


class Producer:
    """The administrator: publishes anything at all, and looks after queues."""

    def __init__(self, broker: RabbitMQ, namespace: str) -> None:
        broker.url_of(ADMIN, namespace)
        self.connection: Any = broker.admin(namespace, confirm_publish=True)
        self.connection.connect()
        self.channel: Any = self.connection.channel()
        self.topology = Topology(namespace)

    def publish(self, body: bytes, key: str | bytes = "volume-created", **properties: Any) -> None:
        """Publish an event and wait for its confirm."""
        message = amqp.Message(body, **properties)
        self.channel.basic_publish(message, self.topology.events, key)

    def get(self, queue: str) -> Any:
        """Take one message from a queue."""
        return self.channel.basic_get(queue, no_ack=True)

    def subscribe(self, exchange: str) -> str:
        """Bind a queue of our own to an exchange."""
        queue: str = self.channel.queue_declare(exclusive=True).queue
        self.channel.queue_bind(queue, exchange, "#")
        return queue


@pytest.fixture
def settings(
    rabbitmq: RabbitMQ, redis_server: StoreServer, namespace: str, prefix: str, tmp_path: Path
) -> Settings:
    """An installation on RabbitMQ and Redis."""
    return settings_for(
        tmp_path,
        broker=rabbitmq.url_of("worker", namespace),
        namespace=namespace,
        store=redis_server.url_of("worker", prefix),
        prefix=prefix,
    )


@pytest.fixture
def topology(namespace: str) -> Topology:
    """The names of this test."""
    return Topology(namespace)


@pytest.fixture
def producer(rabbitmq: RabbitMQ, namespace: str) -> Iterator[Producer]:
    """An administrator who publishes."""
    found = Producer(rabbitmq, namespace)
    yield found
    found.connection.close()


@pytest.fixture
def new_bus(rabbitmq: RabbitMQ, namespace: str, producer: Producer) -> Iterator[NewBus]:
    """Make a worker's bus, not open yet; keywords are settings, but for prefetch and name."""
    with ExitStack() as stack:

        def make(prefetch: int = 100, name: str = "bus", **settings: Any) -> RabbitBus:
            url = rabbitmq.url_of("worker", namespace)
            given = {"url": url, "namespace": namespace, **settings}
            bus = RabbitBus(BrokerSettings(**given), prefetch=prefetch, name=name)
            stack.callback(bus.close)
            return bus

        yield make


@pytest.fixture
def bus(new_bus: NewBus) -> RabbitBus:
    """An open bus."""
    made = new_bus()
    made.open()
    return made


def take(bus: RabbitBus, number: int) -> list[Delivery]:
    """Receive until there are so many."""
    found: list[Delivery] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < number:
        assert time.monotonic() < deadline, f"{len(found)} of {number} deliveries came"
        found += bus.receive(number - len(found), 0.2)
    return found


def bodies(deliveries: Sequence[Delivery]) -> list[bytes]:
    """What was delivered."""
    return [delivery.original.body for delivery in deliveries]


def local_port(link: Link) -> int:
    """Where our end of a connection is."""
    port: int = link.connection.transport.sock.getsockname()[1]
    return port


def close_as_an_operator(broker: RabbitMQ, *ports: int) -> None:
    """Close the connections that come from these ports."""
    listed = broker.ctl("list_connections", "--no-table-headers", "pid", "peer_port")
    for line in listed.splitlines():
        pid, _tab, port = line.partition("\t")
        if int(port) in ports:
            broker.ctl("close_connection", pid, "closed by a test")


def cut(link: Link) -> None:
    """Break a connection as a network does."""
    link.connection.transport.sock.shutdown(socket.SHUT_RDWR)
