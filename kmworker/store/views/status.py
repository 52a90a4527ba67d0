"""The state of an installation in one look, from the keys that dashboards read.

All of it is best effort: workers write it beside their work, and a store that has seen
no worker yet has none of it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from redis.exceptions import RedisError

from kmworker.domain.keks import KekEntry
from kmworker.errors import StoreUnavailable
from kmworker.store.connection import store_errors
from kmworker.store.crowds import Crowd, crowd_in
from kmworker.store.inspection import Views, finite, text_of
from kmworker.store.kek_states import STATES, keks_named
from kmworker.store.made_anew import WrongType, is_wrong_type, wrong_types
from kmworker.store.rollback import standing_refusal
from kmworker.store.spread import COUNTED_AT
from kmworker.store.views.delegation import DelegationSeen, read_clients, read_trust
from kmworker.store.views.janitor import DueKeys, JanitorSeen, due_in, number_of, read_janitor
from kmworker.store.views.keks import KekSeen, is_of_keks, keks_in
from kmworker.store.views.key_servers import read_key_servers

__all__ = [
    "MAX_CROWDS", "UNREADABLE", "Incident", "OldestWaiting", "Rate", "Status", "WorkerSeen",
    "read_crowds", "read_incident", "read_status", "read_workers",
]  # fmt: skip

LIVE_S: Final = 15.0
MAX_WORKERS: Final = 1000
MAX_CROWDS: Final = 1000
RATE_OVER_S: Final = 300.0
MAX_MINUTES: Final = 10_000
MINUTE_S: Final = 60.0
MILLISECONDS: Final = 1000
ASSIGNED: Final = ("create", "clone", "reuse", "none")
UNREADABLE: Final = "unreadable"
"""The state of a worker whose report somebody has put something else in place of."""

T = TypeVar("T")


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
    trouble: str = ""
    """What others keep it from doing just now, while all else goes on."""
    kek_ids: tuple[str, ...] = ()
    """The KEKs in its keyring."""
    clock_ahead_s: float = 0.0
    """How far its host's clock is ahead of the store's."""
    incarnation: str = ""
    """Tells its process from all others: see `kmworker.worker.incarnation`."""
    keyring_trouble: str = ""
    """Why its changed keyring file is not taken up: a `KeyringFlaw`."""
    keyring_trouble_since: float = 0.0


@dataclass(frozen=True, slots=True)
class Incident:
    """Why no worker may go on before a person has decided."""

    detail: str
    hint: str


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
    """The state of an installation; None for what a key of another type keeps from us."""

    incident: Incident | None
    wrong_types: list[WrongType]
    """Keys in whose place somebody has put something else."""
    totals: dict[str, int] | None
    totals_computed_at: float
    keks: list[KekSeen] | None
    """What is under each KEK, as it was counted last."""
    keks_counted_at: float
    due: DueKeys | None
    """What there is for the janitor to do."""
    janitor: JanitorSeen | None
    """None, too, if none was ever seen."""
    queues: dict[str, int] | None
    """Empty if no worker has counted them yet."""
    queues_seen_at: float
    queues_asked: bool
    """Whether the broker was asked just now; else they are what a worker counted last."""
    broker_trouble: str
    """Why it was not, if one is configured."""
    dead: dict[str, int] | None
    """Dead letters by reason, running totals."""
    waiting: int | None
    oldest_waiting: OldestWaiting | None
    near_bound: list[Crowd] | None
    """Projects whose waiting events are near their bound, the nearest first."""
    rate: Rate | None
    workers: list[WorkerSeen] | None
    """The latest seen first."""
    delegation: DelegationSeen


def read_status(views: Views, now: float, max_identity_days: float) -> Status:
    """Look at everything once.

    Args:
        views: the store.
        now: Unix seconds.
        max_identity_days: how old a client's identity should get.
    """
    wrong = wrong_types(views.client, views.names)
    spoilt = {it.key for it in wrong}

    def of(key: str, read: Callable[[], T]) -> T | None:
        return None if views.names.top(key) in spoilt else read()

    totals, queues, dead = (
        of(key, partial(views.fields, key)) for key in ("totals", "queues", "dead")
    )
    waiting, oldest = of("due", lambda: _waiting(views)) or (None, None)
    return Status(
        incident=read_incident(views),
        wrong_types=wrong,
        totals=_counts(_of_all(totals), "computed_at", "next_due"),
        totals_computed_at=number_of(totals or {}, "computed_at"),
        keks=None if totals is None else keks_in(_keks(views), totals),
        keks_counted_at=number_of(totals or {}, COUNTED_AT),
        due=None if totals is None else due_in(totals),
        janitor=of("janitor", lambda: read_janitor(views)),
        queues=_counts(queues, "seen_at"),
        queues_seen_at=number_of(queues or {}, "seen_at"),
        queues_asked=False,
        broker_trouble="",
        dead=_counts(dead),
        waiting=waiting,
        oldest_waiting=oldest,
        near_bound=of("crowded", lambda: read_crowds(views)),
        rate=of("minutes", lambda: _rate(views, now)),
        workers=of("workers", lambda: read_workers(views, now)),
        delegation=DelegationSeen(
            of("keyservers", lambda: read_key_servers(views, now)),
            read_trust(views),
            read_clients(views, now, max_identity_days),
        ),
    )


def _of_all(totals: dict[str, str] | None) -> dict[str, str] | None:
    if totals is None:
        return None
    return {name: text for name, text in totals.items() if not is_of_keks(name)}


def _keks(views: Views) -> dict[str, KekEntry]:
    try:
        return keks_named(views.field("keyring", STATES))
    except StoreUnavailable:
        # If it is there at all, another look says so; what it says is no matter for this one.
        return {}


def read_crowds(views: Views) -> list[Crowd]:
    """Return the projects whose waiting events are near their bound, the nearest first."""
    cursor: int | None = None
    found: list[Crowd | None] = []
    while cursor != 0 and len(found) < MAX_CROWDS:
        with store_errors():
            cursor, entries = views.client.hscan(
                views.names.top("crowded"), cursor or 0, count=MAX_CROWDS
            )
        found += [crowd_in(name, text) for name, text in entries.items()]
    crowds = [crowd for crowd in found if crowd is not None]
    return sorted(crowds, key=lambda crowd: crowd.share, reverse=True)


def read_incident(views: Views) -> Incident | None:
    """Return what keeps all workers from the store until a person decides, None for nothing."""
    with store_errors():
        refusal = standing_refusal(views.client, views.names)
    return None if refusal is None else Incident(str(refusal), refusal.hint)


def read_workers(views: Views, now: float) -> list[WorkerSeen]:
    """Return the workers of the last day, the latest seen first.

    Args:
        views: the store.
        now: Unix seconds.
    """
    with store_errors():
        seen = views.client.zrevrange(
            views.names.top("workers"), 0, MAX_WORKERS - 1, withscores=True
        )
        ids = [(name.decode(errors="replace"), finite(score)) for name, score in seen]
        pipeline = views.client.pipeline(transaction=False)
        for worker_id, _seen_at in ids:
            pipeline.hgetall(views.names.worker(worker_id))
        found = pipeline.execute(raise_on_error=False) if ids else []
        return [
            _worker(worker_id, seen_at, _report(views, worker_id, reply), now)
            for (worker_id, seen_at), reply in zip(ids, found, strict=True)
        ]


def _report(views: Views, worker_id: str, reply: Any) -> dict[str, str]:  # noqa: ANN401  # a server's
    """Return what a worker has reported; of one that somebody has spoilt, that it is."""
    if is_wrong_type(reply):
        said = f"{views.names.worker(worker_id)} is no hash"
        return {"state": UNREADABLE, "last_error": said}
    if isinstance(reply, RedisError):
        raise reply
    return text_of(reply)


def _worker(worker_id: str, seen_at: float, fields: dict[str, str], now: float) -> WorkerSeen:
    state = fields.get("state", "unknown")
    return WorkerSeen(
        worker_id=worker_id,
        seen_at=seen_at,
        is_live=state != "stopped" and now - seen_at <= LIVE_S,
        host=fields.get("host", ""),
        pid=int(number_of(fields, "pid")),
        state=state,
        started_at=number_of(fields, "started"),
        last_batch_at=number_of(fields, "last_batch"),
        busy_since=number_of(fields, "busy_since"),
        last_error=fields.get("last_error", ""),
        trouble=fields.get("trouble", ""),
        kek_ids=tuple(fields.get("kek_ids", "").split()),
        clock_ahead_s=number_of(fields, "clock_ahead_s") or 0.0,  # not -0.0
        incarnation=fields.get("incarnation", ""),
        keyring_trouble=fields.get("keyring_trouble", ""),
        keyring_trouble_since=number_of(fields, "keyring_trouble_since"),
    )


def _waiting(views: Views) -> tuple[int, OldestWaiting | None]:
    number, first = 0, (float("inf"), "", "")
    for page in views.projects_waiting():
        with store_errors():
            pipeline = views.client.pipeline(transaction=False)
            for project in page:
                pipeline.hlen(views.names.of(project, "waiting"))
                key = views.names.of(project, "waiting:deadlines")
                pipeline.zrange(key, 0, 0, withscores=True)
            replies = pipeline.execute()
        number += sum(replies[::2])
        for project, entries in zip(page, replies[1::2], strict=True):
            for entry, deadline in entries:
                first = min(first, (deadline, project, entry.decode(errors="replace")))
    return number, _oldest(views, first[1], first[2]) if first[1] else None


def _oldest(views: Views, project: str, entry: str) -> OldestWaiting | None:
    (record,) = views.records(project, "waiting", [entry])
    try:
        fields = json.loads(record or b"")
        names = ("item", "source", "since", "deadline")
        return OldestWaiting(project, *(str(fields[name]) for name in names))
    except (ValueError, KeyError, TypeError, RecursionError):
        # It has left meanwhile, or someone wrote there; neither is this command's to judge.
        return None


def _rate(views: Views, now: float) -> Rate | None:
    """Add up the worker-minutes of the last five minutes."""
    since = now - RATE_OVER_S
    with store_errors():
        entries = views.client.xrange(
            views.names.top("minutes"), min=int(since * MILLISECONDS), count=MAX_MINUTES
        )
    if not entries:
        return None
    # Each entry is written at its minute's end.
    first = int(entries[0][0].split(b"-")[0]) / MILLISECONDS - MINUTE_S
    over_s = max(now - first, 1.0)
    minutes = [text_of(fields) for _id, fields in entries]
    assigned = sum(number_of(minute, name) for minute in minutes for name in ASSIGNED)
    return Rate(
        over_s=round(over_s, 1),
        assigned_per_s=round(assigned / over_s, 3),
        repeats_per_s=round(sum(number_of(minute, "repeat") for minute in minutes) / over_s, 3),
        latency_p50_ms=max(number_of(minute, "latency_p50_ms") for minute in minutes),
        latency_p99_ms=max(number_of(minute, "latency_p99_ms") for minute in minutes),
    )


def _counts(fields: dict[str, str] | None, *but: str) -> dict[str, int] | None:
    if fields is None:
        return None
    return {name: int(number_of(fields, name)) for name in fields if name not in but}
