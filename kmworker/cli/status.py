"""``kmworker status``: what dashboards see, for a terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Final

import typer

from kmworker.bootstrap.brokers import count_queues
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.program import examples, group
from kmworker.cli.frame.store import now_of, views_of
from kmworker.cli.installation.crowds import crowded
from kmworker.cli.installation.delegation import MAX_IDENTITY_DAYS, delegation_lines
from kmworker.cli.installation.keks import janitor_trouble, keks_in_words
from kmworker.cli.installation.overdue import due_in_words, overdue
from kmworker.cli.installation.workers import troubles_of
from kmworker.cli.terminal.output import ago, column_table, display, grid, line, plural, print_json
from kmworker.errors import KMWorkerError
from kmworker.settings import Settings
from kmworker.store.made_anew import DELETE_HINT
from kmworker.store.views.janitor import JanitorSeen
from kmworker.store.views.status import OldestWaiting, Rate, Status, WorkerSeen, read_status

__all__ = ["app"]

UNREAD: Final = "not to be read: its key has another type"
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

    All of it is in the store, written by the workers and the janitor. The queues are asked of the
    broker, if one is configured and lets this user look; else they are what a worker counted last.
    A worker is live if it was seen within the last 15 seconds. What is under each KEK is counted
    slowly, by a look at all records. What is overdue by more than a day is told, and whether a
    janitor was seen; of delegation, the key servers, the end of the trust list, and whose identity
    is older than a year. A key in whose place somebody has put something else is named, with what
    to do; what it held is null in JSON, and all else is shown.
    """
    settings = settings_of(context)
    views = views_of(settings)
    now = now_of(views)
    found = _asked(read_status(views, now, MAX_IDENTITY_DAYS), settings, now)
    if as_json:
        print_json(asdict(found))
        return
    display(grid(_lines(found, now)))
    if found.workers:
        line("")
        display(column_table(WORKER_COLUMNS, (_worker(it, now) for it in found.workers)))


def _asked(found: Status, settings: Settings, now: float) -> Status:
    """Put in what the broker says of its queues, if it does."""
    if settings.broker.url is None:
        return found
    try:
        counts = count_queues(settings.broker)
    except KMWorkerError as error:
        return replace(found, broker_trouble=str(error))
    return replace(found, queues=asdict(counts), queues_seen_at=now, queues_asked=True)


WORKER_COLUMNS = ("worker", "", "seen", "started", "last batch", "last error")


def _lines(found: Status, now: float) -> Iterator[tuple[str, str]]:
    if found.incident is not None:
        yield "incident", found.incident.detail.removeprefix("incident ")
        yield "", f"hint: {found.incident.hint}"
    for wrong in found.wrong_types:
        yield "wrong type", str(wrong)
        yield "", f"hint: {DELETE_HINT}"
    totals = found.totals
    if totals is None:
        yield "totals", UNREAD
    elif not found.totals_computed_at:
        yield "totals", "none yet: no worker has counted"
    else:
        counted = f"(counted {ago(found.totals_computed_at, now)})"
        yield "records", f"{_numbers(totals, 'items', 'keys', 'scopes')}  {counted}"
        yield "items by", _numbers(totals, "create", "clone", "reuse", "none")
        if found.due is not None:
            yield "key-ids due", due_in_words(found.due, now)
        yield "outbox", plural(totals.get("outbox", 0), "change") + " to be announced"
        if unrecorded := totals.get("unrecorded", 0):
            # In an installation whose trail works, none for longer than a second.
            yield "audit", plural(unrecorded, "change") + " to be recorded"
    yield from _keks(found, now)
    yield "queues", _queues(found, now)
    if found.broker_trouble:
        yield "broker", f"not asked: {found.broker_trouble}"
    yield "dead letters", _dead(found.dead)
    yield "waiting", _waiting(found.waiting, found.oldest_waiting)
    if found.near_bound:
        yield "near bound", crowded(found.near_bound)
    is_rate_read = not any(it.key.endswith(":minutes") for it in found.wrong_types)
    yield "rate", _rate(found.rate) if is_rate_read else UNREAD
    yield "workers", _live(found.workers)
    for trouble in troubles_of(found.workers or ()):
        yield "trouble", trouble
    yield from _of_janitor(found, now)
    yield from delegation_lines(found.delegation, now, UNREAD)


def _keks(found: Status, now: float) -> Iterator[tuple[str, str]]:
    counted_at = found.keks_counted_at
    for said in keks_in_words(found.keks or (), is_counted=bool(counted_at)):
        yield "KEK", said
    if counted_at:
        yield "KEKs counted", ago(counted_at, now)


def _of_janitor(found: Status, now: float) -> Iterator[tuple[str, str]]:
    if any(it.key.endswith(":janitor") for it in found.wrong_types):
        yield "janitor", UNREAD
        return
    yield "janitor", _janitor(found.janitor, now)
    if found.janitor is not None and (trouble := janitor_trouble(found.janitor)):
        yield "trouble", trouble
    if found.due is not None:
        yield from _overdue(overdue(found.due, found.janitor, now))


def _overdue(found: tuple[str, str] | None) -> Iterator[tuple[str, str]]:
    if found is not None:
        yield "overdue", found[0]
        yield "", f"hint: {found[1]}"


def _janitor(seen: JanitorSeen | None, now: float) -> str:
    if seen is None:
        return "none was ever seen"
    done = {**asdict(seen), "put right": seen.put_right}
    said = _numbers(done, "destroyed", "lapsed", "put right", "forgotten", "stopped")
    return f"{seen.janitor_id}, seen {ago(seen.seen_at, now)}; {said}"


def _numbers(counts: dict[str, int], *names: str) -> str:
    return ", ".join(f"{name} {counts.get(name, 0):,}" for name in names)


def _dead(dead: dict[str, int] | None) -> str:
    if dead is None:
        return UNREAD
    return ", ".join(f"{reason} {number:,}" for reason, number in sorted(dead.items())) or "none"


def _live(workers: Sequence[WorkerSeen] | None) -> str:
    if workers is None:
        return UNREAD
    live = sum(worker.is_live for worker in workers)
    return f"{live:,} live" + (f" of {len(workers):,} seen today" if live else "")


def _queues(found: Status, now: float) -> str:
    if found.queues is None:
        return UNREAD
    if not found.queues_seen_at:
        return "not counted yet"
    consumers = plural(found.queues.get("consumers", 0), "consumer")
    ready = f"work {found.queues.get('work', 0):,}, dead {found.queues.get('dead', 0):,} ready"
    return f"{ready}, {consumers}  ({_as_of(found, now)})"


def _as_of(found: Status, now: float) -> str:
    """Say how far counts are to be believed."""
    if found.queues_asked:
        return "as the broker says"
    if found.workers is None or any(worker.is_live for worker in found.workers):
        return f"counted {ago(found.queues_seen_at, now)}"
    return f"as of {ago(found.queues_seen_at, now)}; no worker is alive"


def _waiting(number: int | None, oldest: OldestWaiting | None) -> str:
    if number is None:
        return UNREAD
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
