"""The outside's end of RabbitMQ: a producer, and queues of its own that outlast the broker.

They are durable, as the queues of real subscribers are: what is announced while nobody
listens, or just before the broker dies, is heard afterwards.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import AMQPError, UnroutableError
from pika.spec import Basic, BasicProperties

from tests.chaos.end import EXCHANGES, End
from tests.chaos.heard import Lost
from tests.integration.outside.client import Delivery, connected, properties_of
from tests.integration.outside.polling import until
from tests.integration.outside.words import Message

PATIENCE_S: Final = 300.0
PREFETCH: Final = 500
LISTEN_S: Final = 0.1
HEARTBEAT_S: Final = 20
# What a connection may raise while it is being lost.
LOST: Final = (AMQPError, OSError)
# It tells of every connection that is lost, at length; here that is the rule.
logging.getLogger("pika").setLevel(logging.CRITICAL)
QUORUM: Final = {"x-queue-type": "quorum"}


@dataclass(slots=True)
class AmqpLine:
    """One connection, for the thread that opened it."""

    connection: BlockingConnection
    exchange: str
    _publisher: BlockingChannel | None = None

    def publish(self, message: Message) -> bool:
        try:
            if self._publisher is None:
                self._publisher = self.connection.channel()
                self._publisher.confirm_delivery()
            self._publisher.basic_publish(
                self.exchange,
                message.routing_key,
                message.body,
                properties_of(message),
                mandatory=True,
            )
        except UnroutableError:
            return False
        except LOST as error:
            raise Lost from error
        return True

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
            channel = self.connection.channel()
            channel.basic_qos(prefetch_count=PREFETCH)
            channel.basic_consume(queue, on_message)
        except LOST as error:
            raise Lost from error

    def listen(self) -> None:
        try:
            self.connection.process_data_events(time_limit=LISTEN_S)
        except LOST as error:
            raise Lost from error

    def close(self) -> None:
        try:
            if self.connection.is_open:
                self.connection.close()
        except LOST:
            # It was gone already, and that is what was wanted.
            return


class AmqpEnd(End):
    """All that the outside does with RabbitMQ."""

    def ready(self, queue: str) -> int:
        with connected(self.url, self.namespace) as client:
            return client.ready(queue)

    def remove(self) -> None:
        with connected(self.url, self.namespace) as client:
            for exchange in EXCHANGES:
                with client.connection.channel() as channel:
                    channel.queue_delete(self._queue(exchange))
            client.remove_topology()

    def _bind(self) -> None:
        with connected(self.url, self.namespace) as client:
            until(client.has_topology, "a worker declares exchanges and queues")
            for exchange in EXCHANGES:
                with client.connection.channel() as channel:
                    queue = self._queue(exchange)
                    channel.queue_declare(queue, durable=True, arguments=dict(QUORUM))
                    channel.queue_bind(queue, f"{self.namespace}.{exchange}", "#")

    def _line(self) -> AmqpLine:
        parameters = pika.URLParameters(self.url)
        parameters.virtual_host = parameters.virtual_host or "/"
        parameters.heartbeat = HEARTBEAT_S
        parameters.blocked_connection_timeout = PATIENCE_S
        try:
            return AmqpLine(BlockingConnection(parameters), f"{self.namespace}.events")
        except LOST as error:
            raise Lost from error

    def _listening_line(self) -> AmqpLine:
        line = self._line()
        try:
            line.hear(self._queue("assignments"), self.heard.take_assignment)
            line.hear(self._queue("dead"), self.heard.take_letter)
        except Lost:
            line.close()
            raise
        return line
