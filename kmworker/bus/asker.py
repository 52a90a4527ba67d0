"""Asking over the queue, and hearing the answers: RabbitMQ's direct reply-to.

The broker makes no queue for it: answers come on the channel that asked, and are dropped where
that is gone. Who also listens has one of its client's own queues, as long as it is connected: what
it would have heard before, it asks.
"""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from amqp import spec
from amqp.exceptions import ResourceLocked

from kmworker.bus.amqp.frames import RawDelivery
from kmworker.bus.amqp.link import Link
from kmworker.bus.amqp.transport import wait_for_any
from kmworker.domain.message import Original, Outgoing
from kmworker.errors import BrokerUnavailable
from kmworker.settings import BrokerSettings
from kmworker.wire.requests.request import DIRECT_REPLY

__all__ = ["Asker"]

ENDED: Final = (OSError, AttributeError, ValueError)
"""What there is to see of a connection that another thread has just closed."""


class Asker:
    """One connection; every method raises `BrokerUnavailable` when it is lost.

    For one thread at a time, but for `wait`.
    """

    def __init__(self, settings: BrokerSettings, name: str, own_queues: Sequence[str] = ()) -> None:
        """Prepare; nothing is sent yet.

        Args:
            settings: where the broker is.
            name: shown in the broker's list of connections.
            own_queues: the client's, of which one is to be listened to; none: nothing is.
        """
        self._own_queues = own_queues
        self._is_cancelled = False
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
        self._is_cancelled = False
        self._link.open()
        if self._own_queues:
            self._listen()
        with self._link.call():
            self._channel = self._link.connection.channel()
            # Before anything is asked: the answers come by this.
            self._channel.basic_consume(DIRECT_REPLY, no_ack=True)

    def _listen(self) -> None:
        """Have the first of the client's queues that no other process of it has.

        Raises:
            BrokerUnavailable: there is none left, or its user may have none.
        """
        for queue in self._own_queues:
            if self._is_ours(queue):
                return
        self._link.close()
        raise BrokerUnavailable(
            f"all {len(self._own_queues)} queues of this client are other processes'"
        )

    def _is_ours(self, queue: str) -> bool:
        with self._link.call(but=ResourceLocked):
            # Of its own: the broker ends it on a refusal.
            channel = self._link.connection.channel()
            try:
                channel.queue_declare(
                    queue, durable=False, exclusive=True, auto_delete=False,
                    arguments={"x-queue-type": "classic"},
                )  # fmt: skip
            except ResourceLocked:
                channel.close()
                return False
            channel.basic_consume(queue, no_ack=True, on_cancel=self._on_cancel)
        return True

    def _on_cancel(self, _consumer_tag: str) -> None:
        self._is_cancelled = True

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
        if self._is_cancelled:
            self._link.discard()
            raise BrokerUnavailable("the broker has ended the reading of this client's queue")
        self._link.tick()
        found = [Original(it.body, it.routing_key, it.properties) for it in self._arrived]
        self._arrived.clear()
        return found

    def close(self) -> None:
        """Leave."""
        self._link.close()
