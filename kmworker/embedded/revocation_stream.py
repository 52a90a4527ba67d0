"""What the key server hears of what has ended, on the embedded mode's streams.

One key server reads it, so what is not acknowledged is still in the stream, and is read again from
its beginning by whoever opens it next.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, Final

from kmworker.domain.message import Delivery
from kmworker.embedded.route import Router, read_any_entry, stream_errors
from kmworker.errors import BrokerUnavailable
from kmworker.store.client import Client
from kmworker.wire.topology import Topology

__all__ = ["StreamRevocationQueue"]

MAX_WAITING: Final = 100_000
"""Messages; the oldest go first, as on RabbitMQ: copies are over by themselves."""
TRIM_EVERY_S: Final = 10.0
FIRST: Final = b"0"


class StreamRevocationQueue:
    """A `kmworker.keyserver.ports.RevocationQueue` on Redis or Valkey streams."""

    def __init__(self, client: Client, *, namespace: str) -> None:
        """Prepare; nothing is sent yet.

        Args:
            client: of the server, and nobody else's.
            namespace: of the names.
        """
        self._client: Any = client  # its types leave open whether replies are bytes
        self._router = Router(client)
        self._topology = Topology(namespace)
        self._queue = self._topology.revocations
        self._generation = 0
        self._at_hand: dict[int, bytes] = {}
        """Stream entries handed out and not acknowledged, by tag."""
        self._next_tag = 0
        self._after = FIRST
        self._trim_at = 0.0
        self._is_open = False

    def open(self) -> None:
        """Bind the stream, and begin with what nobody has acknowledged."""
        if self._is_open:
            return
        for exchange, pattern in self._topology.ending:
            self._router.bind(exchange, pattern, self._queue, alive_s=None)
        self._generation += 1
        self._at_hand.clear()
        self._after = FIRST
        self._is_open = True

    def receive(self, limit: int) -> list[Delivery]:
        """Take what has come, at most ``limit``; wait for none."""
        with self._errors():
            replies = self._client.xread({self._queue: self._after}, count=limit)
        entries = [entry for _stream, found in replies or () for entry in found]
        return [self._delivered(entry, fields) for entry, fields in entries]

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these; those of an older connection are skipped."""
        # No tag is given twice.
        entries = [self._at_hand.pop(it.tag) for it in deliveries if it.tag in self._at_hand]
        if entries:
            with self._errors():
                self._client.xdel(self._queue, *entries)

    def tick(self) -> None:
        """Drop what is too much."""
        if monotonic() < self._trim_at:
            return
        self._trim_at = monotonic() + TRIM_EVERY_S
        with self._errors():
            self._client.xtrim(self._queue, maxlen=MAX_WAITING, approximate=False)

    def close(self) -> None:
        """Leave; what is not acknowledged is delivered again."""
        self._is_open = False
        with suppress(BrokerUnavailable), stream_errors():
            self._client.drop_connections()

    def _delivered(self, entry: bytes, fields: dict[bytes, bytes]) -> Delivery:
        self._next_tag += 1
        self._at_hand[self._next_tag] = self._after = entry
        return Delivery(read_any_entry(fields), self._next_tag, self._generation, monotonic())

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Let an error end this generation: what is at hand is read again."""
        try:
            with stream_errors():
                yield
        except BrokerUnavailable:
            self._is_open = False
            raise
