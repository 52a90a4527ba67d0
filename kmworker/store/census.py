"""Counting all projects, a few at a time.

What it costs grows with the number of projects, so it is never done in one go: each step
sends something small or reads what has come of it meanwhile, and the next is not before
twenty times as long has passed. One worker counts, by lease; another begins anew if it ends.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Final

from redis.exceptions import RedisError

from kmworker.domain.model import Disposition
from kmworker.store import leases
from kmworker.store.client import Client
from kmworker.store.names import Names
from kmworker.store.pipe import Command

__all__ = ["Census"]

SIZES: Final = ("items", "keys", "scopes", "waiting")
DISPOSITIONS: Final = tuple(it.value for it in Disposition)
# Where else is what of a project's replies: behind its sizes.
STATS: Final = len(SIZES)
OUTBOX: Final = STATS + 1
REPLIES: Final = OUTBOX + 1
# At least, from the end of one count to the beginning of the next.
EVERY_S: Final = 5.0
# The share of time that counting may take up.
SHARE: Final = 0.05
# Projects in one step: some milliseconds of Redis' time and ours.
PAGE_SIZE: Final = 100
# After which another worker takes it that this one has ended.
LEASE_S: Final = 30.0
OVER: Final = object()
"""In place of a step, where there is none."""


class Census:
    """Adds up all projects into ``km:totals``, and finds those that the indexes lack."""

    def __init__(
        self, client: Client, names: Names, holder: str, monotonic: Callable[[], float]
    ) -> None:
        self._client = client
        self._names = names
        self._holder = holder
        self._monotonic = monotonic
        self._lease = names.lease("totals")
        self._steps: Iterator[None] = iter(())
        self._next_at = -math.inf

    def step_if_due(self, now: float) -> None:
        """Go on by one step, if it is time.

        Args:
            now: Unix seconds.

        Raises:
            RedisError: the count begins anew the next time.
        """
        began = self._monotonic()
        if began < self._next_at:
            return
        self._next_at = began + EVERY_S
        if self._go_on() or self._begin(now):
            ended = self._monotonic()
            self._next_at = ended + (ended - began) / SHARE

    def _go_on(self) -> bool:
        """Do a step of the count that is under way; return whether there was one."""
        return next(self._steps, OVER) is not OVER

    def _begin(self, now: float) -> bool:
        """Do the first step of a new count; return whether it is this worker's to count."""
        if not leases.take(self._client, self._lease, self._holder, LEASE_S):
            return False
        self._steps = self._count(now)
        return self._go_on()

    def _count(self, now: float) -> Iterator[None]:
        """Count; each ``yield`` is a time in which Redis does its part."""
        totals: dict[str, int | float] = dict.fromkeys([*SIZES, *DISPOSITIONS], 0)
        cursor = b"0"
        while True:
            scan = ("SSCAN", self._names.top("projects"), cursor, "COUNT", PAGE_SIZE)
            (reply,) = yield from self._asked([scan])
            if isinstance(reply, RedisError):
                raise reply
            cursor, found = reply
            names = [name.decode(errors="replace") for name in found]
            counts = yield from self._asked([it for name in names for it in self._counting(name)])
            counted = dict(zip(names, _by(counts, REPLIES), strict=True))
            waiting = [name for name, ours in counted.items() if _add(totals, ours)]
            yield from self._see_that_they_are_due(waiting)
            unsaid = [name for name, ours in counted.items() if _number(ours[OUTBOX])]
            yield from self._see_that_they_are_told(unsaid, now)
            if int(cursor) == 0:
                break
            self._client.pexpire(self._lease, _ms(LEASE_S))
        fields: dict[Any, Any] = {**totals, "computed_at": now}
        self._client.hset(self._names.top("totals"), mapping=fields)
        # The next count is another worker's, or ours.
        self._client.pexpire(self._lease, _ms(EVERY_S * 0.9))

    def _asked(self, commands: Sequence[Command]) -> Generator[None, None, list[Any]]:
        replies = self._client.pipe.send(commands)
        yield
        found = replies.result()
        for reply in found:
            if isinstance(reply, RedisError) and "WRONGTYPE" not in str(reply):
                raise reply
        return found

    def _counting(self, project: str) -> Iterator[Command]:
        for name in SIZES:
            yield "HLEN", self._names.of(project, name)
        yield "HMGET", self._names.of(project, "stats"), *DISPOSITIONS
        yield "HLEN", self._names.of(project, "outbox")

    def _see_that_they_are_told(
        self, projects: Sequence[str], now: float
    ) -> Generator[None, None, None]:
        """Enter projects with something in their outbox into that index.

        It is in another slot than what they keep there: who is ended in between leaves a change
        that nobody would ever announce.
        """
        index = self._names.top("outboxes")
        if projects:
            yield from self._asked([("ZADD", index, "LT", f"{now:.3f}", it) for it in projects])

    def _see_that_they_are_due(self, projects: Sequence[str]) -> Generator[None, None, None]:
        """Enter projects where events wait into the index, if someone has taken them out."""
        if not projects:
            return
        keys = [self._names.of(project, "waiting:deadlines") for project in projects]
        first = ("-inf", "+inf", "WITHSCORES", "LIMIT", 0, 1)
        found = yield from self._asked([("ZRANGEBYSCORE", key, *first) for key in keys])
        index = self._names.top("due")
        entered = [
            ("ZADD", index, "LT", reply[1], project)
            for project, reply in zip(projects, found, strict=True)
            if isinstance(reply, list) and reply
        ]
        yield from self._asked(entered)


def _add(totals: dict[str, int | float], counted: Sequence[Any]) -> bool:
    """Add a project's numbers; return whether events wait there."""
    for name, number in zip(SIZES, counted, strict=False):
        totals[name] += _number(number)
    if isinstance(counted[STATS], list):
        for disposition, text in zip(DISPOSITIONS, counted[STATS], strict=True):
            totals[disposition] += _number(text)
    return _number(counted[SIZES.index("waiting")]) > 0


def _by(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (values[at : at + size] for at in range(0, len(values), size))


def _number(reply: object) -> int:
    """Read a count; one that someone has spoilt counts for nothing and stops no other."""
    if isinstance(reply, int):
        return reply
    return int(reply) if isinstance(reply, bytes) and reply.isdigit() else 0


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
