"""A queue that is read, and a way to answer, on two connections, as a worker has.

A broker that is short of memory or disk stops reading from publishers, and acknowledgements, which
make room, must get through.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from kmworker.bus.amqp.brokers import Brokers
from kmworker.bus.amqp.link import Connect, Link, connect_amqp
from kmworker.bus.publisher import Publisher
from kmworker.bus.queue_reader import QueueReader
from kmworker.domain.message import Delivery
from kmworker.settings import BrokerSettings

__all__ = ["PairedQueue"]


class PairedQueue(ABC):
    """Both, at the same broker of several. Whatever is called raises `BrokerUnavailable`."""

    def __init__(  # noqa: PLR0913  # its parts, of which three have defaults that suit
        self,
        settings: BrokerSettings,
        queue: str,
        name: str,
        *,
        prefetch: int,
        connect: Connect = connect_amqp,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            settings: where the broker is.
            queue: what is read.
            name: shown in the broker's list of connections.
            prefetch: how many messages may be at hand.
            connect: what makes connections.
            monotonic: the time, in seconds.
        """
        brokers = Brokers(settings.addresses)
        self._reader = QueueReader(
            settings,
            queue,
            f"{name} consumer",
            prefetch=prefetch,
            brokers=brokers,
            connect=connect,
            monotonic=monotonic,
        )
        link = Link(settings, f"{name} publisher", connect=connect, brokers=brokers)
        self._publisher = Publisher(link, settings.confirm_timeout_s, monotonic)

    @property
    def generation(self) -> int:
        """Return the number of the connection: deliveries of older ones are void."""
        return self._reader.generation

    def open(self) -> None:
        """Connect what is not connected, declare what is missing if we may, start consuming.

        Raises:
            BrokerUnavailable: the broker is not there, or what `_prepare` looks for is not.
            SetupError: a name is something else.
        """
        self._reader.open(self._prepare)
        self._publisher.open()

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what has come, at most ``limit``; wait up to ``timeout_s`` for the first."""
        return self._reader.receive(limit, timeout_s)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these; those of an older generation are skipped."""
        self._reader.acknowledge(deliveries)

    def tick(self) -> None:
        """Keep idle connections alive."""
        self._reader.tick()
        self._publisher.tick()

    def close(self) -> None:
        """Leave; the broker delivers again whatever is unacknowledged."""
        self._publisher.close()
        self._reader.close()

    @abstractmethod
    def _prepare(self, connection: Any) -> None:
        """See to the names that it needs, on a new connection, before anything is consumed."""
