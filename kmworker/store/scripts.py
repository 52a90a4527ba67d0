"""The Lua scripts beside this file, called by digest.

The client library's own script objects ask the server for each digest before every
pipeline. We send EVALSHA at once and load the scripts when the server does not know
them, which is after its restart, a failover or SCRIPT FLUSH.
"""

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

import redis
from redis.exceptions import NoScriptError, RedisError

from kmworker.store.connection import store_errors, translate

__all__ = ["Call", "Scripts"]

NAMES: Final = ("lookup", "commit", "take", "remove", "release", "sweep")

Call = tuple[str, Sequence[str], Sequence[Any]]
"""A script's name, its KEYS and its ARGV."""


class Scripts:
    """Runs scripts, many in one round trip."""

    def __init__(self, client: redis.Redis) -> None:
        # Any: the client library leaves execute_command untyped.
        self._client: Any = client
        folder = resources.files("kmworker.store")
        self._texts = {name: folder.joinpath(f"{name}.lua").read_bytes() for name in NAMES}
        # Redis names a script by this digest; nothing secret rests on it.
        self._digests = {
            name: hashlib.sha1(text, usedforsecurity=False).hexdigest()
            for name, text in self._texts.items()
        }

    def run(self, calls: Sequence[Call], first: Sequence[tuple[Any, ...]] = ()) -> list[Any]:
        """Run the calls in order, in one round trip, after the plain commands ``first``.

        Each script is atomic, the pipeline is not: after an error some calls may have
        had their effect.

        Raises:
            StoreUnavailable, PermanentError: see `translate`.
        """
        replies = self._send(calls, first)
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            self._load()
            for i, reply in zip(unknown, self._send([calls[i] for i in unknown], ()), strict=True):
                replies[i] = reply
        for reply in replies:
            if isinstance(reply, RedisError):
                raise translate(reply)
        return replies

    def _send(self, calls: Sequence[Call], first: Sequence[tuple[Any, ...]]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for command in first:
            pipeline.execute_command(*command)
        for name, keys, argv in calls:
            pipeline.execute_command("EVALSHA", self._digests[name], len(keys), *keys, *argv)
        with store_errors():
            replies: list[Any] = pipeline.execute(raise_on_error=False)
        for reply in replies[: len(first)]:
            if isinstance(reply, RedisError):
                raise translate(reply)
        return replies[len(first) :]

    def _load(self) -> None:
        with store_errors():
            for text in self._texts.values():
                self._client.execute_command("SCRIPT LOAD", text)
