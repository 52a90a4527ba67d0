"""The outside's end of RabbitMQ: a producer, and queues of its own that outlast the broker.

They are durable, as the queues of real subscribers are: what is announced while nobody
listens, or just before the broker dies, is heard afterwards.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties

from tests.kit.outside.client import ASSIGNED, EVERYTHING, Client, connected
from tests.kit.outside.heard import Delivery
from tests.kit.outside.words import Message
from tests.kit.parties.end import End
from tests.kit.parties.sides import Lost
from tests.kit.servers import ADMIN

PATIENCE_S: Final = 300.0
PREFETCH: Final = 500
LISTEN_S: Final = 0.1
HEARTBEAT_S: Final = 20
# What a connection may raise while it is being lost.
LOST: Final = (AMQPError, OSError)
# It tells of every connection that is lost, at length; here that is the rule.
logging.getLogger("pika").setLevel(logging.CRITICAL)
QUORUM: Final = {"x-queue-type": "quorum"}


class AmqpLine:
    """A connection for each role that it needs, for the thread that opened it."""

    def __init__(
        self, url_of: Callable[[str], str], namespace: str, *, signs: bool = False
    ) -> None:
        self._client = Client(
            url_of, namespace, heartbeat_s=HEARTBEAT_S, blocked_s=PATIENCE_S, signs=signs
        )

    def publish(self, message: Message) -> bool:
        try:
            return self._client.publish_once(message)
        except LOST as error:
            raise Lost from error

    def hear(self, queue: str, take: Callable[[Delivery], None]) -> None:
        def on_message(
            channel: BlockingChannel,
            method: Basic.Deliver,
            properties: BasicProperties,
            body: bytes,
        ) -> None:
            # The broker's own word, on what we did not acknowledge before it died.
            headers = dict(properties.headers or {})
            headers.pop("x-delivery-count", None)
            properties.headers = headers or None
            take(Delivery(body, method.routing_key or "", properties))
            channel.basic_ack(method.delivery_tag or 0)

        try:
            channel = self._client.connection("subscriber").channel()
            channel.basic_qos(prefetch_count=PREFETCH)
            channel.basic_consume(queue, on_message)
        except LOST as error:
            raise Lost from error

    def listen(self) -> None:
        try:
            for connection in self._client.connections:
                connection.process_data_events(time_limit=LISTEN_S)
        except LOST as error:
            raise Lost from error

    def close(self) -> None:
        for connection in self._client.connections:
            # It may be gone already, and that is what is wanted.
            with suppress(*LOST):
                connection.close()


class AmqpEnd(End):
    """All that the outside does with RabbitMQ."""

    def __init__(self, url_of: Callable[[str], str], namespace: str, hears: str = ASSIGNED) -> None:
        """Hear every assignment, or those with such routing keys."""
        super().__init__(url_of, namespace)
        self._hears = hears

    def ready(self, queue: str) -> int:
        with connected(self.url_of, self.namespace) as client:
            return client.ready(queue)

    def _bind(self) -> None:
        with connected(self.url_of, self.namespace) as client:
            # Only an administrator binds to the dead letters: see config/rabbitmq/README.md.
            for role, exchange, key in (("subscriber", "assignments", self._hears),
                                        (ADMIN, "dead", EVERYTHING)):  # fmt: skip
                with client.connection(role).channel() as channel:
                    queue = self._queue(exchange)
                    channel.queue_declare(queue, durable=True, arguments=dict(QUORUM))
                    channel.queue_bind(queue, f"{self.namespace}.{exchange}", key)

    def _line(self) -> AmqpLine:
        return AmqpLine(self.url_of, self.namespace)

    def _listening_line(self) -> AmqpLine:
        line = self._line()
        try:
            line.hear(self._queue("assignments"), self.heard.take_assignment)
            line.hear(self._queue("dead"), self.heard.take_letter)
        except Lost:
            line.close()
            raise
        return line
