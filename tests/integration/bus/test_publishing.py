"""Publishing: confirmed, mandatory, and apart from consuming."""

import time

import pytest

from kmworker.bus.amqp.link import BLOCKED
from kmworker.bus.rabbit import RabbitBus
from kmworker.domain.message import Confirm, Outgoing
from kmworker.errors import BrokerUnavailable
from tests.integration.bus.conftest import NewBus, Producer, bodies, take
from tests.kit.polling import until
from tests.kit.servers import ADMIN, RabbitMQ

STORED, UNROUTED = Confirm.STORED, Confirm.UNROUTED


@pytest.fixture(scope="session")
def rabbitmq(roomy_rabbitmq: RabbitMQ) -> RabbitMQ:
    """A broker that takes larger messages than the shipped settings let through."""
    return roomy_rabbitmq


def outgoing(bus: RabbitBus, number: int, exchange: str = "") -> Outgoing:
    """A message that only some queue may be bound for."""
    properties = {"message_id": f"m{number}", "delivery_mode": 2}
    key = f"kind.{'routed' if number % 3 else 'lost'}"
    return Outgoing(exchange or bus._topology.assignments, key, b"%d" % number, properties)


def test_hundreds_are_confirmed_together_and_each_knows_whether_it_was_routed(
    bus: RabbitBus, producer: Producer
) -> None:
    queue = producer.channel.queue_declare(exclusive=True).queue
    producer.channel.queue_bind(queue, producer.topology.assignments, "#.routed")
    confirms = bus.send([outgoing(bus, number) for number in range(400)]).result()
    assert confirms == [STORED if number % 3 else UNROUTED for number in range(400)]
    assert bus.send([outgoing(bus, 1)]).result() == [STORED]


def test_large_messages_are_cut_into_frames(bus: RabbitBus, producer: Producer) -> None:
    queue = producer.subscribe(producer.topology.assignments)
    body = bytes(range(256)) * 2000
    assert bus.send([Outgoing(producer.topology.assignments, "key", body, {})]).result() == [STORED]
    assert producer.get(queue).body == body


def test_an_exchange_that_is_gone_ends_the_connection_and_is_declared_again(
    new_bus: NewBus, producer: Producer, rabbitmq: RabbitMQ, namespace: str
) -> None:
    # By a worker that may.
    bus = new_bus(url=rabbitmq.url_of(ADMIN, namespace))
    bus.open()
    producer.channel.exchange_delete(producer.topology.assignments)
    with pytest.raises(BrokerUnavailable):
        bus.send([outgoing(bus, 1)]).result()
    # Only the publishing connection was lost: a restart of both declares the names.
    bus.close()
    bus.open()
    assert bus.send([outgoing(bus, 1)]).result() == [UNROUTED]


def test_a_broker_that_takes_nothing_in_still_takes_acknowledgements(
    new_bus: NewBus, producer: Producer, rabbitmq: RabbitMQ
) -> None:
    # On a busy machine the control program takes longer than short heartbeats allow for.
    bus = new_bus(confirm_timeout_s=1.0, heartbeat_s=60)
    bus.open()
    producer.publish(b"event")
    deliveries = take(bus, 1)
    rabbitmq.ctl("set_vm_memory_high_watermark", "0.000001")
    try:
        # The alarm is raised within a moment.
        refusal = until(lambda: _refused(bus), "the broker takes nothing in")
        assert f"not confirmed within 1 s: {BLOCKED}" in refusal
        assert bus.generation == 1
        bus.acknowledge(deliveries)
        assert bus.counts().work == 0
    finally:
        rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")
    bus.open()
    assert bus.send([outgoing(bus, 1)]).result() == [UNROUTED]
    assert bus.generation == 1
    bus.close()
    bus.open()
    assert bus.counts().work == 0


def test_heartbeats_keep_idle_connections_open(new_bus: NewBus, producer: Producer) -> None:
    """A broker drops a client that it has not heard of for two intervals."""
    bus = new_bus(heartbeat_s=5)
    bus.open()
    end = time.monotonic() + 3 * 5 + 1
    while time.monotonic() < end:
        bus.tick()
        time.sleep(0.5)
    producer.publish(b"event")
    assert bodies(take(bus, 1)) == [b"event"]
    assert bus.send([outgoing(bus, 1)]).result() == [UNROUTED]
    assert bus.generation == 1


def _refused(bus: RabbitBus) -> str:
    try:
        bus.send([outgoing(bus, 1)]).result()
    except BrokerUnavailable as error:
        return str(error)
    return ""


def test_confirms_that_nobody_asks_for_keep_nobody_from_waiting(bus: RabbitBus) -> None:
    for _ in range(3):
        bus.send([outgoing(bus, number) for number in range(10)])
        time.sleep(0.1)
    began, looks = time.monotonic(), 0
    while time.monotonic() - began < 0.5:
        assert bus.receive(10, 0.1) == []
        looks += 1
    assert looks < 20


def test_a_consumer_is_looked_after_while_the_publisher_is_lost(
    bus: RabbitBus, producer: Producer
) -> None:
    bus._publisher.abandon()
    producer.publish(b"event")

    def read() -> bool:
        bus.tick()
        return bool(bus._intake.fresh)

    until(read, "it is read from the socket")
    assert bodies(bus.receive(1, 0.0)) == [b"event"]
