"""``kmworker status``: what dashboards see, for a terminal."""

from collections.abc import Iterator
from dataclasses import asdict
from time import time
from typing import Annotated

import typer

from kmworker.cli.access import settings_of, views_of
from kmworker.cli.output import ago, column_table, display, grid, line, plural, print_json
from kmworker.cli.program import examples, group
from kmworker.store.views_status import OldestWaiting, Rate, Status, WorkerSeen, read_status

__all__ = ["app"]

app = group()


@app.command(epilog=examples("kmworker status", "kmworker status --json | jq .totals"))
def status(
    context: typer.Context,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; times in Unix seconds.")
    ] = False,
) -> None:
    """Show totals, queues, workers, dead letters and waiting events.

    All of it is in the store, written by the workers: the broker is not asked. A worker is live
    if it was seen within the last 15 seconds.
    """
    now = time()
    found = read_status(views_of(settings_of(context)), now)
    if as_json:
        print_json(asdict(found))
        return
    display(grid(_lines(found, now)))
    if found.workers:
        line("")
        display(column_table(WORKER_COLUMNS, (_worker(it, now) for it in found.workers)))


WORKER_COLUMNS = ("worker", "", "seen", "started", "last batch", "last error")


def _lines(found: Status, now: float) -> Iterator[tuple[str, str]]:
    totals = found.totals
    if not found.totals_computed_at:
        yield "totals", "none yet: no worker has counted"
    else:
        counted = f"(counted {ago(found.totals_computed_at, now)})"
        yield "records", f"{_numbers(totals, 'items', 'keys', 'scopes')}  {counted}"
        yield "items by", _numbers(totals, "create", "clone", "reuse", "none")
    yield "queues", _queues(found, now)
    dead = ", ".join(f"{reason} {number:,}" for reason, number in sorted(found.dead.items()))
    yield "dead letters", dead or "none"
    yield "waiting", _waiting(found.waiting, found.oldest_waiting)
    yield "rate", _rate(found.rate)
    live = sum(worker.is_live for worker in found.workers)
    yield "workers", f"{live:,} live" + (f" of {len(found.workers):,} seen today" if live else "")


def _numbers(counts: dict[str, int], *names: str) -> str:
    return ", ".join(f"{name} {counts.get(name, 0):,}" for name in names)


def _queues(found: Status, now: float) -> str:
    if not found.queues_seen_at:
        return "not counted yet"
    consumers = plural(found.queues.get("consumers", 0), "consumer")
    ready = f"work {found.queues.get('work', 0):,}, dead {found.queues.get('dead', 0):,} ready"
    return f"{ready}, {consumers}  (counted {ago(found.queues_seen_at, now)})"


def _waiting(number: int, oldest: OldestWaiting | None) -> str:
    if oldest is None:
        return plural(number, "event")
    return (
        f"{plural(number, 'event')}, the oldest {oldest.item} of project {oldest.project}"
        f" for {oldest.source}, since {oldest.since}, until {oldest.deadline}"
    )


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return "not known yet: workers report once a minute"
    return (
        f"{rate.assigned_per_s:,.1f} assignments/s, {rate.repeats_per_s:,.1f} repeats/s"
        f" over {rate.over_s:.0f} s; p50 {rate.latency_p50_ms:.1f} ms,"
        f" p99 {rate.latency_p99_ms:.1f} ms"
    )


def _worker(worker: WorkerSeen, now: float) -> tuple[str, ...]:
    state = "live" if worker.is_live else worker.state if worker.state == "stopped" else "gone"
    return (
        worker.worker_id,
        state,
        ago(worker.seen_at, now),
        ago(worker.started_at, now),
        ago(worker.last_batch_at, now),
        worker.last_error,
    )
