"""Declaring what is missing, checking what is there, refusing what is something else."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from kmworker.bus.rabbit import RabbitBus
from kmworker.domain.message import Outgoing
from kmworker.errors import BrokerUnavailable, SetupError
from tests.integration.bus.conftest import NewBus, Producer, bodies, take
from tests.kit.polling import until
from tests.kit.servers import ADMIN, RabbitMQ

QUORUM = {"x-queue-type": "quorum"}


@pytest.fixture(autouse=True)
def bare(rabbitmq: RabbitMQ, namespace: str) -> None:
    """The accounts are there, and no names yet."""
    rabbitmq.define(namespace, names=False)


@pytest.fixture
def declaring(new_bus: NewBus, rabbitmq: RabbitMQ, namespace: str) -> RabbitBus:
    """The bus of a worker that may declare, as where nobody restricts it."""
    bus = new_bus(url=rabbitmq.url_of(ADMIN, namespace))
    bus.open()
    return bus


@pytest.fixture
def odd_password(rabbitmq: RabbitMQ, namespace: str) -> Iterator[str]:
    """The URL of a user with a worker's rights whose password has to be written in another way."""
    user, password = f"worker-{namespace}", "p@ss/word"
    with rabbitmq.user(user, password) as permit:
        permit(namespace, "^$", ".*", ".*")
        yield f"amqp://{user}:{quote(password, safe='')}@127.0.0.1:{rabbitmq.port}/{namespace}"


def test_everything_is_declared_from_nothing(declaring: RabbitBus, producer: Producer) -> None:
    names, bus = declaring._topology, declaring
    channel = producer.connection.channel()
    # Declaring again with the same arguments is the broker's own comparison.
    for queue in (names.work, names.dead):
        channel.queue_declare(queue, durable=True, auto_delete=False, arguments=QUORUM)
    for exchange in (names.events, names.assignments, names.dead):
        channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)
    producer.publish(b"any key will do", key="some.key.or.other")
    assert bodies(take(bus, 1)) == [b"any key will do"]


def test_what_is_there_is_taken_as_it_is(
    declaring: RabbitBus, new_bus: NewBus, rabbitmq: RabbitMQ, namespace: str
) -> None:
    second = new_bus(url=rabbitmq.url_of(ADMIN, namespace))
    second.open()
    assert second.counts().consumers == 2


def test_without_the_right_to_declare_it_is_enough_that_everything_is_there(
    declaring: RabbitBus, new_bus: NewBus, producer: Producer, odd_password: str
) -> None:
    modest = new_bus(url=odd_password)
    modest.open()
    declaring.close()
    producer.publish(b"event")
    modest.acknowledge(take(modest, 1))
    until(lambda: modest.counts().consumers == 1, "it is the only one")
    assert modest.counts().work == 0


def test_what_is_missing_and_may_not_be_declared_is_waited_for(
    new_bus: NewBus, rabbitmq: RabbitMQ, namespace: str
) -> None:
    modest = new_bus()
    with pytest.raises(BrokerUnavailable, match="may not declare it"):
        modest.open()
    admin = new_bus(url=rabbitmq.url_of(ADMIN, namespace))
    admin.open()
    modest.open()
    assert modest.counts().consumers == 2


@pytest.mark.parametrize("what", ["events", "assignments", "dead", "anchor"])
def test_an_exchange_that_is_deleted_is_declared_again(
    what: str, declaring: RabbitBus, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = declaring
    monkeypatch.setattr(bus, "_names_due_at", 0.0)
    exchange = getattr(producer.topology, what)
    producer.channel.exchange_delete(exchange)
    if what == "events":
        # Nobody publishes to it from here: it is looked at now and then.
        bus.counts()
    elif what == "anchor":
        with pytest.raises(BrokerUnavailable, match="404"):
            bus.anchor(lambda _kept: b"{}")
    else:
        with pytest.raises(BrokerUnavailable, match="404"):
            bus.send([Outgoing(exchange, "key", b"", {})]).result()
    bus.open()
    producer.channel.exchange_declare(exchange, "topic", passive=True)
    if what == "events":
        producer.publish(b"again")
        assert bodies(take(bus, 1)) == [b"again"]
    bus.anchor(lambda _kept: b"{}")


@pytest.mark.parametrize("what", ["events", "assignments", "dead"])
def test_an_exchange_that_is_deleted_and_may_not_be_declared_is_named(
    what: str, declaring: RabbitBus, new_bus: NewBus, producer: Producer
) -> None:
    modest, bus = new_bus(), declaring
    modest.open()
    bus.close()
    exchange = getattr(producer.topology, what)
    producer.channel.exchange_delete(exchange)
    if what == "events":
        modest._names_due_at = 0.0
    else:
        with pytest.raises(BrokerUnavailable, match="404"):
            modest.send([Outgoing(exchange, "key", b"", {})]).result()
    said = rf"exchange {exchange} missing on the broker; this user may not declare it"
    with pytest.raises(BrokerUnavailable, match=said):
        modest.counts() if what == "events" else modest.open()
    bus.open()
    modest.open()
    modest.close()


@pytest.mark.parametrize("what", ["queue", "exchange"])
def test_a_name_that_is_something_else_is_refused(
    what: str, new_bus: NewBus, producer: Producer, rabbitmq: RabbitMQ, namespace: str
) -> None:
    channel = producer.connection.channel()
    if what == "queue":
        channel.queue_declare(producer.topology.work, durable=True, auto_delete=False)
    else:
        channel.exchange_declare(
            producer.topology.events, "fanout", durable=True, auto_delete=False
        )
    bus = new_bus(url=rabbitmq.url_of(ADMIN, namespace))
    with pytest.raises(SetupError, match="as something else"):
        bus.open()


def test_a_refused_password_is_waited_out_and_not_told(new_bus: NewBus, rabbitmq: RabbitMQ) -> None:
    bus = new_bus(url=f"amqp://worker:secret-word@127.0.0.1:{rabbitmq.port}/kmworker")
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
