"""The real `RabbitBus`, on the simulated connections of its host."""

from collections.abc import Callable

from kmworker.bus.rabbit import RabbitBus
from kmworker.settings import BrokerSettings
from tests.kit.simulator.host import Host
from tests.kit.simulator.troubles import Links


class SimulatedBus(RabbitBus):
    """What a process has of the broker, which survives it."""

    def __init__(self, host: Host, settings: BrokerSettings, *, prefetch: int, name: str) -> None:
        super().__init__(
            settings,
            prefetch=prefetch,
            name=name,
            connect=host.connect,
            monotonic=host.clock.monotonic,
            sleep=host.clock.advance,
            wait_for_any=host.wait_for_any,
        )
        self._host = host

    def anchor(self, choose: Callable[[list[bytes]], bytes]) -> None:
        """Replace the anchor, which is what its steps are named for."""
        with self._host.steps.named("anchor"):
            super().anchor(choose)

    def lose(self, links: Links) -> None:
        """Break connections, and know of it at once."""
        self._host.cut(links)
        if Links.CONSUMER in links:
            self._link.discard()
        if Links.PUBLISHER in links:
            self._publisher._link.discard()
