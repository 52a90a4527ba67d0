"""Counting all projects, a few at a time; what it costs grows with their number."""

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from redis.exceptions import RedisError

from kmworker.domain.model import Disposition
from kmworker.store.client import Client
from kmworker.store.counts import number_in
from kmworker.store.names import Names
from kmworker.store.pipe import Command
from kmworker.store.slow_count import SlowCount

__all__ = ["Census"]

SIZES: Final = ("items", "keys", "scopes", "waiting")
DISPOSITIONS: Final = tuple(it.value for it in Disposition)
# How many key-ids are in each state would cost a look at all of them; this is known by itself.
PENDING: Final = ("outbox", "unrecorded", "due")
# At least, from the end of one count to the beginning of the next.
EVERY_S: Final = 5.0
# Projects in one step: some milliseconds of Redis' time and ours.
PAGE_SIZE: Final = 100
COMMANDS: Final = len(SIZES) + len(PENDING) + 2
"""Of `Census._counting`, for each project."""
FIRST: Final = ("-inf", "+inf", "WITHSCORES", "LIMIT", 0, 1)


class ProjectCount(NamedTuple):
    """What one project adds."""

    numbers: Mapping[str, int]
    next_due: float
    """When the janitor has something to do there, Unix seconds; infinite: never."""


class Census:
    """Adds up all projects into ``km:totals``, and finds those that the indexes lack."""

    def __init__(
        self, client: Client, names: Names, holder: str, monotonic: Callable[[], float]
    ) -> None:
        self._client = client
        self._names = names
        self._pace = SlowCount(
            client, names.lease("totals"), holder, monotonic, self._count, EVERY_S
        )
        self.step_if_due = self._pace.step_if_due

    def _count(self, now: float) -> Iterator[None]:
        """Count; each ``yield`` is a time in which Redis does its part."""
        totals: dict[str, int | float] = dict.fromkeys([*SIZES, *DISPOSITIONS, *PENDING], 0)
        next_due, cursor = math.inf, b"0"
        while True:
            scan = ("SSCAN", self._names.top("projects"), cursor, "COUNT", PAGE_SIZE)
            (reply,) = yield from self._pace.asked([scan])
            if isinstance(reply, RedisError):
                raise reply
            cursor, page = reply
            names = [name.decode(errors="replace") for name in page]
            asking = [it for name in names for it in self._counting(name)]
            counts = yield from self._pace.asked(asking)
            found = dict(zip(names, map(_counted, _by(counts, COMMANDS)), strict=True))
            for ours in found.values():
                for name in totals:
                    totals[name] += ours.numbers[name]
                next_due = min(next_due, ours.next_due)
            yield from self._see_that_they_are_due(_with("waiting", found))
            left = {*_with("outbox", found), *_with("unrecorded", found)}
            yield from self._see_that_they_are_announced(sorted(left), now)
            if int(cursor) == 0:
                break
            self._pace.keep()
        due_at = 0 if next_due == math.inf else next_due
        fields: dict[Any, Any] = {**totals, "next_due": due_at, "computed_at": now}
        self._client.hset(self._names.top("totals"), mapping=fields)
        self._pace.end()

    def _counting(self, project: str) -> Iterator[Command]:
        for name in SIZES:
            yield "HLEN", self._names.of(project, name)
        yield "HLEN", self._names.of(project, "outbox")
        yield "HLEN", self._names.of(project, "unrecorded")
        due = self._names.of(project, "keys:due")
        yield "ZCARD", due
        yield "ZRANGEBYSCORE", due, *FIRST
        yield "HMGET", self._names.of(project, "stats"), *DISPOSITIONS

    def _see_that_they_are_due(self, projects: Sequence[str]) -> Generator[None, None, None]:
        """Enter projects where events wait into the index, if someone has taken them out."""
        if not projects:
            return
        keys = [self._names.of(project, "waiting:deadlines") for project in projects]
        found = yield from self._pace.asked([("ZRANGEBYSCORE", key, *FIRST) for key in keys])
        index = self._names.top("due")
        entered = [
            ("ZADD", index, "LT", earliest, project)
            for project, earliest in zip(projects, map(_earliest, found), strict=True)
            if earliest != math.inf
        ]
        yield from self._pace.asked(entered)

    def _see_that_they_are_announced(
        self, projects: Sequence[str], now: float
    ) -> Generator[None, None, None]:
        """Enter projects of which something is to be said into that index, if it lacks them."""
        if projects:
            # NX: what is there is later on purpose where its announcing was tried a moment ago.
            index = self._names.top("outboxes")
            entered = [("ZADD", index, "NX", now, project) for project in projects]
            yield from self._pace.asked(entered)


def _counted(replies: Sequence[Any]) -> ProjectCount:
    """Return a project's numbers from the replies to `Census._counting`, in their order."""
    *sizes, first, dispositions = replies
    numbers = {name: _number(it) for name, it in zip((*SIZES, *PENDING), sizes, strict=True)}
    texts = dispositions if isinstance(dispositions, list) else [None] * len(DISPOSITIONS)
    numbers |= {name: _number(text) for name, text in zip(DISPOSITIONS, texts, strict=True)}
    return ProjectCount(numbers, _earliest(first))


def _earliest(reply: object) -> float:
    """Return the score in the reply to `FIRST`; infinity where there is none."""
    if not isinstance(reply, list) or not reply:
        return math.inf
    # RESP3 gives pairs.
    pair = reply[0] if isinstance(reply[0], list) else reply
    return float(pair[1])


def _with(name: str, found: Mapping[str, ProjectCount]) -> list[str]:
    return [project for project, it in found.items() if it.numbers[name]]


def _by(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (values[at : at + size] for at in range(0, len(values), size))


def _number(reply: object) -> int:
    """Read a count; one that someone has spoilt counts for nothing and stops no other."""
    if isinstance(reply, int):
        return reply
    return (number_in(reply) or 0) if isinstance(reply, bytes) else 0
