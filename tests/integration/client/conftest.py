"""A broker with kmworker's names on it and no worker: what is published stays to be looked at."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import BasicProperties

from kmworker.bus.topology import Topology
from kmworker.model import Assignment
from tests.servers import RabbitMQ
from tests.unit.client.samples import announced

QUORUM = {"x-queue-type": "quorum"}


class Taken(NamedTuple):
    """A message that was on a queue."""

    routing_key: str
    properties: BasicProperties
    document: Any


class Broker:
    """One namespace on a broker, seen by means that are not under test."""

    def __init__(self, server: RabbitMQ, namespace: str) -> None:
        self.url = server.url
        self.namespace = namespace
        self.server = server
        self.topology = Topology(namespace)

    @contextmanager
    def channel(self) -> Iterator[BlockingChannel]:
        """Connect for a moment: a test may have all connections closed."""
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            yield channel

    def declare(self) -> None:
        """Declare what a worker would, as far as clients see it."""
        with self.channel() as channel:
            for exchange in (self.topology.events, self.topology.assignments):
                channel.exchange_declare(exchange, "topic", durable=True)
            channel.queue_declare(self.topology.work, durable=True, arguments=QUORUM)
            channel.queue_bind(self.topology.work, self.topology.events, "#")

    def forget(self, *queues: str) -> None:
        """Leave nothing behind."""
        with self.channel() as channel:
            for queue in (self.topology.work, *queues):
                channel.queue_delete(queue)
            for exchange in (self.topology.events, self.topology.assignments):
                channel.exchange_delete(exchange)

    def announce(self, *assignments: Assignment) -> None:
        """Announce assignments; each has to reach a queue."""
        with self.channel() as channel:
            for assignment in assignments:
                message = announced(assignment, self.topology.assignments)
                channel.basic_publish(
                    message.exchange,
                    message.routing_key,
                    message.body,
                    BasicProperties(delivery_mode=2),
                    mandatory=True,
                )

    def ready(self, queue: str) -> int:
        """Count what waits in a queue."""
        with self.channel() as channel:
            return channel.queue_declare(queue, passive=True).method.message_count

    def taken(self, queue: str) -> list[Taken]:
        """Take all there is."""
        found: list[Taken] = []
        with self.channel() as channel:
            waiting = channel.queue_declare(queue, passive=True).method.message_count
            if waiting:
                for method, properties, body in channel.consume(queue, auto_ack=True):
                    found.append(Taken(str(method.routing_key), properties, json.loads(body)))
                    if len(found) == waiting:
                        break
        return found

    def close_all_connections(self) -> None:
        """Do what an operator, or a node's end, does to its clients."""
        self.server.ctl("close_all_connections", "a test")


@pytest.fixture
def broker(rabbitmq: RabbitMQ, namespace: str) -> Iterator[Broker]:
    """A broker on which a worker has run."""
    broker = Broker(rabbitmq, namespace)
    broker.declare()
    yield broker
    broker.forget(f"{namespace}.sub.test")
