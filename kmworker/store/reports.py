"""What dashboards read: feed, minutes, totals, queues, workers. Best effort."""

from collections.abc import Callable
from typing import Any, Final

import redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from kmworker.errors import StoreUnavailable
from kmworker.model import Disposition
from kmworker.store.names import Names
from kmworker.tally import Report

__all__ = ["RedisReports"]

DAY_S: Final = 86_400
WEEK_S: Final = 7 * DAY_S
FEED_LENGTH: Final = 10_000
TOTALS_EVERY_S: Final = 5.0
# The share of time that counting all projects may take up.
TOTALS_SHARE: Final = 0.05


class RedisReports:
    """Writes a worker's reports."""

    def __init__(self, client: redis.Redis, names: Names, monotonic: Callable[[], float]) -> None:
        self._client: Any = client  # its types want bytes where it takes str
        self._names = names
        self._monotonic = monotonic

    def write(self, report: Report) -> None:
        """Write what has happened since the last report.

        Raises:
            StoreUnavailable: some of it could not be written, for whatever reason; the
                rest is. No worker ends over what only dashboards read.
        """
        try:
            replies = self._pipeline(report).execute(raise_on_error=False)
            if report.queues is not None:
                self._total(report)
            for reply in replies:
                if isinstance(reply, RedisError):
                    raise reply
        except RedisError as error:
            raise StoreUnavailable(f"not all of a report was written: {error}") from error

    def _pipeline(self, report: Report) -> Pipeline:
        names = self._names
        pipeline: Pipeline = self._client.pipeline(transaction=False)
        worker = names.worker(report.worker_id)
        shown: dict[Any, Any] = dict(report.fields)
        pipeline.hset(worker, mapping=shown)
        pipeline.expire(worker, DAY_S)
        pipeline.zadd(names.top("workers"), {report.worker_id: report.seen_at})
        pipeline.zremrangebyscore(names.top("workers"), "-inf", report.seen_at - DAY_S)
        for entry in report.feed:
            fields: dict[Any, Any] = dict(entry)
            pipeline.xadd(names.top("feed"), fields, maxlen=FEED_LENGTH, approximate=True)
        if report.minute is not None:
            self._add_minute(pipeline, report)
        if report.queues is not None:
            counts = report.queues
            pipeline.hset(
                names.top("queues"),
                mapping={
                    "work": counts.work,
                    "dead": counts.dead,
                    "consumers": counts.consumers,
                    "seen_at": report.seen_at,
                },
            )
        return pipeline

    def _add_minute(self, pipeline: Pipeline, report: Report) -> None:
        fields: dict[Any, Any] = dict(report.minute or {})
        oldest = int((report.seen_at - WEEK_S) * 1000)
        pipeline.xadd(
            self._names.top("minutes"),
            fields,
            minid=max(oldest, 0),
            approximate=True,
        )

    def _total(self, report: Report) -> None:
        """Add up all projects; one worker at a time, rarer the longer it takes."""
        lease = self._names.lease("totals")
        if not self._client.set(lease, report.worker_id, nx=True, px=int(TOTALS_EVERY_S * 900)):
            return
        began = self._monotonic()
        totals: dict[str, int | float] = dict.fromkeys(
            ["items", "keys", "scopes", "waiting", *(d.value for d in Disposition)], 0
        )
        for project in self._client.sscan_iter(self._names.top("projects"), count=1000):
            self._add_project(totals, project.decode())
        mapping: dict[Any, Any] = {**totals, "computed_at": report.seen_at}
        self._client.hset(self._names.top("totals"), mapping=mapping)
        pause_s = max(TOTALS_EVERY_S * 0.9, (self._monotonic() - began) / TOTALS_SHARE)
        self._client.pexpire(lease, int(pause_s * 1000))

    def _add_project(self, totals: dict[str, int | float], project: str) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for key in ("items", "keys", "scopes"):
            pipeline.hlen(self._names.of(project, key))
        pipeline.hlen(self._names.of(project, "waiting"))
        dispositions = [disposition.value for disposition in Disposition]
        pipeline.hmget(self._names.of(project, "stats"), dispositions)
        *sizes, counted = pipeline.execute(raise_on_error=False)
        for name, number in zip(("items", "keys", "scopes", "waiting"), sizes, strict=True):
            totals[name] += _number(number)
        if isinstance(counted, list):
            for name, text in zip(dispositions, counted, strict=True):
                totals[name] += _number(text)


def _number(reply: object) -> int:
    """Read a count; one that someone has spoilt counts for nothing and stops no other."""
    if isinstance(reply, int):
        return reply
    return int(reply) if isinstance(reply, bytes) and reply.isdigit() else 0
