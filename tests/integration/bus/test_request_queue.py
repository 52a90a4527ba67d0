"""The queues that a key server reads: declared where it may, and waited for where it may not."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import amqp
import pytest

from kmworker.bus.request_queue import RabbitRequestQueue
from kmworker.bus.revocation_queue import RabbitRevocationQueue
from kmworker.errors import BrokerUnavailable, SetupError
from kmworker.settings import BrokerSettings
from kmworker.wire.requests.definition import REQUEST_TYPES
from tests.integration.bus.conftest import Producer
from tests.kit.polling import until
from tests.kit.servers import ADMIN, RabbitMQ

NewQueue = Callable[[str], RabbitRequestQueue]


@pytest.fixture(autouse=True)
def bare(rabbitmq: RabbitMQ, namespace: str) -> None:
    """The accounts are there, and no names yet."""
    rabbitmq.define(namespace, names=False)


@pytest.fixture
def new_queue(rabbitmq: RabbitMQ, namespace: str) -> Iterator[NewQueue]:
    with ExitStack() as stack:

        def make(account: str) -> RabbitRequestQueue:
            settings = BrokerSettings(url=rabbitmq.url_of(account, namespace), namespace=namespace)
            queue = RabbitRequestQueue(settings, "test", prefetch=10)
            stack.callback(queue.close)
            return queue

        yield make


def test_whoever_may_declares_it_and_who_may_not_waits_for_it(
    new_queue: NewQueue, producer: Producer
) -> None:
    modest = new_queue("keyserver")
    with pytest.raises(BrokerUnavailable, match=r"requests missing on the broker; this user may"):
        modest.open()
    able = new_queue(ADMIN)
    able.open()
    able.close()
    modest.open()
    name = producer.topology.requests
    for request_type in REQUEST_TYPES:
        producer.channel.basic_publish(amqp.Message(b"{}"), name, request_type)
    until(lambda: modest.receive(1, 0.1), "a request has arrived")
    # Declaring again with the same arguments is the broker's own comparison.
    quorum = {"x-queue-type": "quorum"}
    producer.channel.queue_declare(name, durable=True, auto_delete=False, arguments=quorum)
    producer.channel.exchange_declare(name, "direct", durable=True, auto_delete=False)


def test_so_is_the_queue_of_what_has_ended(
    rabbitmq: RabbitMQ, namespace: str, producer: Producer
) -> None:
    def queue_of(account: str) -> RabbitRevocationQueue:
        settings = BrokerSettings(url=rabbitmq.url_of(account, namespace), namespace=namespace)
        return RabbitRevocationQueue(settings, "test")

    able, modest = queue_of(ADMIN), queue_of("keyserver")
    with pytest.raises(BrokerUnavailable, match=r"revocations missing on the broker; this user"):
        modest.open()
    able.open()
    able.close()
    with closing(modest):
        modest.open()
        told = [
            (producer.topology.revocations, "any"),
            (producer.topology.assignments, "key-released.volume.p1"),
            (producer.topology.keys, "key-suspended.p1"),
            # Nobody has to give up a key for this one.
            (producer.topology.keys, "key-resumed.p1"),
            (producer.topology.keys, "key-destroyed.p1"),
        ]
        for exchange, key in told:
            producer.channel.basic_publish(amqp.Message(key.encode()), exchange, key)
        heard: list[bytes] = []
        wanted = [key.encode() for _exchange, key in told if "resumed" not in key]

        def hears() -> bool:
            heard.extend(it.original.body for it in modest.receive(10))
            return heard == wanted

        until(hears, "it hears what has ended, and nothing else")


def test_what_is_something_else_is_refused(new_queue: NewQueue, producer: Producer) -> None:
    channel = producer.connection.channel()
    channel.exchange_declare(producer.topology.requests, "topic", durable=True, auto_delete=False)
    with pytest.raises(SetupError, match="as something else"):
        new_queue(ADMIN).open()
