"""The state of an installation in one look, from the keys that dashboards read.

All of it is best effort: workers write it beside their work, and a store that has seen
no worker yet has none of it.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from kmworker.store.connection import store_errors
from kmworker.store.views import Views, portions, text_of

__all__ = ["OldestWaiting", "Rate", "Status", "WorkerSeen", "read_status", "read_workers"]

LIVE_S: Final = 15.0
WORKERS_MAX: Final = 1000
RATE_OVER_S: Final = 300.0
MINUTES_MAX: Final = 10_000
MINUTE_S: Final = 60.0
MILLISECONDS: Final = 1000
ASSIGNED: Final = ("create", "clone", "reuse", "none")


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker that has reported within the last day."""

    worker_id: str
    seen_at: float
    """Unix seconds, as are the other times here; 0 for never."""
    is_live: bool
    host: str
    pid: int
    state: str
    started_at: float
    last_batch_at: float
    busy_since: float
    """Since when it has events at hand and has finished no batch; 0 while idle."""
    last_error: str


@dataclass(frozen=True, slots=True)
class OldestWaiting:
    """The event that has waited longest for its source."""

    project: str
    item: str
    source: str
    since: str
    deadline: str


@dataclass(frozen=True, slots=True)
class Rate:
    """How much the workers did lately."""

    over_s: float
    assigned_per_s: float
    repeats_per_s: float
    latency_p50_ms: float
    """The slowest worker's and minute's, as is the next."""
    latency_p99_ms: float


@dataclass(frozen=True, slots=True)
class Status:
    """The state of an installation."""

    totals: dict[str, int]
    totals_computed_at: float
    queues: dict[str, int]
    """Empty if no worker has counted them yet."""
    queues_seen_at: float
    dead: dict[str, int]
    """Dead letters by reason, running totals."""
    waiting: int
    oldest_waiting: OldestWaiting | None
    rate: Rate | None
    workers: list[WorkerSeen]
    """The latest seen first."""


def read_status(views: Views, now: float) -> Status:
    """Look at everything once.

    Args:
        views: the store.
        now: Unix seconds.
    """
    totals, queues = views.fields("totals"), views.fields("queues")
    waiting, oldest = _waiting(views)
    computed_at, seen_at = _number(totals, "computed_at"), _number(queues, "seen_at")
    return Status(
        totals=_counts(totals, but="computed_at"),
        totals_computed_at=computed_at,
        queues=_counts(queues, but="seen_at"),
        queues_seen_at=seen_at,
        dead=_counts(views.fields("dead")),
        waiting=waiting,
        oldest_waiting=oldest,
        rate=_rate(views, now),
        workers=read_workers(views, now),
    )


def read_workers(views: Views, now: float) -> list[WorkerSeen]:
    """Return the workers of the last day, the latest seen first.

    Args:
        views: the store.
        now: Unix seconds.
    """
    with store_errors():
        seen = views.client.zrevrange(
            views.names.top("workers"), 0, WORKERS_MAX - 1, withscores=True
        )
        ids = [(name.decode(errors="replace"), float(score)) for name, score in seen]
        pipeline = views.client.pipeline(transaction=False)
        for worker_id, _seen_at in ids:
            pipeline.hgetall(views.names.worker(worker_id))
        found = pipeline.execute() if ids else []
    return [
        _worker(worker_id, seen_at, text_of(fields), now)
        for (worker_id, seen_at), fields in zip(ids, found, strict=True)
    ]


def _worker(worker_id: str, seen_at: float, fields: dict[str, str], now: float) -> WorkerSeen:
    state = fields.get("state", "unknown")
    return WorkerSeen(
        worker_id=worker_id,
        seen_at=seen_at,
        is_live=state != "stopped" and now - seen_at <= LIVE_S,
        host=fields.get("host", ""),
        pid=int(_number(fields, "pid")),
        state=state,
        started_at=_number(fields, "started"),
        last_batch_at=_number(fields, "last_batch"),
        busy_since=_number(fields, "busy_since"),
        last_error=fields.get("last_error", ""),
    )


def _waiting(views: Views) -> tuple[int, OldestWaiting | None]:
    number, first = 0, (float("inf"), "", "")
    for portion in portions(views.projects()):
        with store_errors():
            pipeline = views.client.pipeline(transaction=False)
            for project in portion:
                pipeline.hlen(views.names.of(project, "waiting"))
                key = views.names.of(project, "waiting:deadlines")
                pipeline.zrange(key, 0, 0, withscores=True)
            replies = pipeline.execute()
        number += sum(replies[::2])
        for project, entries in zip(portion, replies[1::2], strict=True):
            for entry, deadline in entries:
                first = min(first, (deadline, project, entry.decode(errors="replace")))
    return number, _oldest(views, first[1], first[2]) if first[1] else None


def _oldest(views: Views, project: str, entry: str) -> OldestWaiting | None:
    (record,) = views.records(project, "waiting", [entry])
    try:
        fields = json.loads(record or b"")
        names = ("item", "source", "since", "deadline")
        return OldestWaiting(project, *(str(fields[name]) for name in names))
    except (ValueError, KeyError, TypeError):
        # It has left meanwhile, or someone wrote there; neither is this command's to judge.
        return None


def _rate(views: Views, now: float) -> Rate | None:
    """Add up the worker-minutes of the last five minutes."""
    since = now - RATE_OVER_S
    with store_errors():
        entries = views.client.xrange(
            views.names.top("minutes"), min=int(since * MILLISECONDS), count=MINUTES_MAX
        )
    if not entries:
        return None
    # Each entry is written at its minute's end.
    first = int(entries[0][0].split(b"-")[0]) / MILLISECONDS - MINUTE_S
    over_s = max(now - first, 1.0)
    minutes = [text_of(fields) for _id, fields in entries]
    assigned = sum(_number(minute, name) for minute in minutes for name in ASSIGNED)
    return Rate(
        over_s=round(over_s, 1),
        assigned_per_s=round(assigned / over_s, 3),
        repeats_per_s=round(sum(_number(minute, "repeat") for minute in minutes) / over_s, 3),
        latency_p50_ms=max(_number(minute, "latency_p50_ms") for minute in minutes),
        latency_p99_ms=max(_number(minute, "latency_p99_ms") for minute in minutes),
    )


def _counts(fields: dict[str, str], but: str = "") -> dict[str, int]:
    return {name: int(_number(fields, name)) for name in fields if name != but}


def _number(fields: dict[str, Any], name: str) -> float:
    try:
        return float(fields.get(name) or 0)
    except ValueError:
        return 0.0
