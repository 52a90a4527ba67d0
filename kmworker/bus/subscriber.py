"""Reading assignments as any subscriber does: from a queue of one's own.

The queue goes when its reader goes. A subscriber that must miss nothing declares a
durable queue for itself; see docs/subscribing.md.
"""

import secrets
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from kmworker.bus.frames import RawDelivery
from kmworker.bus.link import Link
from kmworker.bus.route import Router, read_entry, stream_errors
from kmworker.message import Original
from kmworker.redis_client import Client
from kmworker.settings import BrokerSettings

__all__ = ["RabbitSubscriber", "StreamSubscriber", "Subscriber"]

PREFETCH = 256
ALIVE_S = 30.0


class Subscriber(Protocol):
    """Messages of one exchange, as they come."""

    def open(self) -> None:
        """Start to listen; what is published from now on arrives."""
        ...

    def receive(self, timeout_s: float) -> list[Original]:
        """Return what has come and acknowledge it; wait at most ``timeout_s`` for the first."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


class RabbitSubscriber:
    """A `Subscriber` on RabbitMQ, with an exclusive queue."""

    def __init__(self, settings: BrokerSettings, exchange: str, patterns: Sequence[str]) -> None:
        self._exchange = exchange
        self._patterns = patterns
        self._arrived: deque[RawDelivery] = deque()
        self._link = Link(settings, "kmworker subscriber", self._arrived.append)
        self._channel: Any = None

    def open(self) -> None:
        """Declare a queue of our own and consume it."""
        self._link.open()
        with self._link.call():
            self._channel = self._link.connection.channel()
            queue = self._channel.queue_declare("", exclusive=True, auto_delete=True).queue
            for pattern in self._patterns:
                self._channel.queue_bind(queue, self._exchange, pattern)
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


class StreamSubscriber:
    """A `Subscriber` on the embedded mode's streams."""

    def __init__(self, client: Client, exchange: str, patterns: Sequence[str]) -> None:
        self._client: Any = client  # its types leave open whether replies are bytes
        self._router = Router(client)
        self._exchange = exchange
        self._patterns = patterns
        self._queue = f"{exchange}.subscriber.{secrets.token_hex(8)}"
        self._after = b"0"

    def open(self) -> None:
        """Bind a queue of our own."""
        for pattern in self._patterns:
            self._router.bind(self._exchange, pattern, self._queue, alive_s=ALIVE_S)

    def receive(self, timeout_s: float) -> list[Original]:
        """Return what has come and drop it from the queue."""
        self._router.renew(self._queue, ALIVE_S)
        with stream_errors():
            replies = self._client.xread(
                {self._queue: self._after}, count=PREFETCH, block=max(int(timeout_s * 1000), 1)
            )
            entries = [entry for _stream, found in replies or () for entry in found]
            if entries:
                self._after = entries[-1][0]
                self._client.xdel(self._queue, *(entry for entry, _fields in entries))
        return [read_entry(fields) for _entry, fields in entries]

    def close(self) -> None:
        """Leave; the queue goes with us."""
        for pattern in self._patterns:
            self._router.unbind(self._exchange, pattern, self._queue)
