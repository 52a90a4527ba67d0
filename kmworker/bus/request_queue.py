"""The requests of clients, and their answers, on RabbitMQ.

Answers go straight to queues, by the default exchange: transient, since a client that is gone asks
again, and unroutable without harm, since its queue goes with it.
"""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

from amqp.exceptions import AccessRefused, NotFound

from kmworker.bus.amqp.brokers import Brokers
from kmworker.bus.amqp.link import Connect, Link, connect_amqp
from kmworker.bus.publisher import Confirms, Publisher
from kmworker.bus.queue_reader import QueueReader
from kmworker.domain.message import Confirm, Delivery, Outgoing
from kmworker.errors import BrokerUnavailable
from kmworker.keyserver.ports import Reply
from kmworker.ports import Pending
from kmworker.settings import BrokerSettings
from kmworker.wire.topology import Topology

__all__ = ["RabbitRequestQueue"]

DEFAULT_EXCHANGE: Final = ""


class RabbitRequestQueue:
    """A `kmworker.keyserver.ports.RequestQueue` on RabbitMQ 3.10 or newer."""

    def __init__(
        self,
        settings: BrokerSettings,
        name: str,
        *,
        prefetch: int,
        connect: Connect = connect_amqp,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            settings: where the broker is.
            name: shown in the broker's list of connections.
            prefetch: how many requests may be at hand.
            connect: what makes connections.
            monotonic: the time.
        """
        self._topology = Topology(settings.namespace)
        brokers = Brokers(settings.addresses)
        self._reader = QueueReader(
            settings,
            self._topology.requests,
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
        """Connect what is not connected, check the names, start consuming."""
        self._reader.open(self._check)
        self._publisher.open()

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what has come, at most ``limit``; wait up to ``timeout_s`` for the first."""
        return self._reader.receive(limit, timeout_s)

    def send(self, replies: Sequence[Reply]) -> Pending[list[Confirm]]:
        """Send answers; one whose client is gone is `Confirm.UNROUTED`."""
        return Confirms(self._publisher, self._publisher.send([_outgoing(it) for it in replies]))

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

    def _check(self, connection: Any) -> None:
        """See that the queue is there: its policy bounds it, and is an administrator's.

        Raises:
            BrokerUnavailable: it is not.
        """
        channel = connection.channel()
        try:
            channel.queue_declare(self._topology.requests, passive=True)
        except AccessRefused:
            # Who may not look is told when he consumes.
            return
        except NotFound:
            self._reader.discard()
            raise BrokerUnavailable(
                f"queue {self._topology.requests} missing on the broker: an administrator has it"
                " made with config/rabbitmq/definitions.json"
            ) from None
        finally:
            channel.close()


def _outgoing(reply: Reply) -> Outgoing:
    answer = reply.answer
    return Outgoing(DEFAULT_EXCHANGE, reply.queue, answer.body, answer.properties)
