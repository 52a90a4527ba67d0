"""One bus contract, run over RabbitMQ, streams, and the simulator's RabbitMQ.

That keeps the simulator honest: `RabbitBus` cannot tell its broker from a real one here.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Protocol

import pytest

from kmworker.bootstrap.brokers import Publishing, open_bus, open_publisher, open_subscriber
from kmworker.bus.rabbit import RabbitBus
from kmworker.domain.message import Delivery, Original, Outgoing
from kmworker.embedded.streams import StreamBus
from kmworker.ports import Bus
from kmworker.settings import BrokerSettings
from kmworker.wire.topology import Topology
from tests.kit.servers import RabbitMQ, StoreServer
from tests.kit.simulator.broker import Broker
from tests.kit.simulator.bus import SimulatedBus
from tests.kit.simulator.clock import SettableClock
from tests.kit.simulator.host import Host
from tests.kit.simulator.manner import AwkwardManner

DEADLINE_S = 30.0


class Stage(Protocol):
    """A broker, and what can be done to it from outside."""

    topology: Topology

    def bus(self, prefetch: int = 100) -> Bus:
        """Return an open bus."""
        ...

    def produce(self, messages: Sequence[Outgoing]) -> None:
        """Publish as a producer does."""
        ...

    def kill(self, bus: Bus) -> None:
        """Let the process that holds the bus die."""
        ...

    def dead_letters(self, number: int) -> list[Original]:
        """Return what is in the dead queue, once there is as much."""
        ...


class ServerStage:
    """RabbitMQ, or streams in Valkey; each acts with its own account."""

    def __init__(self, url_of: Callable[[str], str], namespace: str, stack: ExitStack) -> None:
        def settings(role: str) -> BrokerSettings:
            return BrokerSettings(url=url_of(role), namespace=namespace)

        self.topology = Topology(namespace)
        self._settings = settings("worker")
        self._producers = settings("producer")
        self._stack = stack
        self._number = 0
        self._producer: Publishing | None = None
        self._dead = open_subscriber(settings("operator"), {self.topology.dead: ["#"]})

    def bus(self, prefetch: int = 100) -> Bus:
        self._number += 1
        bus = open_bus(self._settings, prefetch=prefetch, name=f"bus{self._number}")
        self._stack.callback(_end, bus)
        bus.open()
        if self._number == 1:
            self._dead.open()
            self._stack.callback(self._dead.close)
        return bus

    def produce(self, messages: Sequence[Outgoing]) -> None:
        if self._producer is None:
            self._producer = open_publisher(self._producers, "producer")
            self._producer.open()
            self._stack.callback(self._producer.close)
        assert all(self._producer.publish(messages))

    def kill(self, bus: Bus) -> None:
        if isinstance(bus, RabbitBus):
            bus._link.discard()
            bus._publisher._link.discard()
        if isinstance(bus, StreamBus):
            # What time does to the sign of life of a process that is gone.
            bus._client.delete(bus._alive())
            bus._is_open = False

    def dead_letters(self, number: int) -> list[Original]:
        return until(lambda: self._dead.receive(0.1), number)


class SimulatedStage:
    """The broker that drives the simulator, under the real `RabbitBus`."""

    def __init__(self) -> None:
        self._broker = Broker(SettableClock(), manner=AwkwardManner(seed=7))
        self.topology = self._broker.topology

    def bus(self, prefetch: int = 100) -> Bus:
        host, settings = Host(self._broker), BrokerSettings(url="amqp://simulated//")
        bus = SimulatedBus(host, settings, prefetch=prefetch, name="bus")
        bus.open()
        return bus

    def produce(self, messages: Sequence[Outgoing]) -> None:
        for it in messages:
            assert self._broker.publish(it.exchange, it.routing_key, it.body, dict(it.properties))

    def kill(self, bus: Bus) -> None:
        assert isinstance(bus, RabbitBus)
        bus._link.discard()
        bus._publisher._link.discard()

    def dead_letters(self, number: int) -> list[Original]:
        letters = [
            Original(it.body, it.routing_key, it.properties) for it in self._broker.dead.ready
        ]
        assert len(letters) == number
        return letters


@pytest.fixture(params=["rabbitmq", "rabbitmq over tls", "streams", "simulated"])
def stage(request: pytest.FixtureRequest, namespace: str) -> Iterator[Stage]:
    if request.param == "simulated":
        yield SimulatedStage()
        return
    with ExitStack() as stack:
        if request.param.startswith("rabbitmq"):
            broker: RabbitMQ = request.getfixturevalue("rabbitmq")
            url_of = broker.url_of if request.param == "rabbitmq" else broker.tls_url_of
            yield ServerStage(lambda role: url_of(role, namespace), namespace, stack)
            return
        server: StoreServer = request.getfixturevalue("embedded_server")
        yield ServerStage(server.url_of, namespace, stack)


def until(receive: Callable[[], list[Original]], number: int) -> list[Original]:
    """Collect what comes until there is as much."""
    found: list[Original] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(found) < number and time.monotonic() < deadline:
        found += receive()
    return found


def taken(bus: Bus, number: int) -> list[Delivery]:
    """Receive until there is as much, and no more."""
    found: list[Delivery] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(found) < number and time.monotonic() < deadline:
        found += bus.receive(number - len(found), 0.1)
    return found


def settled(bus: Bus, number: int) -> list[Delivery]:
    """Receive as much and settle it as it comes: what came back may be held until then."""
    found: list[Delivery] = []
    for _ in range(number):
        found += (deliveries := taken(bus, 1))
        bus.acknowledge(deliveries)
    return found


def nothing_more(bus: Bus) -> bool:
    """Return whether nothing is delivered, however often one looks."""
    return not any(bus.receive(100, 0.1) for _ in range(3))


def _end(bus: Bus) -> None:
    bus.close()
    if isinstance(bus, StreamBus):
        bus._client.close()
