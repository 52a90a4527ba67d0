"""What dashboards read: feed, minutes, totals, queues, workers. Best effort."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from typing import Any, Final

from redis.exceptions import RedisError

from kmworker.errors import StoreUnavailable
from kmworker.model import Disposition
from kmworker.redis_client import Client
from kmworker.redis_pipe import Command, Replies
from kmworker.store.names import Names
from kmworker.tally import Report

__all__ = ["RedisReports"]

DAY_S: Final = 86_400
WEEK_S: Final = 7 * DAY_S
FEED_LENGTH: Final = 10_000
TOTALS_EVERY_S: Final = 5.0
# The share of time that counting all projects may take up.
TOTALS_SHARE: Final = 0.05
SIZES: Final = ("items", "keys", "scopes", "waiting")
# Projects that are counted in one round trip.
PORTION: Final = 500


class RedisReports:
    """Writes a worker's reports."""

    def __init__(self, client: Client, names: Names, monotonic: Callable[[], float]) -> None:
        self._client = client
        self._names = names
        self._monotonic = monotonic

    def write(self, report: Report) -> None:
        """Write what has happened since the last report.

        Raises:
            StoreUnavailable: some of it could not be written, for whatever reason; the
                rest is. No worker ends over what only dashboards read.
        """
        self.begin(report)()

    def begin(self, report: Report) -> Callable[[], None]:
        """Begin `write`; what is returned is the rest of it, and both may raise."""
        with _told():
            replies = self._client.pipe.send(self._commands(report))
            if report.queues is not None:
                self._total(report)
        return lambda: _check(replies)

    def _commands(self, report: Report) -> list[Command]:
        names = self._names
        commands: list[Command] = []
        if report.fields:
            worker, workers = names.worker(report.worker_id), names.top("workers")
            commands += [
                ("HSET", worker, *_flat(report.fields)),
                ("EXPIRE", worker, DAY_S),
                ("ZADD", workers, report.seen_at, report.worker_id),
                ("ZREMRANGEBYSCORE", workers, "-inf", report.seen_at - DAY_S),
            ]
        feed = names.top("feed")
        commands += [
            ("XADD", feed, "MAXLEN", "~", FEED_LENGTH, "*", *_flat(entry)) for entry in report.feed
        ]
        if report.minute is not None:
            oldest = max(int((report.seen_at - WEEK_S) * 1000), 0)
            minute = _flat(report.minute)
            commands.append(("XADD", names.top("minutes"), "MINID", "~", oldest, "*", *minute))
        if report.queues is not None:
            shown = asdict(report.queues) | {"seen_at": report.seen_at}
            commands.append(("HSET", names.top("queues"), *_flat(shown)))
        return commands

    def _total(self, report: Report) -> None:
        """Add up all projects; one worker at a time, rarer the longer it takes."""
        lease = self._names.lease("totals")
        if not self._client.set(lease, report.worker_id, nx=True, px=int(TOTALS_EVERY_S * 900)):
            return
        began = self._monotonic()
        totals: dict[str, int | float] = dict.fromkeys(
            [*SIZES, *(it.value for it in Disposition)], 0
        )
        projects = self._client.sscan_iter(self._names.top("projects"), count=PORTION)
        while portion := list(islice(projects, PORTION)):
            self._add(totals, [project.decode() for project in portion])
        mapping: dict[Any, Any] = {**totals, "computed_at": report.seen_at}
        self._client.hset(self._names.top("totals"), mapping=mapping)
        pause_s = max(TOTALS_EVERY_S * 0.9, (self._monotonic() - began) / TOTALS_SHARE)
        self._client.pexpire(lease, int(pause_s * 1000))

    def _add(self, totals: dict[str, int | float], projects: Sequence[str]) -> None:
        commands = [command for project in projects for command in self._counting(project)]
        replies = iter(self._client.pipe.send(commands)())
        for _project in projects:
            for name in SIZES:
                totals[name] += _number(next(replies))
            counted = next(replies)
            if isinstance(counted, list):
                for disposition, text in zip(Disposition, counted, strict=True):
                    totals[disposition.value] += _number(text)

    def _counting(self, project: str) -> Iterator[Command]:
        for name in SIZES:
            yield "HLEN", self._names.of(project, name)
        yield "HMGET", self._names.of(project, "stats"), *(it.value for it in Disposition)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise StoreUnavailable(f"not all of a report was written: {error}") from error


def _check(replies: Replies) -> None:
    with _told():
        for reply in replies():
            if isinstance(reply, RedisError):
                raise reply


def _flat(fields: Mapping[str, str | int | float]) -> Iterator[str | int | float]:
    for name, value in fields.items():
        yield name
        yield value


def _number(reply: object) -> int:
    """Read a count; one that someone has spoilt counts for nothing and stops no other."""
    if isinstance(reply, int):
        return reply
    return int(reply) if isinstance(reply, bytes) and reply.isdigit() else 0
