"""The queue of clients' requests: declared where a key server may, and waited for where not."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import amqp
import pytest

from kmworker.bus.request_queue import RabbitRequestQueue
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


def test_what_is_something_else_is_refused(new_queue: NewQueue, producer: Producer) -> None:
    channel = producer.connection.channel()
    channel.exchange_declare(producer.topology.requests, "topic", durable=True, auto_delete=False)
    with pytest.raises(SetupError, match="as something else"):
        new_queue(ADMIN).open()
