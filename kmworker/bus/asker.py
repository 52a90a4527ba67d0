"""Asking over the queue, and hearing the answers: RabbitMQ's direct reply-to.

The broker makes no queue for it: answers come on the channel that asked, and are dropped where
that is gone.
"""

from collections import deque
from contextlib import suppress
from typing import Any, Final

from amqp import spec

from kmworker.bus.amqp.frames import RawDelivery
from kmworker.bus.amqp.link import Link
from kmworker.bus.amqp.transport import wait_for_any
from kmworker.domain.message import Original, Outgoing
from kmworker.settings import BrokerSettings
from kmworker.wire.requests.request import DIRECT_REPLY

__all__ = ["Asker"]

ENDED: Final = (OSError, AttributeError, ValueError)
"""What there is to see of a connection that another thread has just closed."""


class Asker:
    """One connection; every method raises `BrokerUnavailable` when it is lost.

    For one thread at a time, but for `wait`.
    """

    def __init__(self, settings: BrokerSettings, name: str) -> None:
        """Prepare; nothing is sent yet.

        Args:
            settings: where the broker is.
            name: shown in the broker's list of connections.
        """
        self._arrived: deque[RawDelivery] = deque()
        self._link = Link(settings, name, self._arrived.append)
        self._channel: Any = None

    @property
    def is_open(self) -> bool:
        """Return whether it is connected, as far as is known."""
        return self._link.is_open

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
        where = (0, question.exchange, question.routing_key, False, False)
        with self._link.errors():
            # Not basic_publish: it reads, and who waits for what it has read would wait on.
            self._channel.send_method(spec.Basic.Publish, "Bssbb", where, question)

    def wait(self, timeout_s: float) -> None:
        """Wait until something may have come; nothing is read, and another may ask meanwhile."""
        connection = self._link.connection
        # Whoever ends it meanwhile closes what is waited for: that is seen when it is read.
        with suppress(*ENDED):
            wait_for_any([connection], timeout_s)

    def take(self) -> list[Original]:
        """Return the answers that have come; wait for none."""
        while self._link.drain(0):
            pass
        self._link.tick()
        found = [Original(it.body, it.routing_key, it.properties) for it in self._arrived]
        self._arrived.clear()
        return found

    def close(self) -> None:
        """Leave."""
        self._link.close()
