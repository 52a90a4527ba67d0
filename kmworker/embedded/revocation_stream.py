"""What the key server hears of what has ended, on the embedded mode's streams."""

from time import monotonic
from typing import Final

from kmworker.domain.message import Delivery
from kmworker.embedded.reread_stream import RereadStream
from kmworker.store.client import Client
from kmworker.wire.topology import Topology

__all__ = ["StreamRevocationQueue"]

MAX_WAITING: Final = 100_000
"""Messages; the oldest go first, as on RabbitMQ: copies are over by themselves."""
TRIM_EVERY_S: Final = 10.0


class StreamRevocationQueue(RereadStream):
    """A `kmworker.keyserver.ports.RevocationQueue` on Redis or Valkey streams."""

    def __init__(self, client: Client, *, namespace: str) -> None:
        """Prepare; nothing is sent yet.

        Args:
            client: of the server, and nobody else's.
            namespace: of the names.
        """
        self._topology = Topology(namespace)
        super().__init__(client, self._topology.revocations)
        self._trim_at = 0.0

    def receive(self, limit: int) -> list[Delivery]:
        """Take what has come, at most ``limit``; wait for none."""
        return self._read(limit)

    def tick(self) -> None:
        """Drop what is too much."""
        if monotonic() < self._trim_at:
            return
        self._trim_at = monotonic() + TRIM_EVERY_S
        with self._errors():
            self._client.xtrim(self._queue, maxlen=MAX_WAITING, approximate=False)

    def _bind(self) -> None:
        for exchange, pattern in self._topology.ending:
            self._router.bind(exchange, pattern, self._queue, alive_s=None)
