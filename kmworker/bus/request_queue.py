"""The requests of clients, and their answers, on RabbitMQ.

Answers go straight to queues, by the default exchange: transient, since a client that is gone asks
again, and unroutable without harm, since its queue goes with it.
"""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

from kmworker.bus.amqp.link import Connect, connect_amqp
from kmworker.bus.declaring import ensure_requests
from kmworker.bus.paired_queue import PairedQueue
from kmworker.bus.publisher import Confirms
from kmworker.domain.message import Confirm, Outgoing
from kmworker.keyserver.ports import Reply
from kmworker.ports import Pending
from kmworker.settings import BrokerSettings
from kmworker.wire.topology import Topology

__all__ = ["RabbitRequestQueue"]

DEFAULT_EXCHANGE: Final = ""


class RabbitRequestQueue(PairedQueue):
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
        """Prepare; see `PairedQueue`."""
        self._topology = Topology(settings.namespace)
        super().__init__(
            settings,
            self._topology.requests,
            name,
            prefetch=prefetch,
            connect=connect,
            monotonic=monotonic,
        )

    def send(self, replies: Sequence[Reply]) -> Pending[list[Confirm]]:
        """Send answers; one whose client is gone is `Confirm.UNROUTED`."""
        return Confirms(self._publisher, self._publisher.send([_outgoing(it) for it in replies]))

    def _prepare(self, connection: Any) -> None:
        """Declare what is missing if we may."""
        ensure_requests(connection, self._topology)


def _outgoing(reply: Reply) -> Outgoing:
    answer = reply.answer
    return Outgoing(DEFAULT_EXCHANGE, reply.queue, answer.body, answer.properties)
