"""Taking messages off one queue in batches, on a connection of their own.

Callbacks only append. Nothing is decided of what comes, nor of when it is acknowledged.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from kmworker.bus.amqp.brokers import Brokers
from kmworker.bus.amqp.frames import RawDelivery
from kmworker.bus.amqp.link import Connect, Link, connect_amqp
from kmworker.domain.message import Delivery, Original
from kmworker.errors import BrokerUnavailable
from kmworker.settings import BrokerSettings

__all__ = ["QueueReader"]

# A signal's handler runs between waits, so no wait is longer than this.
WAIT_SLICE_S: Final = 0.25


class QueueReader:
    """A consumer. Every method raises `BrokerUnavailable` when the connection is lost.

    Attributes:
        generation: grows with each new connection: deliveries of older ones are void.
    """

    def __init__(  # noqa: PLR0913  # what it reads, and how
        self,
        settings: BrokerSettings,
        queue: str,
        name: str,
        *,
        prefetch: int,
        brokers: Brokers,
        connect: Connect = connect_amqp,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            settings: where the broker is.
            queue: that is read.
            name: shown in the broker's list of connections.
            prefetch: how many may be unacknowledged.
            brokers: whose turn it is, shared with who publishes.
            connect: what makes the connection.
            monotonic: the time.
        """
        self.generation = 0
        self._queue = queue
        self._prefetch = prefetch
        self._monotonic = monotonic
        self._link = Link(settings, name, self._on_delivery, connect, brokers)
        self._channel: Any = None
        self._arrived: deque[Delivery] = deque()
        self._unacknowledged: dict[int, None] = {}
        self._is_cancelled = False

    def open(self, prepare: Callable[[Any], None] = lambda _connection: None) -> None:
        """Connect if need be, and start consuming.

        Args:
            prepare: called with a new connection, before anything is consumed.
        """
        if self._link.is_open:
            return
        self._arrived.clear()
        self._unacknowledged.clear()
        self._is_cancelled = False
        self._link.open()
        with self._link.call():
            try:
                prepare(self._link.connection)
            except BrokerUnavailable:
                # Nothing is consumed on it: it would be taken for one that is.
                self._link.discard()
                raise
            self._channel = self._link.connection.channel()
            self.generation += 1
            self._channel.basic_qos(0, self._prefetch, False)  # noqa: FBT003  # per consumer
            self._channel.basic_consume(self._queue, on_cancel=self._on_cancel)

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what has come, at most ``limit``; wait up to ``timeout_s`` for the first."""
        until = self._monotonic() + timeout_s
        while not self._arrived and (left_s := until - self._monotonic()) > 0:
            self._link.drain(min(left_s, WAIT_SLICE_S))
            self._refuse_cancelled()
        while len(self._arrived) < limit and self._link.drain(0):
            pass
        self._refuse_cancelled()
        return [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these, in any order; those of an older generation are skipped."""
        tags = {it.tag for it in deliveries if it.generation == self.generation}
        if not tags:
            return
        with self._link.errors(), self._link.connection.corked():
            last = max(tags)
            # All up to the last in one word, where none of those before it is kept.
            if all(tag in tags for tag in self._unacknowledged if tag <= last):
                self._channel.basic_ack(last, multiple=True)
            else:
                for tag in sorted(tags):
                    self._channel.basic_ack(tag)
        for tag in tags:
            self._unacknowledged.pop(tag, None)

    def tick(self) -> None:
        """Keep the idle connection alive; call about once a second."""
        self._link.tick()
        # Reading is what shows that the broker is alive; prefetch bounds what comes.
        while self._link.is_open and self._link.drain(0):
            pass

    def close(self) -> None:
        """Leave; the broker delivers again whatever is unacknowledged."""
        self._link.close()

    def _refuse_cancelled(self) -> None:
        if self._is_cancelled:
            self._link.discard()
            raise BrokerUnavailable(f"the broker has ended the reading of {self._queue}")

    def _on_delivery(self, raw: RawDelivery) -> None:
        self._unacknowledged[raw.tag] = None
        self._arrived.append(
            Delivery(
                original=Original(raw.body, raw.routing_key, raw.properties, raw.dropped),
                tag=raw.tag,
                generation=self.generation,
                received_at=self._monotonic(),
                delivery_count=raw.delivery_count,
            )
        )

    def _on_cancel(self, _consumer_tag: str) -> None:
        self._is_cancelled = True
