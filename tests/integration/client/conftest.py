"""A broker with kmworker's names on it and no worker: what is published stays to be looked at."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import BasicProperties

from kmworker.domain.model import Assignment
from kmworker.wire.topology import Topology
from tests.kit.announcements import announced
from tests.kit.servers import ADMIN, RabbitMQ

QUORUM = {"x-queue-type": "quorum"}


class Taken(NamedTuple):
    """A message that was on a queue."""

    routing_key: str
    properties: BasicProperties
    document: Any


class Broker:
    """One namespace on a broker, seen by means that are not under test, as its administrator."""

    def __init__(self, server: RabbitMQ, namespace: str) -> None:
        self.namespace = namespace
        self.server = server
        self.topology = Topology(namespace)

    @contextmanager
    def channel(self) -> Iterator[BlockingChannel]:
        """Connect for a moment: a test may have all connections closed."""
        with pika.BlockingConnection(pika.URLParameters(self.url_of(ADMIN))) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            yield channel

    def url_of(self, role: str) -> str:
        """Return where an account finds it."""
        return self.server.url_of(role, self.namespace)

    def wrong_url_of(self, role: str) -> str:
        """Return the same with a password that is not the account's."""
        password = str(urlsplit(self.url_of(role)).password)
        return self.url_of(role).replace(password, "swordfish")

    def declare(self) -> None:
        """Declare all names, as whoever imports the shipped definitions does."""
        self.server.define(self.namespace)

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
def broker(rabbitmq: RabbitMQ, namespace: str) -> Broker:
    """A broker with all names."""
    broker = Broker(rabbitmq, namespace)
    broker.declare()
    return broker


@pytest.fixture
def bare_broker(rabbitmq: RabbitMQ, namespace: str) -> Broker:
    """A broker with the accounts, and no names yet."""
    rabbitmq.define(namespace, names=False)
    return Broker(rabbitmq, namespace)
