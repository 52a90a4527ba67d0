"""What dashboards read: feed, minutes, totals, queues, workers. Best effort."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Final

from redis.exceptions import RedisError

from kmworker.errors import StoreUnavailable
from kmworker.ports import Pending, Report
from kmworker.store.census import Census
from kmworker.store.client import Client
from kmworker.store.names import Names
from kmworker.store.pipe import Command, Replies, Then
from kmworker.store.spread import Spread

__all__ = ["RedisReports"]

DAY_S: Final = 86_400
WEEK_S: Final = 7 * DAY_S
FEED_LENGTH: Final = 10_000


class RedisReports:
    """Writes a worker's reports."""

    def __init__(
        self, client: Client, names: Names, worker_id: str, monotonic: Callable[[], float]
    ) -> None:
        self._client = client
        self._names = names
        self._census = Census(client, names, worker_id, monotonic)
        self._spread = Spread(client, names, worker_id, monotonic)

    def write(self, report: Report) -> Pending[None]:
        """Write what has happened since the last report.

        Raises:
            StoreUnavailable: here or when it is waited for: some of it could not be written, for
                whatever reason; the rest is. No worker ends over what only dashboards read.
        """
        with _told():
            replies = self._client.pipe.send(self._commands(report))
        return Then(replies, lambda: _check(replies))

    def count_if_due(self, now: float) -> None:
        """Go on counting all projects, and what is under each KEK, by one step; now: Unix seconds.

        Raises:
            StoreUnavailable: it begins anew the next time.
        """
        with _told():
            if not self._census.step_if_due(now):
                self._spread.step_if_due(now)

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


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise StoreUnavailable(f"not all of a report was written: {error}") from error


def _check(replies: Replies) -> None:
    with _told():
        for reply in replies.result():
            if isinstance(reply, RedisError):
                raise reply


def _flat(fields: Mapping[str, str | int | float]) -> Iterator[str | int | float]:
    for name, value in fields.items():
        yield name
        yield value
