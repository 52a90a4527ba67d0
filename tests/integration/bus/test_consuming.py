"""Deliveries and acknowledgements: bounded, counted, and void with their channel."""

from collections.abc import Callable
from struct import pack

import amqp
import pytest

from kmworker.bus.rabbit import RabbitBus
from kmworker.domain.message import Outgoing
from kmworker.errors import BrokerUnavailable
from tests.integration.bus.conftest import (
    NewBus,
    Producer,
    Raw,
    bodies,
    close_as_an_operator,
    cut,
    local_port,
    take,
)
from tests.kit.amqp_frames import field, headers
from tests.kit.polling import until
from tests.kit.servers import ADMIN, RabbitMQ


def test_prefetch_is_per_consumer_and_bounds_what_is_kept(
    new_bus: NewBus, producer: Producer
) -> None:
    first, second = new_bus(prefetch=3), new_bus(prefetch=5)
    first.open()
    for number in range(12):
        producer.publish(b"%d" % number)
    until(lambda: _kept(first) == 1, "one at first, to see what comes")
    had = take(first, 1)
    first.receive(0, 0.0)
    until(lambda: _kept(first) == 3, "the first consumer has what it may have")
    second.open()
    had_by_second = take(second, 1)
    second.receive(0, 0.0)
    until(lambda: _kept(second) == 5, "the second consumer has what it may have")
    for _ in range(5):
        first.tick()
    assert _kept(first) == 3
    assert first.counts().work == 4
    first.acknowledge([*had, *take(first, 2)])
    second.acknowledge(had_by_second)
    until(lambda: first.counts().work == 2, "two more were sent for those of the wide consumer")


def test_what_is_not_settled_is_left_out_of_the_acknowledgement(
    new_bus: NewBus, producer: Producer
) -> None:
    bus = new_bus()
    bus.open()
    for number in range(8):
        producer.publish(b"%d" % number)
    deliveries = take(bus, 8)
    bus.acknowledge([deliveries[number] for number in (0, 1, 2, 4, 7)])
    assert sorted(bus._intake.unacknowledged) == [4, 6, 7]
    bus.acknowledge([deliveries[3]])
    # A synchronous call behind them: the acknowledgements have arrived.
    bus.counts()
    bus.close()
    bus.open()
    again = take(bus, 1)
    bus.acknowledge(again)
    assert sorted(bodies([*again, *take(bus, 1)])) == [b"5", b"6"]
    assert bus.counts().work == 0


def test_each_delivery_without_an_acknowledgement_is_counted(
    bus: RabbitBus, producer: Producer
) -> None:
    producer.publish(b"again", application_headers={"x-delivery-count": 99, "mine": "kept"})
    counts = []
    for _ in range(4):
        (delivery,) = take(bus, 1)
        counts.append(delivery.delivery_count)
        assert delivery.original.properties["application_headers"]["mine"] == "kept"
        bus.close()
        bus.open()
    assert counts == [0, 1, 2, 3]


def test_a_producers_own_count_behind_the_brokers_is_not_believed(
    bus: RabbitBus, producer: Producer
) -> None:
    # Below nothing, no turn would ever have come for it, and with it for no other event.
    twice = [field(b"x-delivery-count", b"l", pack(">q", count)) for count in (0, -1)]
    message = Raw(b"again", headers(b"".join(twice)))
    producer.channel.basic_publish(message, producer.topology.events, "volume-created")
    counts = []
    for _ in range(4):
        counts += [delivery.delivery_count for delivery in take(bus, 1)]
        bus.close()
        bus.open()
    assert counts == [0, 1, 2, 3]


def test_an_acknowledgement_of_an_older_channel_is_skipped(
    bus: RabbitBus, producer: Producer
) -> None:
    producer.publish(b"a")
    producer.publish(b"b")
    before = take(bus, 2)
    bus.close()
    bus.open()
    after = take(bus, 1)
    bus.acknowledge(before)
    assert len(bus._intake.unacknowledged) == 1
    bus.acknowledge(after)
    bus.acknowledge(take(bus, 1))
    bus.counts()
    bus.close()
    bus.open()
    assert bus.counts().work == 0
    assert not bus.receive(1, 0)


def test_a_queue_that_is_deleted_is_declared_again(
    new_bus: NewBus, producer: Producer, rabbitmq: RabbitMQ, namespace: str
) -> None:
    # By a worker that may.
    bus = new_bus(url=rabbitmq.url_of(ADMIN, namespace))
    bus.open()
    producer.channel.queue_delete(producer.topology.work)
    until(lambda: _fails(bus), "the consumer is told")
    bus.open()
    producer.publish(b"new")
    assert bodies(take(bus, 1)) == [b"new"]


def test_connections_that_an_operator_closes_are_renewed(
    bus: RabbitBus, producer: Producer, rabbitmq: RabbitMQ
) -> None:
    producer.publish(b"a")
    take(bus, 1)
    close_as_an_operator(rabbitmq, local_port(bus._link), local_port(bus._publisher._link))
    until(lambda: _fails(bus), "the loss is noticed")
    bus.open()
    assert bus.generation == 2
    (delivery,) = take(bus, 1)
    assert delivery.delivery_count == 1
    bus.acknowledge([delivery])
    assert bus.counts().work == 0
    # The other connection was closed as well, and shows it at the next use.
    until(lambda: _tick_fails(bus) or not bus._publisher.is_open, "the loss is noticed")
    bus.open()
    assert bus.generation == 2
    bus.tick()


def test_a_tick_notices_that_the_consumer_is_gone(bus: RabbitBus) -> None:
    cut(bus._link)
    until(lambda: _tick_fails(bus), "the loss is noticed")
    bus.open()
    assert bus.generation == 2
    bus.tick()


def test_a_tick_notices_that_the_publisher_is_gone(bus: RabbitBus) -> None:
    cut(bus._publisher._link)
    until(lambda: _tick_fails(bus), "the loss is noticed")
    bus.open()
    assert bus.generation == 1
    bus.tick()


@pytest.mark.parametrize("call", ["receive", "acknowledge", "counts", "send"])
def test_every_call_on_a_connection_that_is_gone_says_so(
    call: str, bus: RabbitBus, producer: Producer
) -> None:
    producer.publish(b"a")
    deliveries = take(bus, 1)
    bus._link.discard()
    bus._publisher._link.discard()
    calls: dict[str, Callable[[], object]] = {
        "receive": lambda: bus.receive(1, 0.1),
        "acknowledge": lambda: bus.acknowledge(deliveries),
        "counts": bus.counts,
        "send": lambda: bus.send([Outgoing(bus._topology.dead, "key", b"", {})]),
    }
    with pytest.raises(BrokerUnavailable):
        calls[call]()


def test_the_counts_are_of_both_queues(bus: RabbitBus, producer: Producer) -> None:
    producer.publish(b"a")
    bus.acknowledge(take(bus, 1))
    for number in range(3):
        producer.channel.basic_publish(_message(number), producer.topology.dead, "internal.unknown")
    until(lambda: bus.counts().dead == 3, "three letters are ready")
    counts = bus.counts()
    assert counts.work == 0
    until(lambda: bus.counts().consumers == 1, "one consumer is left")


def _kept(bus: RabbitBus) -> int:
    bus.tick()
    return len(bus._intake.unacknowledged)


def _fails(bus: RabbitBus) -> bool:
    try:
        bus.receive(1, 0.1)
    except BrokerUnavailable:
        return True
    return False


def _tick_fails(bus: RabbitBus) -> bool:
    try:
        bus.tick()
    except BrokerUnavailable:
        return True
    return False


def _message(number: int) -> object:
    return amqp.Message(b"%d" % number)
