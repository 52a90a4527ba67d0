"""The requests of clients, and their answers, on the embedded mode's streams.

One key server reads them: it holds the lock of the audit trail's files, and delivers nothing
without it.
"""

from collections.abc import Sequence
from time import monotonic
from typing import Final

from kmworker.domain.message import Confirm, Delivery, Outgoing
from kmworker.embedded.reread_stream import RereadStream
from kmworker.embedded.route import stream_errors
from kmworker.errors import BrokerUnavailable
from kmworker.keyserver.ports import Reply
from kmworker.ports import Answered, Pending
from kmworker.store.client import Client
from kmworker.wire.topology import EVERYTHING, Topology

__all__ = ["StreamRequestQueue", "answers_of"]

LIVE_S: Final = 30.0
"""Of a request, as on RabbitMQ; and of the stream itself, when no key server is there."""
RENEW_EVERY_S: Final = 10.0
MAX_WAITING: Final = 10_000
"""Requests; the oldest go first, as on RabbitMQ: who sent them asks again."""
# A signal's handler runs between waits, so no wait is longer than this.
WAIT_SLICE_S: Final = 0.25


def answers_of(topology: Topology) -> str:
    """Return the exchange by which answers go to whom they are for.

    RabbitMQ has the default exchange for that, to which every queue is bound by its name.
    """
    return f"{topology.requests}.answers"


class StreamRequestQueue(RereadStream):
    """A `kmworker.keyserver.ports.RequestQueue` on Redis or Valkey streams."""

    def __init__(self, client: Client, *, namespace: str, prefetch: int) -> None:
        """Prepare; nothing is sent yet.

        Args:
            client: of the server, and nobody else's.
            namespace: of the names.
            prefetch: how many requests may be at hand.
        """
        topology = Topology(namespace)
        super().__init__(client, topology.requests)
        self._answers = answers_of(topology)
        self._prefetch = prefetch
        self._renew_at = 0.0

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what has come, at most ``limit``; wait up to ``timeout_s`` for the first."""
        free = min(self._prefetch - len(self._at_hand), limit)
        # BLOCK 0 would wait for ever.
        block_ms = max(int(min(timeout_s, WAIT_SLICE_S) * 1000), 1)
        return self._read(free, block_ms) if free > 0 else []

    def send(self, replies: Sequence[Reply]) -> Pending[list[Confirm]]:
        """Send answers; one whose client is gone is `Confirm.UNROUTED`."""
        answers = [
            Outgoing(self._answers, it.queue, it.answer.body, it.answer.properties)
            for it in replies
        ]
        with self._errors():
            routed = self._router.publish(answers)
        return Answered([Confirm.STORED if it else Confirm.UNROUTED for it in routed])

    def tick(self) -> None:
        """Keep the stream, and drop what is old.

        Raises:
            BrokerUnavailable: it has gone meanwhile, since this process was stopped for long.
        """
        if monotonic() < self._renew_at:
            return
        with self._errors():
            if not self._router.has_queue(self._queue):
                raise BrokerUnavailable(f"{self._queue} was given up: nobody has read it")
            self._bind()

    def _bind(self) -> None:
        with stream_errors():
            self._trim()
        self._router.bind(self._queue, EVERYTHING, self._queue, alive_s=LIVE_S)
        self._renew_at = monotonic() + RENEW_EVERY_S

    def _trim(self) -> None:
        """Drop what nobody waits for any more: an entry's id begins with its time."""
        seconds, _microseconds = self._client.time()
        oldest_ms = int((seconds - LIVE_S) * 1000)
        self._client.xtrim(self._queue, minid=max(oldest_ms, 0), approximate=False)
        self._client.xtrim(self._queue, maxlen=MAX_WAITING, approximate=False)
