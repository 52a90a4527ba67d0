"""A stream that one process reads: what is not acknowledged is read again by who opens it next.

So nothing is kept of who has which entry: what is not acknowledged is still in the stream, and is
read again from its beginning.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from kmworker.domain.message import Delivery
from kmworker.embedded.route import OpenStream, Router, read_any_entry, stream_errors
from kmworker.errors import BrokerUnavailable
from kmworker.store.client import Client

__all__ = ["RereadStream"]

FIRST: Final = b"0"


class RereadStream(OpenStream, ABC):
    """Whatever is called raises `BrokerUnavailable`; then it is to be opened again."""

    def __init__(self, client: Client, queue: str) -> None:
        """Prepare; nothing is sent yet.

        Args:
            client: of the server, and nobody else's.
            queue: the stream's name.
        """
        self.generation = 0
        self._client: Any = client  # its types leave open whether replies are bytes
        self._router = Router(client)
        self._queue = queue
        self._at_hand: dict[int, bytes] = {}
        """Stream entries handed out and not acknowledged, by tag."""
        self._next_tag = 0
        self._after = FIRST

    def open(self) -> None:
        """Bind the stream, and begin with what nobody has acknowledged."""
        if self._is_open:
            return
        self._bind()
        self.generation += 1
        self._at_hand.clear()
        self._after = FIRST
        self._is_open = True

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these; those of an older generation are skipped."""
        # No tag is given twice.
        entries = [self._at_hand.pop(it.tag) for it in deliveries if it.tag in self._at_hand]
        if entries:
            with self._errors():
                self._client.xdel(self._queue, *entries)

    def close(self) -> None:
        """Leave; what is not acknowledged is delivered again."""
        self._is_open = False
        with suppress(BrokerUnavailable), stream_errors():
            self._client.drop_connections()

    @abstractmethod
    def _bind(self) -> None:
        """Bind the stream to what comes to it."""

    def _read(self, limit: int, block_ms: int | None = None) -> list[Delivery]:
        """Take what has come; wait for the first if that is said."""
        with self._errors():
            replies = self._client.xread({self._queue: self._after}, count=limit, block=block_ms)
        entries = [entry for _stream, found in replies or () for entry in found]
        return [self._delivered(entry, fields) for entry, fields in entries]

    def _delivered(self, entry: bytes, fields: dict[bytes, bytes]) -> Delivery:
        self._next_tag += 1
        self._at_hand[self._next_tag] = self._after = entry
        return Delivery(read_any_entry(fields), self._next_tag, self.generation, monotonic())
