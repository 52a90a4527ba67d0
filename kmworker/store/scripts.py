"""The Lua scripts beside this file, called by digest.

The client library's own script objects ask the server for each digest before every
pipeline. We send EVALSHA at once, and the scripts themselves (EVAL) where the server does
not know them, which is after its restart, a failover or SCRIPT FLUSH.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, Final

from redis.exceptions import NoScriptError, RedisError

from kmworker.errors import TransientError
from kmworker.redis_client import Client
from kmworker.redis_pipe import Command, Replies
from kmworker.store.connection import store_errors, translate

__all__ = ["Ahead", "Call", "Ending", "Scripts"]

READING: Final = ("lookup",)
WRITING: Final = (
    "commit", "take", "remove", "release", "sweep", "register", "accept", "mend", "expire",
)  # fmt: skip

Call = tuple[str, Sequence[str], Sequence[Any]]
"""A script's name, its KEYS and its ARGV."""
Ahead = tuple[Sequence[Call], Replies]
"""Calls that are sent, and the replies that are to come."""
Ending = Callable[[], tuple[list[Any], list[Any]]]
"""Waits for the replies that `Scripts.run` returns."""


class Scripts:
    """Runs scripts, many in one round trip."""

    def __init__(self, client: Client) -> None:
        self._pipe = client.pipe
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
        """Run the calls in order and ``then`` plain commands, in one round trip: `start` and wait.

        Each script is atomic, the pipeline is not: after an error some calls may have
        had their effect.

        Returns:
            The calls' replies, and those of the commands: these may be errors.

        Raises:
            StoreUnavailable, PermanentError: see `translate`.
        """
        return self.start(calls, then)()

    def run_each(self, calls: Sequence[Call]) -> list[Any]:
        """Run calls that have nothing to do with each other, in one round trip.

        Returns:
            For each call its reply, or the error that it alone has failed with.

        Raises:
            StoreUnavailable: see `translate`.
        """
        sent = [(calls, self._send("EVALSHA", self._digests, calls, ()))]
        replies, _none = self._replies(sent, ())
        found = [translate(it) if isinstance(it, RedisError) else it for it in replies]
        for reply in found:
            if isinstance(reply, TransientError):
                raise reply
        return found

    def send(self, calls: Sequence[Call], then: Sequence[Command] = ()) -> Ahead:
        """Send calls ahead of those that `start` is to be given with them.

        What ``then`` replies is passed over: `start` brings commands of its own.
        """
        return calls, self._send("EVALSHA", self._digests, calls, then)

    def start(
        self,
        calls: Sequence[Call],
        then: Sequence[Command] = (),
        ahead: Sequence[Ahead] = (),
    ) -> Ending:
        """Begin what `run` does; what is returned waits for its end, and may raise the rest."""
        sent = [*ahead, (calls, self._send("EVALSHA", self._digests, calls, then))]
        return lambda: self._end(sent, then)

    def _end(self, sent: Sequence[Ahead], then: Sequence[Command]) -> tuple[list[Any], list[Any]]:
        replies, following = self._replies(sent, then)
        for reply in replies:
            if isinstance(reply, RedisError):
                raise translate(reply)
        return replies, following

    def _replies(
        self, sent: Sequence[Ahead], then: Sequence[Command]
    ) -> tuple[list[Any], list[Any]]:
        """Wait for all replies, errors among them; scripts that are unknown are sent again."""
        calls = [call for some, _replies in sent for call in some]
        replies, following = _received(sent)
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            # Not SCRIPT LOAD and EVALSHA again: the scripts may be flushed in between. And the
            # commands again, because they have come before these calls.
            calls_again = [calls[i] for i in unknown]
            sent_again = self._send("EVAL", self._texts, calls_again, then)
            again, following = _received([(calls_again, sent_again)])
            for i, reply in zip(unknown, again, strict=True):
                replies[i] = reply
        return replies, following

    def _send(
        self,
        command: str,
        scripts: Mapping[str, str | bytes],
        calls: Sequence[Call],
        then: Sequence[Command],
    ) -> Replies:
        commands = [(command, scripts[name], len(keys), *keys, *argv) for name, keys, argv in calls]
        with store_errors():
            return self._pipe.send([*commands, *then])


def _received(sent: Iterable[Ahead]) -> tuple[list[Any], list[Any]]:
    """Return the replies to all calls, and those to the commands behind the last of them."""
    replies: list[Any] = []
    following: list[Any] = []
    with store_errors():
        for calls, to_come in sent:
            found = to_come()
            replies += found[: len(calls)]
            following = found[len(calls) :]
    return replies, following
