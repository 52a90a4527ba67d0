"""The dead letters of the embedded mode: a stream that is read in place."""

from collections.abc import Iterator, Sequence
from typing import Any

from kmworker.bus.dead_queue import PAGE_SIZE, Browsed
from kmworker.domain.message import Outgoing
from kmworker.embedded.route import Router, read_any_entry, stream_errors
from kmworker.errors import NotFound
from kmworker.store.client import Client
from kmworker.wire.topology import Topology

__all__ = ["StreamDeadQueue"]


class StreamDeadQueue:
    """A `DeadQueue` on Redis or Valkey streams."""

    others = 0
    may_drop = False

    def __init__(self, client: Client, namespace: str) -> None:
        self._client: Any = client  # its types leave open whether replies are bytes
        self._router = Router(client)
        self._stream = Topology(namespace).dead
        self._last = b""

    def open(self) -> int:
        """Note where the stream ends now, and count.

        Raises:
            NotFound: no worker has declared it yet.
        """
        with stream_errors():
            if not self._router.has_queue(self._stream):
                hint = "a worker declares it: start one with kmworker worker"
                raise NotFound(f"not on the broker: no queue {self._stream}", hint)
            newest = self._client.xrevrange(self._stream, count=1)
            self._last = newest[0][0] if newest else b""
            return int(self._client.xlen(self._stream))

    def browse(self) -> Iterator[list[Browsed]]:
        """Give what was there; what has been settled meanwhile is skipped."""
        after = b"-"
        while self._last:
            with stream_errors():
                entries = self._client.xrange(self._stream, after, self._last, count=PAGE_SIZE)
            if not entries:
                return
            after = b"(" + entries[-1][0]
            yield [Browsed(read_any_entry(fields), entry, 0) for entry, fields in entries]

    def replay(self, dead_letters: Sequence[tuple[Browsed, Outgoing]]) -> list[bool]:
        """Publish all, then delete what was routed."""
        routed = self._router.publish([message for _browsed, message in dead_letters])
        gone = zip(dead_letters, routed, strict=True)
        self.discard([browsed for (browsed, _), is_there in gone if is_there])
        return routed

    def discard(self, dead_letters: Sequence[Browsed]) -> None:
        """Delete these; what somebody else has deleted meanwhile is gone all the same."""
        if dead_letters:
            with stream_errors():
                self._client.xdel(self._stream, *(browsed.handle for browsed in dead_letters))

    def close(self) -> None:
        """Leave."""
        self._client.close()

    def abandon(self) -> None:
        """Leave."""
        self.close()
