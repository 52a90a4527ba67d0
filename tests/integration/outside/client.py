"""A producer, a subscriber and a reader of dead letters, in one connection.

It does what the contract asks of them: it publishes persistent, confirmed and
mandatory, binds queues of its own, and declares none of the product's names.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import ChannelClosedByBroker, UnroutableError
from pika.spec import Basic, BasicProperties

from .polling import until
from .words import Message

PUMP_S: Final = 0.05
NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as the subscriber got it."""

    body: bytes
    routing_key: str
    properties: BasicProperties

    @property
    def headers(self) -> dict[str, Any]:
        return dict(self.properties.headers or {})

    def parsed(self) -> dict[str, Any]:
        event = json.loads(self.body)
        assert isinstance(event, dict)
        return event

    def same_as(self, other: "Delivery") -> bool:
        return (
            self.body == other.body
            and self.routing_key == other.routing_key
            and vars(self.properties) == vars(other.properties)
        )


class Outside(Protocol):
    """Whoever talks to a broker from outside, as the checks need it."""

    @property
    def assignments(self) -> list[Delivery]: ...

    @property
    def letters(self) -> list[Delivery]: ...

    def announced(self) -> dict[str, list[Delivery]]:
        """All announcements by subject, in the order of arrival."""
        ...

    def refused(self) -> dict[bytes, list[Delivery]]:
        """All dead letters by body, in the order of arrival."""
        ...

    def publish(self, message: Message) -> None:
        """Hand one message to the broker."""
        ...

    def pump(self) -> None:
        """Take in what the broker has for us."""
        ...

    def ready(self, queue: str) -> int:
        """How many messages wait in one of the product's queues."""
        ...


@dataclass(slots=True)
class Client:
    """One connection to the broker, and everything that has come in over it."""

    connection: BlockingConnection
    namespace: str
    assignments: list[Delivery] = field(default_factory=list)
    letters: list[Delivery] = field(default_factory=list)
    _publisher: BlockingChannel | None = None

    def subscribe(self) -> None:
        """Bind queues of our own to what the worker announces and refuses."""
        self.bind("assignments", self.assignments)
        self.bind("dead", self.letters)

    def bind(self, exchange: str, into: list[Delivery], routing_key: str = "#") -> None:
        channel = self.connection.channel()
        name = f"{self.namespace}.{exchange}"
        queue = channel.queue_declare("", exclusive=True, auto_delete=True).method.queue
        assert queue is not None
        channel.queue_bind(queue, name, routing_key)

        def take(
            _: BlockingChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes
        ) -> None:
            into.append(Delivery(body, method.routing_key or "", properties))

        channel.basic_consume(queue, take, auto_ack=True)

    def publish(self, message: Message) -> None:
        """Hand one message to the broker, and return once it has confirmed it."""
        until(
            lambda: self._published(message),
            "the work queue is bound to the events exchange",
        )

    def _published(self, message: Message) -> bool:
        try:
            self._channel().basic_publish(
                f"{self.namespace}.events",
                message.routing_key,
                message.body,
                properties_of(message),
                mandatory=True,
            )
        except UnroutableError:
            # A worker that has only just started may not have bound its queue yet.
            return False
        return True

    def _channel(self) -> BlockingChannel:
        if self._publisher is None:
            self._publisher = self.connection.channel()
            self._publisher.confirm_delivery()
        return self._publisher

    def pump(self) -> None:
        """Take in what the broker has for us."""
        self.connection.process_data_events(time_limit=PUMP_S)

    def announced(self) -> dict[str, list[Delivery]]:
        """All announcements by subject, in the order of arrival."""
        found: dict[str, list[Delivery]] = defaultdict(list)
        for delivery in self.assignments:
            found[str(delivery.parsed()["subject"])].append(delivery)
        return found

    def refused(self) -> dict[bytes, list[Delivery]]:
        """All dead letters by body, in the order of arrival."""
        found: dict[bytes, list[Delivery]] = defaultdict(list)
        for delivery in self.letters:
            found[delivery.body].append(delivery)
        return found

    def has_topology(self) -> bool:
        exchanges = ("events", "assignments", "dead")
        return all(self._has("exchange", name) for name in exchanges) and all(
            self._has("queue", name) for name in ("events.work", "dead")
        )

    def ready(self, queue: str) -> int:
        """How many messages wait in one of the product's queues."""
        with self.connection.channel() as channel:
            declared = channel.queue_declare(f"{self.namespace}.{queue}", passive=True)
            return declared.method.message_count

    def remove_topology(self) -> None:
        """Leave nothing behind on a broker that other tests use, too."""
        with self.connection.channel() as channel:
            for queue in ("events.work", "dead"):
                channel.queue_delete(f"{self.namespace}.{queue}")
            for exchange in ("events", "assignments", "dead"):
                channel.exchange_delete(f"{self.namespace}.{exchange}")

    def _has(self, what: str, name: str) -> bool:
        channel = self.connection.channel()
        full = f"{self.namespace}.{name}"
        try:
            if what == "queue":
                channel.queue_declare(full, passive=True)
            else:
                channel.exchange_declare(full, passive=True)
        except ChannelClosedByBroker as closed:
            if closed.reply_code != NOT_FOUND:
                raise
            return False
        channel.close()
        return True


@contextmanager
def connected(url: str, namespace: str) -> Iterator[Client]:
    """Connect, and wait until the first worker has declared what there is to bind to."""
    parameters = pika.URLParameters(url)
    parameters.virtual_host = parameters.virtual_host or "/"
    # Commands are waited for while nobody serves this connection.
    parameters.heartbeat = 0
    connection = BlockingConnection(parameters)
    try:
        yield Client(connection, namespace)
    finally:
        connection.close()


@contextmanager
def subscribed(url: str, namespace: str) -> Iterator[Client]:
    """Connect, wait for the first worker's declarations, and bind our queues."""
    with connected(url, namespace) as client:
        until(client.has_topology, "a worker declares exchanges and queues")
        client.subscribe()
        yield client


def properties_of(message: Message) -> BasicProperties:
    return BasicProperties(
        content_type=message.content_type,
        correlation_id=message.correlation_id,
        app_id=message.app_id,
        timestamp=message.timestamp,
        message_id=message.message_id,
        headers=dict(message.headers) or None,
        delivery_mode=2,
    )
