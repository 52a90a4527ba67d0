"""A producer, a subscriber and an operator who reads dead letters, each with its own account.

They do what the contract asks of them: they publish persistent, confirmed and mandatory, bind
queues of their own, and declare none of the product's names.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import ChannelClosedByBroker, UnroutableError
from pika.spec import Basic, BasicProperties

from tests.kit.outside.heard import Delivery, Heard, Outside
from tests.kit.outside.words import Message
from tests.kit.polling import PATIENCE_S, until
from tests.kit.servers.accounts import ADMIN

PUMP_S: Final = 0.05
ASSIGNED: Final = "key-assigned.#"
CHANGES: Final = "*.#"
EVERYTHING: Final = "#"
EVENT_TYPES: Final = frozenset(
    {"volume-created", "snapshot-taken", "replica-added"}
    | {"volume-deleted", "snapshot-deleted", "replica-removed"}
    | {"volume-attached", "volume-detached"}
)
NOT_FOUND: Final = 404
Take = Callable[[Delivery], None]
NAMED: Final = ("content_type", "correlation_id", "app_id", "timestamp", "message_id")


@dataclass(slots=True)
class Client(Outside):
    """Connections to the broker, one for each role, and everything that has come in over them."""

    url_of: Callable[[str], str]
    namespace: str
    heard: Heard = field(default_factory=Heard)
    heartbeat_s: int = 0
    """None by itself: commands are waited for while nobody serves these connections."""
    blocked_s: float | None = None
    """How long the broker may take nothing; None: for ever."""
    signs: bool = False
    """What is published says as whom, and the broker compares that."""
    _connections: dict[str, BlockingConnection] = field(default_factory=dict)
    _listening: list[BlockingConnection] = field(default_factory=list)
    _publishers: dict[str, BlockingChannel] = field(default_factory=dict)

    def connection(self, role: str) -> BlockingConnection:
        """Return the connection of this role, opened when it is first asked for."""
        if role not in self._connections:
            parameters = pika.URLParameters(self.url_of(role))
            parameters.heartbeat = self.heartbeat_s
            parameters.blocked_connection_timeout = self.blocked_s
            self._connections[role] = BlockingConnection(parameters)
        return self._connections[role]

    @property
    def connections(self) -> list[BlockingConnection]:
        """Return those that are open, or were."""
        return list(self._connections.values())

    @property
    def admin(self) -> BlockingConnection:
        """Return the administrator's connection, for damage and for what nobody else may see."""
        return self.connection(ADMIN)

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def subscribe(self, routing_key: str = ASSIGNED) -> None:
        """Bind queues of our own to what the worker announces and refuses."""
        self.hear_assignments(self.heard.take_assignment, routing_key)
        self.hear_letters(self.heard.take_letter)

    def hear_letters(self, take: Take) -> None:
        """Bind one more queue of whoever reads dead letters."""
        self._bind("operator", "", f"{self.namespace}.dead", EVERYTHING, take)

    def hear_assignments(self, take: Take, routing_key: str = ASSIGNED) -> None:
        """Bind one more queue of a subscriber's."""
        self._subscribe("assignments", routing_key, take)

    def hear_keys(self, take: Take, routing_key: str = CHANGES) -> None:
        """The same for what becomes of key-ids."""
        self._subscribe("keys", routing_key, take)

    def _subscribe(self, exchange: str, routing_key: str, take: Take) -> None:
        queue = f"{self.namespace}.sub.outside-{uuid4().hex}"
        self._bind("subscriber", queue, f"{self.namespace}.{exchange}", routing_key, take)

    def _bind(self, role: str, queue: str, exchange: str, routing_key: str, take: Take) -> None:
        channel = self.connection(role).channel()
        name = channel.queue_declare(queue, exclusive=True, auto_delete=True).method.queue
        assert name is not None
        channel.queue_bind(name, exchange, routing_key)
        self.consume(role, name, take)

    def consume(self, role: str, queue: str, take: Take) -> None:
        """Take in what comes to a queue that is there."""

        def on_message(
            _: BlockingChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes
        ) -> None:
            take(Delivery(body, method.routing_key or "", properties))

        connection = self.connection(role)
        connection.channel().basic_consume(queue, on_message, auto_ack=True)
        if connection not in self._listening:
            self._listening.append(connection)

    def publish(self, message: Message) -> None:
        """Hand one message to the broker, and return once it has confirmed it."""
        until(
            lambda: self.publish_once(message),
            "the work queue is bound to the events exchange",
        )

    def publish_once(self, message: Message) -> bool:
        """Hand it over; return whether a queue took it."""
        role, properties = sender_of(message), properties_of(message)
        if self.signs:
            properties.user_id = urlsplit(self.url_of(role)).username
        try:
            self._channel(role).basic_publish(
                f"{self.namespace}.events",
                message.routing_key,
                message.body,
                properties,
                mandatory=True,
            )
        except UnroutableError:
            # A worker that has only just started may not have bound its queue yet.
            return False
        return True

    def _channel(self, role: str) -> BlockingChannel:
        if role not in self._publishers:
            self._publishers[role] = self.connection(role).channel()
            self._publishers[role].confirm_delivery()
        return self._publishers[role]

    def pump(self) -> None:
        """Take in what the broker has for us."""
        for connection in self._listening:
            connection.process_data_events(time_limit=PUMP_S / len(self._listening))

    def await_announced(self, subjects: Collection[str], within_s: float = PATIENCE_S) -> None:
        """Listen until all of these are announced."""

        def all_are() -> bool:
            self.pump()
            return self.announced().keys() >= set(subjects)

        until(all_are, f"{len(subjects)} items are announced", within_s=within_s)

    def ready(self, queue: str) -> int:
        """How many messages wait in one of the product's queues."""
        with self.connection("operator").channel() as channel:
            declared = channel.queue_declare(f"{self.namespace}.{queue}", passive=True)
            return declared.method.message_count

    def has(self, what: str, name: str) -> bool:
        """Whether there is an exchange or a queue of this name, without the namespace."""
        channel = self.connection("operator").channel()
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
def connected(url_of: Callable[[str], str], namespace: str) -> Iterator[Client]:
    """Provide a client that listens to nothing yet; it connects as it has something to do."""
    client = Client(url_of, namespace)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def subscribed(url_of: Callable[[str], str], namespace: str) -> Iterator[Client]:
    """Provide a client with its queues bound."""
    with connected(url_of, namespace) as client:
        client.subscribe()
        yield client


def sender_of(message: Message) -> str:
    """Return who may say this: a producer only what is of a known type, who replays anything."""
    return "producer" if message.routing_key in EVENT_TYPES else "operator"


def properties_of(message: Message) -> BasicProperties:
    return delivery_of(message.body, message.routing_key, properties_in(message)).properties


def properties_in(message: Message) -> dict[str, Any]:
    """Return its properties as the product's own code has them."""
    named = {name: getattr(message, name) for name in NAMED} | {
        "application_headers": dict(message.headers) or None,
        "delivery_mode": 2,
    }
    return {name: value for name, value in named.items() if value is not None}


def delivery_of(body: bytes, routing_key: str, properties: Mapping[str, Any]) -> Delivery:
    """Return a message with such properties as the checks know it."""
    named = {**properties}
    headers = named.pop("application_headers", None)
    return Delivery(body, routing_key, BasicProperties(headers=headers, **named))
