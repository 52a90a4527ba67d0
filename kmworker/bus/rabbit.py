"""RabbitMQ behind the `Bus` port: two connections, one consuming, one publishing.

A broker short of memory stops reading from publishers. With connections of their own,
acknowledgements still get through. Callbacks only append: nothing is decoded,
published or acknowledged inside py-amqp's dispatch, where publishing would recurse.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from amqp import spec

from kmworker.bus.anchor_queue import AnchorQueue
from kmworker.bus.frames import RawDelivery
from kmworker.bus.link import Connect, Link, connect_amqp
from kmworker.bus.publisher import Publisher, Sent
from kmworker.bus.topology import Topology
from kmworker.bus.transport import wait_for_any
from kmworker.errors import BrokerUnavailable
from kmworker.message import Delivery, Original, Outgoing
from kmworker.ports import Confirms
from kmworker.settings import BrokerSettings
from kmworker.tally import QueueCounts

__all__ = ["RabbitBus"]

# A signal's handler runs between waits, so no wait is longer than this.
WAIT_SLICE_S: Final = 0.25


class RabbitBus:
    """A `Bus` on RabbitMQ 3.10 or newer."""

    def __init__(  # noqa: PLR0913  # network and time among them, so that a test can bring its own
        self,
        settings: BrokerSettings,
        *,
        prefetch: int,
        name: str,
        connect: Connect = connect_amqp,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        wait_for_any: Callable[[Sequence[Any], float], None] = wait_for_any,
    ) -> None:
        self.generation = 0
        self._topology = Topology(settings.namespace)
        self._prefetch = prefetch
        self._monotonic = monotonic
        self._wait_for_any = wait_for_any
        self._link = Link(settings, f"{name} consumer", self._on_delivery, connect)
        self._publisher = Publisher(
            Link(settings, f"{name} publisher", connect=connect),
            settings.confirm_timeout_s,
            monotonic,
        )
        self._anchor = AnchorQueue(self._link, self._topology, sleep)
        self._arrived: deque[Delivery] = deque()
        self._unacknowledged: dict[int, None] = {}
        self._channel: Any = None
        self._counting: Any = None
        self._cancelled = False

    def open(self) -> None:
        """Connect what is not connected, ensure the topology, start consuming."""
        if not self._link.is_open:
            self._open_consumer()
        self._publisher.open()

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what has been delivered, at most ``limit``."""
        if self._cancelled:
            self._link.discard()
            raise BrokerUnavailable(f"the broker cancelled the consumer of {self._topology.work}")
        if not self._arrived:
            self._wait(min(timeout_s, WAIT_SLICE_S))
        while len(self._arrived) < limit and self._link.drain(0):
            pass
        return [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]

    def send(self, messages: Sequence[Outgoing]) -> Confirms:
        """Publish all; what is returned waits for all confirms together."""
        return _Confirms(self._publisher, self._publisher.send(messages), self._tick_consumer)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge with one multiple-ack as far as possible, the rest one by one."""
        done = {
            d.tag
            for d in deliveries
            if d.generation == self.generation and d.tag in self._unacknowledged
        }
        highest = 0
        for tag in self._unacknowledged:
            if tag not in done:
                break
            highest = tag
        with self._link.errors():
            if highest:
                self._channel.basic_ack(highest, multiple=True)
            for tag in done:
                if tag > highest:
                    self._channel.basic_ack(tag)
                del self._unacknowledged[tag]

    def counts(self) -> QueueCounts:
        """Look at the queues."""
        work, consumers = self._count(self._topology.work)
        dead, _subscribers = self._count(self._topology.dead)
        return QueueCounts(work, dead, consumers)

    def anchor(self, choose: Callable[[list[bytes]], bytes]) -> None:
        """Replace the anchor, on a broker that keeps one for us."""
        self._anchor.swap(choose, lambda messages: self.send(messages)())

    def tick(self) -> None:
        """Keep idle connections alive."""
        self._tick_consumer()
        self._publisher.tick()

    def close(self) -> None:
        """Leave; the broker delivers again whatever is unacknowledged."""
        self._publisher.close()
        self._link.close()

    def _wait(self, timeout_s: float) -> None:
        """Wait for what comes first, on either connection if confirms are awaited."""
        if timeout_s and self._publisher.is_awaiting:
            with self._link.errors():
                self._wait_for_any([self._link.connection, self._publisher.connection], timeout_s)
            # Also those that nobody asks for any more: they would end the next waiting, too.
            self._publisher.take_in()
            timeout_s = 0.0
        self._link.drain(timeout_s)

    def _tick_consumer(self) -> None:
        self._link.tick()
        # Reading is what shows that the broker is alive; prefetch bounds what comes.
        while self._link.is_open and self._link.drain(0):
            pass

    def _open_consumer(self) -> None:
        self._link.open()
        self._topology_checked()
        self._anchor.open()
        self.generation += 1
        self._arrived.clear()
        self._unacknowledged.clear()
        self._cancelled = False
        with self._link.call():
            connection = self._link.connection
            self._counting = connection.channel()
            self._channel = connection.channel()
            # Per consumer, which is what quorum queues know.
            self._channel.basic_qos(0, self._prefetch, False)  # noqa: FBT003
            self._channel.basic_consume(self._topology.work, on_cancel=self._on_cancel)

    def _topology_checked(self) -> None:
        with self._link.call():
            try:
                self._topology.ensure(self._link.connection)
            except BrokerUnavailable:
                self._link.discard()
                raise

    def _on_delivery(self, raw: RawDelivery) -> None:
        headers = raw.properties.get("application_headers") or {}
        # Only on a redelivery is this the broker's word; before, a producer may have set it.
        seen = headers.get("x-delivery-count") if raw.redelivered else None
        self._unacknowledged[raw.tag] = None
        self._arrived.append(
            Delivery(
                original=Original(raw.body, raw.routing_key, raw.properties),
                tag=raw.tag,
                generation=self.generation,
                received_at=self._monotonic(),
                delivery_count=seen if isinstance(seen, int) else int(raw.redelivered),
            )
        )

    def _on_cancel(self, _consumer_tag: str) -> None:
        self._cancelled = True

    def _count(self, queue: str) -> tuple[int, int]:
        with self._link.call():
            self._counting.send_method(
                spec.Queue.Declare, "BsbbbbbF", (0, queue, True, False, False, False, False, {})
            )
            _name, messages, consumers = self._counting.wait(
                spec.Queue.DeclareOk, returns_tuple=True
            )
            return messages, consumers


class _Confirms:
    """`kmworker.ports.Confirms`, of what was sent together."""

    def __init__(self, publisher: Publisher, sent: Sent, while_waiting: Callable[[], None]) -> None:
        self._publisher = publisher
        self._sent = sent
        self._while_waiting = while_waiting

    def have_come(self) -> bool:
        return self._publisher.is_over(self._sent)

    def __call__(self) -> list[bool]:
        return self._publisher.confirmed(self._sent, self._while_waiting)
