"""The Lua scripts in the folder beside this file, called by digest.

The client library's own script objects ask the server for each digest before every
pipeline. We send EVALSHA at once, and the scripts themselves (EVAL) where the server does
not know them, which is after its restart, a failover or SCRIPT FLUSH.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from redis.exceptions import NoScriptError, RedisError

from kmworker.errors import TransientError
from kmworker.ports import Pending
from kmworker.store.client import Client
from kmworker.store.connection import store_errors, translate
from kmworker.store.pipe import Command, Replies, Then

__all__ = ["Ahead", "Answers", "Call", "Scripts"]

READING: Final = ("delegate", "lookup", "rights", "spread")
WRITING: Final = (
    "commit", "take", "remove", "release", "sweep", "layout", "carry", "accept", "repair", "change",
    "destroy", "enroll", "expire", "fence", "forget", "keks", "reindex", "reseal", "rewrap",
)  # fmt: skip

Call = tuple[str, Sequence[str], Sequence[Any]]
"""A script's name, its KEYS and its ARGV."""
Ahead = tuple[Sequence[Call], Replies]
"""Calls that are sent, and the replies that are to come."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a server says to calls and commands that were sent together. Any may be an error."""

    calls: list[Any]
    once: list[Any]
    then: list[Any]

    def raise_error(self) -> None:
        """Raise the first error that a call has ended with, if one has.

        Raises:
            StoreUnavailable, PermanentError: see `translate`.
        """
        for reply in self.calls:
            if isinstance(reply, RedisError):
                raise translate(reply, of_project=True)


class Scripts:
    """Runs scripts, many in one round trip."""

    def __init__(self, client: Client) -> None:
        self._pipe = client.pipe
        texts, digests = _scripts()
        self._texts, self._digests = dict(texts), dict(digests)

    def both_ways(self, name: str) -> Iterator[tuple[str, str | bytes]]:
        """Give each command by which a script is called, and what it names the script by."""
        yield "EVALSHA", self._digests[name]
        yield "EVAL", self._texts[name]

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Run the calls in order, in one round trip, and return their replies.

        Each script is atomic, the pipeline is not: after an error some calls may have
        had their effect.

        Raises:
            StoreUnavailable, PermanentError: see `translate`.
        """
        answers = self.start(calls).result()
        answers.raise_error()
        return answers.calls

    def run_each(self, calls: Sequence[Call]) -> list[Any]:
        """Run calls that have nothing to do with each other, in one round trip.

        Returns:
            For each call its reply, or the error that it alone has failed with.

        Raises:
            StoreUnavailable: see `translate`.
        """
        replies = self.start(calls).result().calls
        found = [
            translate(it, of_project=True) if isinstance(it, RedisError) else it for it in replies
        ]
        for reply in found:
            if isinstance(reply, TransientError):
                raise reply
        return found

    def send(self, calls: Sequence[Call]) -> Ahead:
        """Send calls ahead of those that `start` is to be given with them."""
        return calls, self._send("EVALSHA", self._digests, calls, ())

    def start(
        self,
        calls: Sequence[Call],
        then: Sequence[Command] = (),
        *,
        once: Sequence[Command] = (),
        ahead: Sequence[Ahead] = (),
    ) -> Pending[Answers]:
        """Run the calls in order, and plain commands behind them, in one round trip.

        To wait for the answers raises `StoreUnavailable` if they will not come.

        Args:
            calls: to be sent once more where the server does not know their script.
            then: sent once more, too, so that these are behind all calls.
            once: never sent once more.
            ahead: what `send` has sent before.
        """
        sent = [*ahead, (calls, self._send("EVALSHA", self._digests, calls, [*once, *then]))]
        return Then(sent[-1][1], lambda: self._answers(sent, then, len(once)))

    def _answers(self, sent: Sequence[Ahead], then: Sequence[Command], number_once: int) -> Answers:
        """Wait for all replies; scripts that are unknown are sent again."""
        calls = [call for some, _replies in sent for call in some]
        replies, following = _received(sent)
        once, following = following[:number_once], following[number_once:]
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            # Not SCRIPT LOAD and EVALSHA again: the scripts may be flushed in between. And the
            # commands again, because they have come before these calls.
            calls_again = [calls[i] for i in unknown]
            sent_again = self._send("EVAL", self._texts, calls_again, then)
            again, following = _received([(calls_again, sent_again)])
            for i, reply in zip(unknown, again, strict=True):
                replies[i] = reply
        return Answers(replies, once, following)

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
            found = to_come.result()
            replies += found[: len(calls)]
            following = found[len(calls) :]
    return replies, following


@cache
def _scripts() -> tuple[Mapping[str, bytes], Mapping[str, str]]:
    """Return each script's text and its digest, by which Redis names it: no secret rests on it."""
    folder = resources.files("kmworker.store").joinpath("lua")
    guard = folder.joinpath("guard.lua").read_bytes()
    texts = {
        name: (guard if name in WRITING else b"") + folder.joinpath(f"{name}.lua").read_bytes()
        for name in READING + WRITING
    }
    digests = {
        name: hashlib.sha1(text, usedforsecurity=False).hexdigest() for name, text in texts.items()
    }
    return texts, digests
