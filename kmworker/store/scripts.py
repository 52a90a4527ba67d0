"""The Lua scripts beside this file, called by digest.

The client library's own script objects ask the server for each digest before every
pipeline. We send EVALSHA at once, and the scripts themselves (EVAL) where the server does
not know them, which is after its restart, a failover or SCRIPT FLUSH.
"""

import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Final

import redis
from redis.exceptions import NoScriptError, RedisError

from kmworker.store.connection import store_errors, translate

__all__ = ["Call", "Command", "Scripts"]

READING: Final = ("lookup",)
WRITING: Final = (
    "commit", "take", "remove", "release", "sweep", "register", "accept", "mend", "expire",
)  # fmt: skip

Call = tuple[str, Sequence[str], Sequence[Any]]
"""A script's name, its KEYS and its ARGV."""
Command = tuple[Any, ...]
"""A command of the server's own, and its arguments."""


class Scripts:
    """Runs scripts, many in one round trip."""

    def __init__(self, client: redis.Redis) -> None:
        # Any: the client library leaves execute_command untyped.
        self._client: Any = client
        folder = resources.files("kmworker.store")
        guard = folder.joinpath("guard.lua").read_bytes()
        self._texts = {
            name: (guard if name in WRITING else b"") + folder.joinpath(f"{name}.lua").read_bytes()
            for name in READING + WRITING
        }
        # Redis names a script by this digest; nothing secret rests on it.
        self._digests = {
            name: hashlib.sha1(text, usedforsecurity=False).hexdigest()
            for name, text in self._texts.items()
        }

    def run(
        self, calls: Sequence[Call], then: Sequence[Command] = ()
    ) -> tuple[list[Any], list[Any]]:
        """Run the calls in order and ``then`` plain commands, in one round trip.

        Each script is atomic, the pipeline is not: after an error some calls may have
        had their effect.

        Returns:
            The calls' replies, and those of the commands: these may be errors.

        Raises:
            StoreUnavailable, PermanentError: see `translate`.
        """
        replies, following = self._send("EVALSHA", self._digests, calls, then)
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            # Not SCRIPT LOAD and EVALSHA again: the scripts may be flushed in between. And the
            # commands again, because they have come before these calls.
            calls_again = [calls[i] for i in unknown]
            again, following = self._send("EVAL", self._texts, calls_again, then)
            for i, reply in zip(unknown, again, strict=True):
                replies[i] = reply
        for reply in replies:
            if isinstance(reply, RedisError):
                raise translate(reply)
        return replies, following

    def _send(
        self,
        command: str,
        scripts: Mapping[str, str | bytes],
        calls: Sequence[Call],
        then: Sequence[Command],
    ) -> tuple[list[Any], list[Any]]:
        pipeline = self._client.pipeline(transaction=False)
        for name, keys, argv in calls:
            pipeline.execute_command(command, scripts[name], len(keys), *keys, *argv)
        for plain in then:
            pipeline.execute_command(*plain)
        with store_errors():
            replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies[: len(calls)], replies[len(calls) :]
