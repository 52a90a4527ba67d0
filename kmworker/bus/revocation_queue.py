"""What key servers hear of what has ended, on RabbitMQ: each of it comes to one of them."""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from kmworker.bus.amqp.brokers import Brokers
from kmworker.bus.amqp.link import Connect, connect_amqp
from kmworker.bus.declaring import ensure_revocations
from kmworker.bus.queue_reader import QueueReader
from kmworker.domain.message import Delivery
from kmworker.settings import BrokerSettings
from kmworker.wire.topology import Topology

__all__ = ["RabbitRevocationQueue"]

PREFETCH: Final = 256


class RabbitRevocationQueue:
    """A `kmworker.keyserver.ports.RevocationQueue` on RabbitMQ 3.10 or newer."""

    def __init__(
        self,
        settings: BrokerSettings,
        name: str,
        *,
        connect: Connect = connect_amqp,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            settings: where the broker is.
            name: shown in the broker's list of connections.
            connect: what makes connections.
            monotonic: the time.
        """
        self._topology = Topology(settings.namespace)
        self._reader = QueueReader(
            settings,
            self._topology.revocations,
            f"{name} revocations",
            prefetch=PREFETCH,
            brokers=Brokers(settings.addresses),
            connect=connect,
            monotonic=monotonic,
        )

    def open(self) -> None:
        """Connect if need be, declare what is missing if we may, and start consuming."""
        self._reader.open(lambda connection: ensure_revocations(connection, self._topology))

    def receive(self, limit: int) -> list[Delivery]:
        """Take what has come, at most ``limit``; wait for none."""
        # Only what is read comes.
        self._reader.tick()
        return self._reader.receive(limit, 0)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these; those of an older connection are skipped."""
        self._reader.acknowledge(deliveries)

    def tick(self) -> None:
        """Keep the idle connection alive."""
        self._reader.tick()

    def close(self) -> None:
        """Leave; the broker delivers again whatever is unacknowledged."""
        self._reader.close()
