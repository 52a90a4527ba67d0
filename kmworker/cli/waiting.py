"""``kmworker waiting``: events that wait for their source, in the hands of a person."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from heapq import nsmallest
from typing import Annotated, Final

import typer

from kmworker.cli.arguments.moments import age_option
from kmworker.cli.arguments.operators import act_of
from kmworker.cli.arguments.options import (
    DryRunOption,
    JsonOption,
    OldestOption,
    refuse_other_than_refs,
)
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import misused
from kmworker.cli.frame.program import examples, group
from kmworker.cli.frame.recording import recorded
from kmworker.cli.frame.store import views_of
from kmworker.cli.terminal.output import (
    column_table,
    display,
    line,
    note,
    plural,
    print_json,
    progress,
    to_the_second,
)
from kmworker.domain.audit import Act
from kmworker.errors import NotFound
from kmworker.store.inspection import Views, pages
from kmworker.store.views.waiting_room import Expired, WaitingEvent, WaitingRoom
from kmworker.wire.dead_letters.reading import moment_s

__all__ = ["app"]

app = group()

MAX_SHOWN: Final = 1000
COLUMNS: Final = ("project", "item", "waits for", "since", "until", "attempts")

SourceOption = Annotated[
    str | None, typer.Option("--source", metavar="REF", help="Only what waits for this item.")
]
OlderOption = Annotated[
    str | None,
    typer.Option("--older-than", metavar="AGE", help="Only what has waited longer: 90s, 2h, 7d."),
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which waiting events are meant."""

    items: frozenset[str]
    """Item refs; none for all."""
    source: str | None
    since_before_s: float | None
    """Unix seconds. An event without a time has never waited long enough."""

    def matches(self, event: WaitingEvent) -> bool:
        """Return whether an event is meant."""
        if self.items and event.item not in self.items:
            return False
        if self.source is not None and event.source != self.source:
            return False
        if self.since_before_s is None:
            return True
        since_s = moment_s(event.since)
        return since_s is not None and since_s < self.since_before_s


@app.callback()
def waiting() -> None:
    """Look at events that wait for their source, or let them expire."""


@app.command(
    "list",
    epilog=examples(
        "kmworker waiting list",
        "kmworker waiting list --project p1 --source volume:1111",
        "kmworker waiting list --older-than 2h --json",
    ),
)
def list_(  # noqa: PLR0913  # its options
    context: typer.Context,
    refs: Annotated[
        list[str] | None, typer.Argument(metavar="[REF]…", help="Only events of these items.")
    ] = None,
    *,
    project: Annotated[
        str | None,
        typer.Option("--project", metavar="P", help="Only in this project's waiting room."),
    ] = None,
    source: SourceOption = None,
    older_than: OlderOption = None,
    limit: OldestOption = MAX_SHOWN,
    as_json: JsonOption = False,
) -> None:
    """List events whose source is not there yet, the oldest first.

    They wait in the project of their source, and are ordered by their deadlines.
    """
    views = views_of(settings_of(context))
    wanted = _wanted(views, refs, source, older_than)
    matching: Counter[str] = Counter()
    events = _counted(_matching(views, project, wanted), wanted, matching)
    oldest = nsmallest(limit, events, key=_by_deadline)
    if as_json:
        print_json([asdict(event) for event in oldest])
    elif oldest:
        display(column_table(COLUMNS, map(_row, oldest), whole={"since", "until"}))
    if matching.total() > len(oldest):
        shown = f"the oldest {limit:,} of {plural(matching.total(), 'waiting event')}"
        note(f"{shown}: --limit shows more")
    elif not oldest:
        note("no event waits")
    _refuse_missing(wanted, matching, "kmworker show finds what has an assignment")


@app.command(
    epilog=examples(
        "kmworker waiting expire --project p1 snapshot:54af",
        "kmworker waiting expire --project p1 --source volume:1111 --dry-run",
        "kmworker waiting expire --project p1 --older-than 7d",
    )
)
def expire(  # noqa: PLR0913  # its options
    context: typer.Context,
    refs: Annotated[
        list[str] | None, typer.Argument(metavar="[REF]…", help="Items whose events to expire.")
    ] = None,
    *,
    project: Annotated[str, typer.Option("--project", metavar="P", help="Whose waiting room.")],
    source: SourceOption = None,
    older_than: OlderOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Set the deadline of waiting events to now.

    Within waiting.sweep_s a worker sends them to the dead letters as source-missing, or assigns
    them if their source has come. Whoever stops this in between has expired some of them.
    """
    if not (refs or source or older_than):
        misused("name items, --source or --older-than")
    settings = settings_of(context)
    views = views_of(settings)
    wanted = _wanted(views, refs, source, older_than)
    found = {it.entry: it.item for it in _matching(views, project, wanted)}
    if not found and not views.has_project(project):
        raise NotFound(f"no project {project}", "kmworker list projects shows those there are")
    _refuse_missing(wanted, found.values(), "nothing was expired")
    done: Counter[Expired] = Counter()
    if not dry_run:
        with recorded(settings, act_of(Act.WAITING_EXPIRED, project=project)) as recording:
            done = _expire(views, project, list(found))
            recording.count = done[Expired.NOW]
    expired = len(found) if dry_run else done[Expired.NOW]
    if as_json:
        numbers = {"dry_run": dry_run, "expired": expired}
        print_json(numbers | {it.name.lower(): done[it] for it in (Expired.PAST, Expired.GONE)})
        return
    line(f"{'would expire' if dry_run else 'expired'} {plural(expired, 'waiting event')}")
    if done[Expired.PAST]:
        line(f"{plural(done[Expired.PAST], 'event')} had expired before")
    if done[Expired.GONE]:
        line(f"{plural(done[Expired.GONE], 'event')} left the waiting room meanwhile")


def _expire(views: Views, project: str, entries: list[str]) -> Counter[Expired]:
    room, done = WaitingRoom(views), Counter[Expired]()
    with progress("expiring", len(entries)) as advance:
        for page in pages(entries):
            done.update(room.expire(project, page, views.clock_s()))
            advance(len(page))
    return done


def _refuse_missing(wanted: Wanted, found: Iterable[str], hint: str) -> None:
    missing = sorted(wanted.items - set(found))
    if missing:
        raise NotFound(f"not waiting: {', '.join(missing)}", hint)


def _wanted(
    views: Views, refs: list[str] | None, source: str | None, older_than: str | None
) -> Wanted:
    refuse_other_than_refs([*(refs or []), *([source] if source else [])])
    age_s = age_option("--older-than", older_than)
    return Wanted(
        items=frozenset(refs or ()),
        source=source,
        since_before_s=None if age_s is None else views.clock_s() - age_s,
    )


def _matching(views: Views, project: str | None, wanted: Wanted) -> Iterator[WaitingEvent]:
    room = WaitingRoom(views)
    for events in room.all_events() if project is None else room.events(project):
        yield from filter(wanted.matches, events)


def _counted(
    events: Iterator[WaitingEvent], wanted: Wanted, number: Counter[str]
) -> Iterator[WaitingEvent]:
    for event in events:
        # By item only where few are meant.
        number[event.item if wanted.items else ""] += 1
        yield event


def _by_deadline(event: WaitingEvent) -> tuple[float, str, str]:
    return event.deadline_s, event.project, event.entry


def _row(event: WaitingEvent) -> tuple[str, ...]:
    return (
        event.project,
        event.item or "-",
        event.source or "-",
        to_the_second(event.since) or "-",
        to_the_second(event.deadline) or "-",
        f"{event.attempts:,}",
    )
