"""The real `RabbitBus`, on simulated connections, with troubles at its port.

The broker survives, this does not. After a loss the port's rule holds: nothing but `open`
and `close` works until `open` was called, and only what is lost is renewed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from kmworker.bus.rabbit import RabbitBus
from kmworker.domain.message import Confirm, Delivery, Outgoing
from kmworker.errors import BrokerUnavailable
from kmworker.ports import Pending, QueueCounts
from tests.kit.simulator.host import Host
from tests.kit.simulator.troubles import Links, Lost, Troubles


class TroubledBus:
    """`kmworker.ports.Bus`: a `RabbitBus` each of whose methods crosses ``bus.<method>``.

    Opening crosses ``bus.open`` and ``bus.open publisher`` where it connects.
    """

    def __init__(self, real: RabbitBus, host: Host, troubles: Troubles) -> None:
        self._real = real
        self._host = host
        self._troubles = troubles

    @property
    def generation(self) -> int:
        """Return the consuming channel's."""
        return self._real.generation

    @generation.setter
    def generation(self, number: int) -> None:
        self._real.generation = number

    def open(self) -> None:
        """Connect what is not connected."""
        before = self._real.generation
        self._real.open()
        if self._real.generation != before:
            self._cross("bus.open done")

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what was sent, at most ``limit``."""
        with self._crossing("bus.receive", Links.CONSUMER):
            return self._real.receive(limit, timeout_s)

    def send(self, messages: Sequence[Outgoing]) -> Pending[list[Confirm]]:
        """Publish all; what is returned waits for their confirms."""
        if not messages:
            return self._real.send(messages)
        self._cross("bus.send")
        return _Crossing(self._real.send(messages), self._cross)

    def renew(self) -> None:
        """Publish on a new channel."""
        self._real.renew()

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these."""
        if not any(delivery.generation == self.generation for delivery in deliveries):
            self._real.acknowledge(deliveries)
            return
        with self._crossing("bus.acknowledge", Links.CONSUMER):
            self._real.acknowledge(deliveries)

    def put_aside(self, deliveries: Sequence[Delivery]) -> None:
        """Let nothing wait for these."""
        self._real.put_aside(deliveries)

    def counts(self) -> QueueCounts:
        """Look at the queues."""
        with self._crossing("bus.counts", Links.CONSUMER):
            return self._real.counts()

    def anchor(self, choose: Callable[[list[bytes]], bytes]) -> None:
        """Replace the anchor."""
        with self._host.steps.named("anchor"), self._crossing("bus.anchor"):
            self._real.anchor(choose)

    def tick(self) -> None:
        """Keep connections alive: a closed one has nothing to keep."""
        self._cross("bus.tick")
        self._real.tick()

    def close(self) -> None:
        """Let go of everything."""
        self._cross("bus.close", Links(0))
        self._real.close()

    @contextmanager
    def _crossing(self, call: str, uses: Links = Links.BOTH) -> Iterator[None]:
        self._cross(call, uses)
        yield
        self._cross(f"{call} done", uses)

    def _cross(self, point: str, uses: Links = Links.BOTH) -> None:
        """Cross a boundary; a loss shows at once only on a connection that the call uses."""
        try:
            self._troubles.reach(point)
        except Lost as lost:
            self._host.cut(lost.links)
            if not lost.links & uses:
                return
            if Links.CONSUMER in lost.links:
                self._real._link.discard()
            if Links.PUBLISHER in lost.links:
                self._real._publisher._link.discard()
            raise BrokerUnavailable(f"lost at {point}") from lost


class _Crossing:
    """Confirms that cross ``bus.send done`` when they are all here."""

    def __init__(self, real: Pending[list[Confirm]], cross: Callable[[str], None]) -> None:
        self._real = real
        self._cross = cross

    def done(self) -> bool:
        return self._real.done()

    def result(self) -> list[Confirm]:
        confirms = self._real.result()
        self._cross("bus.send done")
        return confirms
