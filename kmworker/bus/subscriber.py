"""Reading assignments as any subscriber does: from a queue of one's own.

The queue goes when its reader goes. A subscriber that must miss nothing declares a
durable queue for itself; see docs/subscribing.md.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from kmworker.bus.amqp.frames import RawDelivery
from kmworker.bus.amqp.link import Link
from kmworker.domain.message import Original
from kmworker.settings import BrokerSettings

__all__ = ["RabbitSubscriber"]

PREFETCH = 256


class RabbitSubscriber:
    """A subscriber on RabbitMQ, with an exclusive queue."""

    def __init__(self, settings: BrokerSettings, bindings: Mapping[str, Sequence[str]]) -> None:
        """Prepare; ``bindings`` are patterns by their exchange."""
        self._bindings = bindings
        self._arrived: deque[RawDelivery] = deque()
        self._link = Link(settings, "kmworker subscriber", self._arrived.append)
        self._channel: Any = None

    def open(self) -> None:
        """Declare a queue of our own and consume it."""
        self._link.open()
        with self._link.call():
            self._channel = self._link.connection.channel()
            queue = self._channel.queue_declare("", exclusive=True, auto_delete=True).queue
            for exchange, patterns in self._bindings.items():
                for pattern in patterns:
                    self._channel.queue_bind(queue, exchange, pattern)
            self._channel.basic_qos(0, PREFETCH, False)  # noqa: FBT003
            self._channel.basic_consume(queue)

    def receive(self, timeout_s: float) -> list[Original]:
        """Return what has come and acknowledge it."""
        if not self._arrived:
            self._link.drain(timeout_s)
        while len(self._arrived) < PREFETCH and self._link.drain(0):
            pass
        self._link.tick()
        if not self._arrived:
            return []
        with self._link.errors():
            self._channel.basic_ack(self._arrived[-1].tag, multiple=True)
        originals = [Original(raw.body, raw.routing_key, raw.properties) for raw in self._arrived]
        self._arrived.clear()
        return originals

    def close(self) -> None:
        """Leave; the queue goes with us."""
        self._link.close()
