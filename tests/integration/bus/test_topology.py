"""Declaring what is missing, checking what is there, refusing what is something else."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from kmworker.bus.rabbit import RabbitBus
from kmworker.bus.topology import Topology
from kmworker.errors import BrokerUnavailable, SetupError
from tests.integration.bus.conftest import NewBus, Producer, bodies, take
from tests.servers import RabbitMQ

QUORUM = {"x-queue-type": "quorum"}


@pytest.fixture
def restricted(rabbitmq: RabbitMQ, namespace: str) -> Iterator[str]:
    """The URL of a user who may read and write, and declare nothing."""
    user, password = f"worker-{namespace}", "p@ss/word"
    rabbitmq.ctl("add_user", user, password)
    rabbitmq.ctl("set_permissions", user, "^$", ".*", ".*")
    yield f"amqp://{user}:{quote(password, safe='')}@127.0.0.1:{rabbitmq.port}/%2F"
    rabbitmq.ctl("delete_user", user)


def test_everything_is_declared_from_nothing(bus: RabbitBus, producer: Producer) -> None:
    names = bus._topology
    channel = producer.connection.channel()
    # Declaring again with the same arguments is the broker's own comparison.
    for queue in (names.work, names.dead):
        channel.queue_declare(queue, durable=True, auto_delete=False, arguments=QUORUM)
    for exchange in (names.events, names.assignments, names.dead):
        channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)
    producer.publish(b"any key will do", key="some.key.or.other")
    assert bodies(take(bus, 1)) == [b"any key will do"]


def test_what_is_there_is_taken_as_it_is(bus: RabbitBus, new_bus: NewBus) -> None:
    second = new_bus()
    second.open()
    assert second.counts().consumers == 2


def test_without_the_right_to_declare_it_is_enough_that_everything_is_there(
    bus: RabbitBus, new_bus: NewBus, producer: Producer, restricted: str
) -> None:
    modest = new_bus(url=restricted)
    modest.open()
    bus.close()
    producer.publish(b"event")
    deliveries = take(modest, 1)
    assert modest.counts().consumers == 1
    modest.acknowledge(deliveries)
    assert modest.counts().work == 0


def test_what_is_missing_and_may_not_be_declared_is_waited_for(
    new_bus: NewBus, topology: Topology, restricted: str
) -> None:
    modest = new_bus(url=restricted)
    with pytest.raises(BrokerUnavailable, match="may not declare it"):
        modest.open()
    operator = new_bus()
    operator.open()
    modest.open()
    assert modest.counts().consumers == 2


@pytest.mark.parametrize("what", ["queue", "exchange"])
def test_a_name_that_is_something_else_is_refused(
    what: str, new_bus: NewBus, producer: Producer
) -> None:
    channel = producer.connection.channel()
    if what == "queue":
        channel.queue_declare(producer.topology.work, durable=True, auto_delete=False)
    else:
        channel.exchange_declare(
            producer.topology.events, "fanout", durable=True, auto_delete=False
        )
    bus = new_bus()
    with pytest.raises(SetupError, match="as something else"):
        bus.open()


def test_a_refused_password_is_waited_out_and_not_told(new_bus: NewBus, rabbitmq: RabbitMQ) -> None:
    bus = new_bus(url=f"amqp://guest:secret-word@127.0.0.1:{rabbitmq.port}/%2F")
    with pytest.raises(BrokerUnavailable) as raised:
        bus.open()
    assert "secret-word" not in str(raised.value)


def test_a_broker_that_is_not_there_is_unavailable(new_bus: NewBus) -> None:
    bus = new_bus(url="amqp://guest:guest@127.0.0.1:1//", connect_timeout_s=1.0)
    with pytest.raises(BrokerUnavailable, match=r"amqp://guest:\*\*\*@127\.0\.0\.1:1//"):
        bus.open()


def test_no_url_is_a_matter_of_setup(new_bus: NewBus) -> None:
    with pytest.raises(SetupError, match="no broker is configured"):
        new_bus(url=None)
