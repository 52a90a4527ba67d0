"""What key servers hear of what has ended, on RabbitMQ: each of it comes to one of them."""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

from amqp.exceptions import AccessRefused, NotFound

from kmworker.bus.amqp.brokers import Brokers
from kmworker.bus.amqp.link import Connect, connect_amqp
from kmworker.bus.queue_reader import QueueReader
from kmworker.domain.message import Delivery
from kmworker.errors import BrokerUnavailable
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
        self._queue = Topology(settings.namespace).revocations
        self._reader = QueueReader(
            settings,
            self._queue,
            f"{name} revocations",
            prefetch=PREFETCH,
            brokers=Brokers(settings.addresses),
            connect=connect,
            monotonic=monotonic,
        )

    def open(self) -> None:
        """Connect if need be, and start consuming."""
        self._reader.open(self._check)

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

    def _check(self, connection: Any) -> None:
        channel = connection.channel()
        try:
            channel.queue_declare(self._queue, passive=True)
        except AccessRefused:
            # Who may not look is told when he consumes.
            return
        except NotFound:
            self._reader.discard()
            raise BrokerUnavailable(
                f"queue {self._queue} missing on the broker: an administrator has it made with"
                " config/rabbitmq/definitions.json"
            ) from None
        finally:
            channel.close()
