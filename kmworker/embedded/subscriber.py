"""Reading assignments from the embedded mode's streams, as any subscriber does from a queue."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kmworker.domain.message import Original
from kmworker.embedded.route import Router, read_entry, stream_errors
from kmworker.store.client import Client

__all__ = ["StreamSubscriber"]

PREFETCH: Final = 256
ALIVE_S: Final = 30.0


class StreamSubscriber:
    """A `Subscription` to the embedded mode's streams."""

    def __init__(self, client: Client, bindings: Mapping[str, Sequence[str]]) -> None:
        """Prepare; ``bindings`` are patterns by their exchange."""
        self._client: Any = client  # its types leave open whether replies are bytes
        self._router = Router(client)
        self._bindings = [(name, pattern) for name in bindings for pattern in bindings[name]]
        self._queue = f"{next(iter(bindings))}.subscriber.{secrets.token_hex(8)}"
        self._after = b"0"

    def open(self) -> None:
        """Bind a queue of our own."""
        for exchange, pattern in self._bindings:
            self._router.bind(exchange, pattern, self._queue, alive_s=ALIVE_S)

    def receive(self, timeout_s: float) -> list[Original]:
        """Return what has come and drop it from the queue."""
        self._router.renew(self._queue, ALIVE_S)
        with stream_errors():
            replies = self._client.xread(
                {self._queue: self._after}, count=PREFETCH, block=max(int(timeout_s * 1000), 1)
            )
            entries = [entry for _stream, found in replies or () for entry in found]
            if entries:
                self._after = entries[-1][0]
                self._client.xdel(self._queue, *(entry for entry, _fields in entries))
        return [read_entry(fields) for _entry, fields in entries]

    def close(self) -> None:
        """Leave; the queue goes with us."""
        for exchange, pattern in self._bindings:
            self._router.unbind(exchange, pattern, self._queue)
