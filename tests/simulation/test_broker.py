"""What the simulated RabbitMQ does that the bus contract cannot ask of a real one at will.

All of it is seen through the real `RabbitBus`: that is where it has to be right.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.bus.rabbit import RabbitBus
from kmworker.domain.message import Confirm, Delivery, Outgoing
from kmworker.errors import BrokerUnavailable
from kmworker.settings import BrokerSettings
from tests.kit.simulator.broker import Broker
from tests.kit.simulator.bus import SimulatedBus
from tests.kit.simulator.clock import SettableClock
from tests.kit.simulator.host import Host
from tests.kit.simulator.manner import AwkwardManner
from tests.kit.simulator.steps import Crash, Fault
from tests.kit.simulator.troubles import Links

SETTINGS = BrokerSettings(url="amqp://simulated//", confirm_timeout_s=30.0, heartbeat_s=15)


class Stand:
    """A broker, and one open bus on it."""

    def __init__(self, prefetch: int = 10, **options: Any) -> None:
        self.clock = SettableClock()
        self.broker = Broker(self.clock, **options)
        self.broker.bind("all", self.broker.topology.assignments, "#")
        self.prefetch = prefetch
        self.host, self.bus = self.start()

    def start(self) -> tuple[Host, RabbitBus]:
        """Start another process."""
        host = Host(self.broker)
        bus = SimulatedBus(host, SETTINGS, prefetch=self.prefetch, name="test")
        bus.open()
        return host, bus

    def produce(self, *bodies: bytes) -> None:
        """Publish events."""
        for body in bodies:
            self.broker.publish(self.broker.topology.events, "volume-created", body, {})

    def ready(self) -> list[bytes]:
        """Return what waits for a consumer."""
        return [message.body for message in self.broker.work.ready]

    def stored(self) -> list[bytes]:
        """Return what subscribers got."""
        return [message.body for message in self.broker.queues["all"].ready]

    def announcement(self, body: bytes) -> Outgoing:
        """Make a message for subscribers."""
        exchange = self.broker.topology.assignments
        return Outgoing(exchange, "key-assigned.volume.p", body, {"message_id": body.decode()})


def taken(bus: RabbitBus) -> list[Delivery]:
    return bus.receive(100, 0.1)


@pytest.mark.parametrize(("at_front", "order"), [(False, b"cdab"), (True, b"abcd")])
def test_what_comes_back_goes_to_the_back_or_with_a_delivery_limit_to_the_front(
    at_front: bool, order: bytes
) -> None:
    stand = Stand(prefetch=2, requeue_at_front=at_front)
    stand.produce(b"a", b"b", b"c", b"d")
    assert len(taken(stand.bus)) == 2
    stand.host.cut()
    assert b"".join(stand.ready()) == order
    _host, other = stand.start()
    counts = {it.original.body: it.delivery_count for it in taken(other)}
    assert set(counts.values()) == ({1} if at_front else {0})


@pytest.mark.parametrize(
    ("fault", "stored", "ready"),
    [
        (Fault.CRASH_BEFORE, [b"x"], [b"e"]),
        (Fault.CRASH_AFTER, [b"x", b"y"], []),
        (Fault.CRASH_TORN, [b"x"], []),
    ],
)
def test_what_is_written_and_not_read_arrives_or_is_lost(
    fault: Fault, stored: list[bytes], ready: list[bytes]
) -> None:
    stand = Stand()
    stand.produce(b"e")
    stand.bus.send([stand.announcement(b"x")]).result()
    stand.bus.acknowledge(taken(stand.bus))
    # Two writes, and the next step is the end: of the second, or of a third.
    stand.host.steps.plan(fault, 0 if fault is Fault.CRASH_AFTER else 1)
    with pytest.raises(Crash):
        stand.bus.send([stand.announcement(b"y"), stand.announcement(b"z")]).result()
    assert stand.stored() == stored
    assert stand.ready() == ready


@given(st.integers(0, 1_000), st.integers(1, 8))
def test_however_awkward_every_message_is_confirmed_once(seed: int, number: int) -> None:
    stand = Stand(manner=AwkwardManner(seed))
    stand.broker.declare_exchange("kmworker.nowhere")
    bodies = [b"%d" % index for index in range(number)]
    unrouted = Outgoing("kmworker.nowhere", "key", b"", {"message_id": "0"})
    confirms = stand.bus.send([*map(stand.announcement, bodies), unrouted]).result()
    assert confirms == [Confirm.STORED] * number + [Confirm.UNROUTED]
    assert stand.stored() == bodies
    confirmed = [effect.body for effect in stand.broker.journal if effect.kind == "confirmed"]
    assert sorted(confirmed) == sorted([*bodies, b""])


def test_a_refused_message_is_not_stored_and_the_publisher_is_told() -> None:
    stand = Stand()
    stand.broker.refuse_next()
    confirms = stand.bus.send([stand.announcement(b"x"), stand.announcement(b"y")]).result()
    assert confirms == [Confirm.REFUSED, Confirm.STORED]
    assert stand.stored() == [b"y"]


def test_a_confirm_that_never_comes_is_waited_for_as_long_as_the_setting_says() -> None:
    stand = Stand()
    stand.host.steps.plan(Fault.SILENCE)
    before = stand.clock.monotonic()
    with pytest.raises(BrokerUnavailable, match="not confirmed within 30 s"):
        stand.bus.send([stand.announcement(b"x")]).result()
    assert stand.clock.monotonic() - before == pytest.approx(30.0)
    assert stand.stored() == [b"x"]


def test_behind_an_alarm_publishing_waits_and_acknowledgements_get_through() -> None:
    stand = Stand()
    stand.produce(b"e")
    deliveries = taken(stand.bus)
    stand.broker.raise_alarm(seconds=100.0)
    with pytest.raises(BrokerUnavailable, match="not confirmed"):
        stand.bus.send([stand.announcement(b"x")]).result()
    stand.bus.acknowledge(deliveries)
    assert stand.broker.is_settled
    assert not stand.stored()
    stand.clock.advance(100.0)
    # What was written on the connection that was given up is read now.
    assert stand.broker.is_settled
    assert stand.stored() == [b"x"]


def test_a_cancelled_consumer_is_an_error_and_a_new_one_gets_everything() -> None:
    stand = Stand()
    stand.produce(b"a")
    assert len(taken(stand.bus)) == 1
    stand.broker.cancel_consumers()
    stand.produce(b"b")
    assert not taken(stand.bus)
    with pytest.raises(BrokerUnavailable, match="cancelled"):
        taken(stand.bus)
    stand.bus.open()
    bodies = set()
    for _ in range(2):
        deliveries = taken(stand.bus)
        bodies |= {it.original.body for it in deliveries}
        stand.bus.acknowledge(deliveries)
    assert bodies == {b"a", b"b"}


def test_publishing_to_an_exchange_that_is_gone_ends_the_connection_and_it_is_declared_again() -> (
    None
):
    stand = Stand()
    stand.broker.delete_exchange(stand.broker.topology.assignments)
    sent = stand.bus.send([stand.announcement(b"x")])
    with pytest.raises(BrokerUnavailable, match="no exchange"):
        sent.result()
    stand.bus.open()
    assert stand.broker.has_exchange(stand.broker.topology.assignments)


def test_what_a_cancelled_consumer_had_does_not_count_against_the_next() -> None:
    stand = Stand(prefetch=3)
    stand.produce(*(b"%d" % number for number in range(9)))
    assert len(taken(stand.bus)) == 3
    stand.bus._intake._cancel()
    stand.bus._intake._consume(4)
    stand.bus._intake._width = 4
    assert len(taken(stand.bus)) == 4


def test_an_unknown_tag_ends_the_channel_and_hands_back_what_it_had() -> None:
    stand = Stand()
    stand.produce(b"a", b"b")
    deliveries = taken(stand.bus)
    stand.bus.acknowledge(deliveries[:1])
    stand.bus._intake._channel.basic_ack(deliveries[0].tag)
    with pytest.raises(BrokerUnavailable, match="unknown delivery tag 1"):
        taken(stand.bus)
    assert stand.broker.protocol_errors == ["unknown delivery tag 1"]
    assert stand.ready() == [b"b"]


def test_a_connection_on_which_nothing_moves_is_given_up_after_two_heartbeats() -> None:
    stand = Stand()
    stand.produce(b"a")
    stand.host.steps.plan(Fault.STALL)
    assert not taken(stand.bus)
    stand.bus.tick()
    stand.clock.advance(31.0)
    with pytest.raises(BrokerUnavailable, match="heartbeats"):
        stand.bus.tick()
    stand.bus.open()
    assert [it.delivery_count for it in taken(stand.bus)] == [1]


def test_a_restart_ends_connections_and_keeps_messages() -> None:
    stand = Stand()
    stand.produce(b"a")
    deliveries = taken(stand.bus)
    stand.bus.acknowledge(deliveries)
    stand.broker.restart()
    with pytest.raises(BrokerUnavailable):
        taken(stand.bus)
    assert stand.ready() == [b"a"]


def test_a_lost_link_is_noticed_when_it_is_used() -> None:
    stand = Stand()
    stand.host.cut(Links.PUBLISHER)
    assert not taken(stand.bus)
    with pytest.raises(BrokerUnavailable):
        stand.bus.send([stand.announcement(b"x")]).result()


def test_what_came_back_too_often_is_thrown_away() -> None:
    stand = Stand()
    stand.broker.work.delivery_limit = 2
    stand.produce(b"one")
    counts = []
    for _ in range(3):
        counts += [it.delivery_count for it in stand.bus.receive(1, 0.0)]
        stand.host.cut()
        stand.host, stand.bus = stand.start()
    assert counts == [0, 1, 2]
    assert stand.ready() == []
