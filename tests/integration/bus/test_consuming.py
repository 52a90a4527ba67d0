"""Deliveries and acknowledgements: bounded, counted, and void with their channel."""

from collections.abc import Callable
from struct import pack

import pytest

from kmworker.bus.rabbit import RabbitBus
from kmworker.domain.message import Outgoing
from kmworker.errors import BrokerUnavailable
from tests.integration.bus.conftest import (
    NewBus,
    Producer,
    bodies,
    close_as_an_operator,
    cut,
    local_port,
    take,
)
from tests.kit.amqp_frames import Encoded, field, headers
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


# One is put in the broker's place, one stands behind it. Below nothing, no turn would ever have
# come for it, and with it for no other event.
@pytest.mark.parametrize("own", [(99,), (0, -1)])
def test_each_delivery_without_an_acknowledgement_is_counted_whatever_its_producer_says(
    bus: RabbitBus, producer: Producer, own: tuple[int, ...]
) -> None:
    said = [field(b"x-delivery-count", b"l", pack(">q", count)) for count in own]
    message = Encoded(b"again", headers(b"".join([*said, field(b"mine", b"t", b"\1")])))
    producer.channel.basic_publish(message, producer.topology.events, "volume-created")
    counts = []
    for _ in range(4):
        (delivery,) = take(bus, 1)
        counts.append(delivery.delivery_count)
        assert delivery.original.properties["application_headers"]["mine"] is True
        bus.close()
        bus.open()
    assert counts == [0, 1, 2, 3]


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


@pytest.mark.parametrize(("lost", "generation"), [("consumer", 2), ("publisher", 1)])
def test_a_tick_notices_that_either_connection_is_gone(
    bus: RabbitBus, lost: str, generation: int
) -> None:
    cut(bus._link if lost == "consumer" else bus._publisher._link)
    until(lambda: _tick_fails(bus), "the loss is noticed")
    bus.open()
    assert bus.generation == generation
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
