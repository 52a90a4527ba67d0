"""A hash, page by page: what is left lying in it does not hide what is behind."""

from typing import Any

from kmworker.store.client import Client

__all__ = ["Pages"]


class Pages:
    """Where the next look at each hash begins; raises `RedisError`, as its caller's connection."""

    def __init__(self, client: Client, size: int) -> None:
        """Begin with the first of each.

        Args:
            client: of the store's server.
            size: about how many fields to take at a time; of a small hash all are taken.
        """
        self._size = size
        self._client: Any = client  # its types leave open whether replies are bytes
        self._cursors: dict[str, int] = {}
        """Of those of which the last look has shown a part alone; 0: its last one."""

    def next(self, key: str) -> dict[bytes, bytes]:
        """Return some fields of a hash: those behind the last ones, from the first on at its end.

        What is there from one round to the next is given once a round at least.
        """
        before = self._cursors.get(key, 0)
        cursor, page = self._client.hscan(key, before, count=self._size)
        if before or cursor:
            self._cursors[key] = cursor
        else:
            self._cursors.pop(key, None)
        return dict(page)

    def is_more(self, key: str) -> bool:
        """Return whether there is something behind the last ones."""
        return bool(self._cursors.get(key))

    def is_part(self, key: str) -> bool:
        """Return whether the last ones were not all that there is."""
        return key in self._cursors
