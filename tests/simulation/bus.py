"""The `Bus` port over the broker in memory: what a worker's two connections are like.

The broker survives, this does not. Every method crosses its boundaries in a `Troubles`,
where connections break and processes end. After a loss the port's rule holds: nothing
but `open` and `close` works until `open` was called, and only what is lost is renewed.
"""

from collections.abc import Callable, Sequence
from typing import Any

from kmworker.clock import Clock
from kmworker.errors import BrokerUnavailable
from kmworker.message import Delivery, Original, Outgoing
from kmworker.tally import QueueCounts
from tests.simulation.broker import Broker, Channel, Message
from tests.simulation.troubles import Links, Lost, Troubles

__all__ = ["SimulatedBus"]


class SimulatedBus:
    """`kmworker.ports.Bus` on a `Broker` in memory.

    The boundaries are ``bus.<method>``, ``bus.<method> done``, and ``bus.publish half``,
    where half of the messages are stored.
    """

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        troubles: Troubles,
        *,
        prefetch: int,
    ) -> None:
        self.generation = 0
        self.when_idle: Callable[[float], None] = lambda _seconds: None
        self._broker = broker
        self._clock = clock
        self._troubles = troubles
        self._prefetch = prefetch
        self._channel: Channel | None = None
        self._publishes = False

    def open(self) -> None:
        """Connect what is not connected."""
        if self._channel is None:
            self._cross("bus.open")
            self._broker.ensure_topology()
            self._channel = self._broker.consume(self._prefetch)
            self.generation += 1
            self._cross("bus.open done")
        if not self._publishes:
            self._cross("bus.open publisher")
            self._publishes = True

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what was sent, at most ``limit``; call ``when_idle`` instead of waiting."""
        channel = self._consuming()
        self._cross("bus.receive", Links.CONSUMER)
        if not channel.in_flight and timeout_s > 0:
            self.when_idle(timeout_s)
        taken = [channel.in_flight.popleft() for _ in range(min(limit, len(channel.in_flight)))]
        self._cross("bus.receive done", Links.CONSUMER)
        return [self._delivery(tag, message) for tag, message in taken]

    def publish(self, messages: Sequence[Outgoing]) -> list[bool]:
        """Store all and confirm them."""
        if not messages:
            return []
        if not self._publishes:
            raise BrokerUnavailable("not connected")
        self._cross("bus.publish")
        half = len(messages) // 2
        routed = [self._store(message) for message in messages[:half]]
        self._cross("bus.publish half")
        routed += [self._store(message) for message in messages[half:]]
        self._cross("bus.publish done")
        return routed

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these; those of an older generation, or settled before, are passed over."""
        tags = [d.tag for d in deliveries if d.generation == self.generation]
        if not tags:
            return
        channel = self._consuming()
        self._cross("bus.acknowledge", Links.CONSUMER)
        for tag in tags:
            if tag in channel.unacknowledged:
                self._broker.acknowledge(channel, tag)
        self._cross("bus.acknowledge done", Links.CONSUMER)

    def counts(self) -> QueueCounts:
        """Look at the queues."""
        self._consuming()
        self._cross("bus.counts", Links.CONSUMER)
        return QueueCounts(*self._broker.counts())

    def anchor(self, choose: Callable[[list[bytes]], bytes]) -> None:
        """Replace the anchor."""
        self._consuming()
        self._cross("bus.anchor")
        self._broker.anchors = [choose(self._broker.anchors)]
        self._cross("bus.anchor done")

    def tick(self) -> None:
        """Keep connections alive: a closed one has nothing to keep."""
        self._cross("bus.tick")

    def close(self) -> None:
        """Let go of everything."""
        self._cross("bus.close", Links(0))
        self.lose(Links.BOTH)

    def lose(self, links: Links) -> None:
        """Break connections, as a network or a crash does."""
        if Links.PUBLISHER in links:
            self._publishes = False
        if Links.CONSUMER in links and self._channel is not None:
            self._broker.drop(self._channel)
            self._channel = None

    def _consuming(self) -> Channel:
        if self._channel is None:
            raise BrokerUnavailable("not connected")
        return self._channel

    def _cross(self, point: str, uses: Links = Links.BOTH) -> None:
        """Cross a boundary; a loss shows at once only on a connection that the call uses."""
        try:
            self._troubles.reach(point)
        except Lost as lost:
            self.lose(lost.links)
            if lost.links & uses:
                raise BrokerUnavailable(f"lost at {point}") from lost

    def _store(self, message: Outgoing) -> bool:
        properties: dict[str, Any] = dict(message.properties)
        return self._broker.publish(message.exchange, message.routing_key, message.body, properties)

    def _delivery(self, tag: int, message: Message) -> Delivery:
        return Delivery(
            original=Original(message.body, message.routing_key, message.properties),
            tag=tag,
            generation=self.generation,
            received_at=self._clock.monotonic(),
            delivery_count=message.delivery_count,
        )
