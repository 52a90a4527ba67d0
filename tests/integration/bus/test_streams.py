"""The streams bus when its server, or the way to it, fails at a bad moment."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from kmworker.domain.message import Delivery, Outgoing
from kmworker.embedded.route import Router
from kmworker.embedded.streams import ALIVE_S, GROUP, StreamBus
from kmworker.errors import BrokerUnavailable
from kmworker.store.client import connect_to
from kmworker.wire.topology import Topology
from tests.kit.polling import until
from tests.kit.servers import FAIR, Proxy, StoreServer, Weather

TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Stage:
    """A server, a way to it that can fail, and one that does not."""

    line: Proxy
    direct: Any
    topology: Topology

    def bus(self, name: str, prefetch: int = 10) -> StreamBus:
        url = f"redis://127.0.0.1:{self.line.port}/0"
        namespace = self.topology.namespace
        return StreamBus(
            connect_to(url, TIMEOUT_S), namespace=namespace, prefetch=prefetch, name=name
        )

    def publish(self, *bodies: bytes) -> None:
        exchange = self.topology.events
        messages = [Outgoing(exchange, "volume-created", body, {}) for body in bodies]
        assert all(Router(self.direct).publish(messages))

    def consumers(self) -> list[str]:
        found = self.direct.xinfo_consumers(self.topology.work, GROUP)
        return sorted(consumer["name"].decode() for consumer in found)


@pytest.fixture
def stage(embedded_server: StoreServer, namespace: str) -> Iterator[Stage]:
    with closing(Proxy(embedded_server.port)) as line, embedded_server.admin() as direct:
        yield Stage(line, direct, Topology(namespace))


def taken(bus: StreamBus, number: int) -> list[Delivery]:
    found: list[Delivery] = []

    def more() -> bool:
        found.extend(bus.receive(number - len(found), 0.1))
        return len(found) >= number

    until(more, f"{number} deliveries")
    return found


def test_events_whose_acknowledgement_is_lost_come_again_and_can_be_settled(stage: Stage) -> None:
    bus = stage.bus("one")
    bus.open()
    stage.publish(b"a", b"b")
    before = taken(bus, 2)
    stage.line.change(Weather(refusing=True))
    stage.line.reset()
    with pytest.raises(BrokerUnavailable):
        bus.acknowledge(before)
    stage.line.change(FAIR)
    bus.open()
    again = taken(bus, 2)
    assert [it.original.body for it in again] == [b"a", b"b"]
    assert all(it.generation > before[0].generation for it in again)
    bus.acknowledge(again)
    assert stage.direct.xlen(stage.topology.work) == 0
    bus.close()


def test_leaving_a_server_that_is_away_is_no_error(stage: Stage) -> None:
    bus = stage.bus("one")
    bus.open()
    stage.line.change(Weather(refusing=True))
    stage.line.reset()
    bus.close()
    assert stage.direct.pttl(f"{stage.topology.work}:consumer:one#1") <= ALIVE_S * 1000


def test_a_consumer_that_wakes_up_while_it_is_taken_for_dead_loses_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, other = stage.bus("slow"), stage.bus("other")
    slow.open()
    assert slow.receive(1, 0.0) == []
    # Its sign of life has expired, as that of a process which was stopped for a while.
    stage.direct.delete(slow._alive())
    other.open()
    claim = StreamBus._claim_from

    def woken_first(self: StreamBus, dead: str, pending: int) -> None:
        """Let it read between the other's look at it and what the other does then."""
        stage.publish(b"a")
        slow._read(1, 0.0)
        claim(self, dead, pending)

    monkeypatch.setattr(StreamBus, "_claim_from", woken_first)
    other.receive(1, 0.0)
    monkeypatch.undo()
    assert slow._consumer in stage.consumers()
    (delivery,) = slow.receive(1, 0.0)
    assert delivery.original.body == b"a"
    # And were it dead now, another would get the event.
    other._next_claim = 0.0
    assert [it.original.body for it in taken(other, 1)] == [b"a"]


def test_a_dead_consumer_that_left_nothing_is_forgotten(stage: Stage) -> None:
    gone, other = stage.bus("gone"), stage.bus("other")
    gone.open()
    gone.receive(1, 0.0)
    gone.close()
    other.open()
    other.receive(1, 0.0)
    assert stage.consumers() == ["other#1"]
