"""Asking over the queue, and hearing the answers: RabbitMQ's direct reply-to.

The broker makes no queue for it: answers come on the channel that asked, and are dropped where
that is gone.
"""

from collections import deque
from typing import Any, Final

from amqp import Message

from kmworker.bus.amqp.frames import RawDelivery
from kmworker.bus.amqp.link import Link
from kmworker.domain.message import Original, Outgoing
from kmworker.settings import BrokerSettings
from kmworker.wire.requests.request import DIRECT_REPLY

__all__ = ["Asker"]

# A signal's handler runs between waits, so no wait is longer than this.
WAIT_SLICE_S: Final = 0.25


class Asker:
    """One connection; every method raises `BrokerUnavailable` when it is lost."""

    def __init__(self, settings: BrokerSettings, name: str) -> None:
        """Prepare; nothing is sent yet.

        Args:
            settings: where the broker is.
            name: shown in the broker's list of connections.
        """
        self._arrived: deque[RawDelivery] = deque()
        self._link = Link(settings, name, self._arrived.append)
        self._channel: Any = None

    def open(self) -> None:
        """Connect if need be."""
        if self._link.is_open:
            return
        self._arrived.clear()
        self._link.open()
        with self._link.call():
            self._channel = self._link.connection.channel()
            # Before anything is asked: the answers come by this.
            self._channel.basic_consume(DIRECT_REPLY, no_ack=True)

    def ask(self, question: Outgoing) -> None:
        """Send a question, whose property `reply_to` is `DIRECT_REPLY`."""
        message = Message(question.body, **question.properties)
        with self._link.errors():
            self._channel.basic_publish(
                message, exchange=question.exchange, routing_key=question.routing_key
            )

    def receive(self, timeout_s: float) -> list[Original]:
        """Return the answers that have come; wait up to ``timeout_s`` for the first."""
        if not self._arrived:
            self._link.drain(min(timeout_s, WAIT_SLICE_S))
        self._link.tick()
        found = [Original(it.body, it.routing_key, it.properties) for it in self._arrived]
        self._arrived.clear()
        return found

    def discard(self) -> None:
        """Leave without a word: nothing on this connection can be trusted any more."""
        self._link.discard()

    def close(self) -> None:
        """Leave."""
        self._link.close()
