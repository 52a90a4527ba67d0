"""What operators see of key servers: as workers report, in hashes of their own. Best effort."""

import os
import platform
from collections.abc import Callable, Mapping
from typing import Any, Final

from redis.exceptions import RedisError

from kmworker.errors import StoreUnavailable
from kmworker.store.client import Client
from kmworker.store.names import Names

__all__ = ["KEY_SERVERS", "RedisKeyServerReports"]

KEY_SERVERS: Final = "keyservers"
"""Sorted set: when each was seen last, Unix seconds."""
DAY_S: Final = 86_400


class RedisKeyServerReports:
    """Writes a key server's reports."""

    def __init__(
        self,
        client: Client,
        names: Names,
        server_id: str,
        now: Callable[[], float],
        kek_ids: Callable[[], frozenset[str]],
    ) -> None:
        """Prepare.

        Args:
            client: of the store's server.
            names: of its keys.
            server_id: the key server's.
            now: the store's time, Unix seconds.
            kek_ids: the KEKs in its keyring.
        """
        self._client: Any = client  # its types leave open whether replies are bytes
        self._names = names
        self._id = server_id
        self._now = now
        self._kek_ids = kek_ids

    def write(self, state: str, fields: Mapping[str, str | int | float]) -> None:
        """Write what it is doing, and what it has counted."""
        now, key = self._now(), self._names.key_server(self._id)
        said = {
            "state": state,
            "seen_at": now,
            "host": platform.node(),
            "pid": os.getpid(),
            "kek_ids": " ".join(sorted(self._kek_ids())),
            **fields,
        }
        try:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hset(key, mapping=said)
            pipeline.expire(key, DAY_S)
            pipeline.zadd(self._names.top(KEY_SERVERS), {self._id: now})
            pipeline.zremrangebyscore(self._names.top(KEY_SERVERS), "-inf", now - DAY_S)
            pipeline.execute()
        except RedisError as error:
            raise StoreUnavailable(f"not all of a report was written: {error}") from error
