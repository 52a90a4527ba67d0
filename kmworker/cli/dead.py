"""``kmworker dead``: dead letters in the hands of a person.

Looking takes nothing away. A letter leaves the queue when the broker has confirmed its
event's replay, or when it is discarded; so every command here can be stopped at any moment.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Final

import typer

from kmworker.bus.topology import Topology
from kmworker.cli.access import dead_queue_of, settings_of
from kmworker.cli.dead_search import Search
from kmworker.cli.dead_settling import Discarding, Replaying, Settling
from kmworker.cli.dead_shown import by_reason, oldest, print_letter, print_table, summary, whole
from kmworker.cli.moments import moment_option
from kmworker.cli.output import complain, confirmed, line, note, plural, print_json
from kmworker.cli.program import Ending, examples, group, misused
from kmworker.errors import NotFound, Reason
from kmworker.letters import Fingerprint, Letter, Selection
from kmworker.message import Original
from kmworker.settings import Settings

__all__ = ["app"]

app = group()

SHOWN_MOST: Final = 1000
WHOLE_MOST: Final = 100

Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID]…",
        help="Message ids, or at least their first 12 characters, or event ids.",
    ),
]
ReasonOption = Annotated[
    Reason | None,
    typer.Option("--reason", metavar="REASON", help=f"Only of this one: {', '.join(Reason)}."),
]
TypeOption = Annotated[
    str | None, typer.Option("--type", metavar="TYPE", help="Only of this event type.")
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="WHEN", help="Dead since: 2026-11-23T16:00:00Z, or 2h for two hours ago."
    ),
]
BeforeOption = Annotated[
    str | None,
    typer.Option(
        "--before", metavar="WHEN", help="Dead before: the same. Ages are in s, min, h or d."
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="All letters there are.")]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="At most so many.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def dead() -> None:
    """Look at dead letters, replay or discard them."""


@app.command(
    "list",
    epilog=examples(
        "kmworker dead list",
        "kmworker dead list --reason conflict --since 2h",
        "kmworker dead list --json | jq -r '.[].event_id'",
    ),
)
def list_(  # noqa: PLR0913  # its options
    context: typer.Context,
    ids: Ids = None,
    *,
    reason: ReasonOption = None,
    event_type: TypeOption = None,
    since: SinceOption = None,
    before: BeforeOption = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="The oldest, at most so many.")
    ] = SHOWN_MOST,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, the oldest first.

    All of them stay in the queue. While they are looked at, nobody else sees them, and the
    queue's count is lower by as many.
    """
    search = Search(_selection(ids, reason, event_type, since, before))
    found: list[Letter] = []
    matching = 0
    with dead_queue_of(settings_of(context)) as (queue, total):
        for portion in search.through(queue, total):
            matching += len(portion)
            # Nothing is shown of the bodies, which may be as large as all the queue.
            found += [replace(letter, original=Original(b"", "", {})) for _, letter in portion]
            found = oldest(found, limit)
    if as_json:
        print_json([summary(letter) for letter in found])
    elif found:
        print_table(found)
    if matching > len(found):
        note(f"the oldest {limit:,} of {plural(matching, 'dead letter')}: --limit shows more")
    elif not found:
        note("no dead letters" if search.selection.is_everything else "no dead letter matches")
    _end_if_missing(search)


@app.command(
    epilog=examples(
        "kmworker dead show 6ac6608157f7",
        "kmworker dead show 77aa0f1e --json | jq -r '.[].body'",
    )
)
def show(
    context: typer.Context,
    ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID…", help="Message ids, or at least their first 12 characters, or event ids."
        ),
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show dead letters with the events that they hold, as these were sent."""
    search = Search(Selection(ids=ids), limit=WHOLE_MOST)
    with dead_queue_of(settings_of(context)) as (queue, total):
        found = [letter for chosen in search.through(queue, total) for _, letter in chosen]
    if as_json:
        print_json([whole(letter) for letter in found])
    else:
        for number, letter in enumerate(found):
            line("" if number else f"{plural(len(found), 'dead letter')}")
            print_letter(letter)
    if search.is_cut:
        note(f"only {WHOLE_MOST} are shown")
        return
    _end_if_missing(search)


@app.command(
    epilog=examples(
        "kmworker dead replay 6ac6608157f7",
        "kmworker dead replay --reason internal --since 2h --dry-run",
        "kmworker dead replay --all",
    )
)
def replay(  # noqa: PLR0913  # its options
    context: typer.Context,
    ids: Ids = None,
    *,
    reason: ReasonOption = None,
    event_type: TypeOption = None,
    since: SinceOption = None,
    before: BeforeOption = None,
    everything: AllOption = False,
    limit: LimitOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Publish the events of dead letters again, as they were sent.

    A letter leaves the queue once the broker has confirmed its event. Whoever stops this in
    between, with Ctrl-C or otherwise, loses nothing; an event may then come twice, which
    changes nothing. An event that dies again has a new letter, which goes on counting attempts.
    """
    selection = _chosen(_selection(ids, reason, event_type, since, before), everything=everything)
    settings = settings_of(context)
    search = Search(selection, limit)
    replaying = Replaying(Topology(settings.broker.namespace).events, dry_run=dry_run)
    with dead_queue_of(settings) as (queue, total), _told_if_stopped(replaying):
        for portion in search.through(queue, total):
            replaying.settle(queue, portion)
    _end(replaying, search, as_json=as_json)


@app.command(
    epilog=examples(
        "kmworker dead discard 6ac6608157f7",
        "kmworker dead discard --reason malformed --before 30d",
        "kmworker dead discard --all --yes",
    )
)
def discard(  # noqa: PLR0913  # its options
    context: typer.Context,
    ids: Ids = None,
    *,
    reason: ReasonOption = None,
    event_type: TypeOption = None,
    since: SinceOption = None,
    before: BeforeOption = None,
    everything: AllOption = False,
    limit: LimitOption = None,
    dry_run: DryRunOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Throw dead letters away, for good.

    Asks first if it is more than one. A broker does not confirm this; a letter that comes
    back can be discarded again.
    """
    selection = _chosen(_selection(ids, reason, event_type, since, before), everything=everything)
    settings = settings_of(context)
    search = Search(selection, limit)
    discarding = Discarding(dry_run=dry_run)
    if not (dry_run or yes):
        search.only = _agreed(settings, Search(selection, limit))
    with dead_queue_of(settings) as (queue, total), _told_if_stopped(discarding):
        for portion in search.through(queue, total):
            discarding.settle(queue, portion)
    _end(discarding, search, as_json=as_json)


def _agreed(settings: Settings, search: Search) -> Counter[Fingerprint]:
    """Return what may be discarded; nothing is held while a person thinks."""
    reasons: Counter[str] = Counter()
    found: Counter[Fingerprint] = Counter()
    with dead_queue_of(settings) as (queue, total):
        for portion in search.through(queue, total):
            reasons.update(letter.reason for _, letter in portion)
            found.update(letter.fingerprint for _, letter in portion)
    if found.total() > 1 and not confirmed(f"discard {by_reason(reasons)}?", "--yes"):
        note("nothing was discarded")
        raise typer.Exit(Ending.FAILED)
    return found


def _selection(
    ids: Sequence[str] | None,
    reason: Reason | None,
    event_type: str | None,
    since: str | None,
    before: str | None,
) -> Selection:
    return Selection(
        ids=tuple(ids or ()),
        reason=None if reason is None else reason.value,
        event_type=event_type,
        since_s=moment_option("--since", since),
        before_s=moment_option("--before", before),
    )


def _chosen(selection: Selection, *, everything: bool) -> Selection:
    """Refuse to take nothing for everything."""
    if selection.is_everything != everything:
        misused(
            "--all, and something that leaves letters out"
            if everything
            else "name letters, say which by an option, or --all"
        )
    return selection


@contextmanager
def _told_if_stopped(settling: Settling) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # Ctrl-C above all: whoever pressed it wants to know how far it came.
        if settling.settled:
            note(f"{settling.did} {by_reason(settling.settled)}; all others are still there")
        raise


def _end(settling: Settling, search: Search, *, as_json: bool) -> None:
    if as_json:
        print_json(settling.numbers(search.missing))
    else:
        line(f"{settling.did} {by_reason(settling.settled)}")
    if settling.passed_over:
        complain(
            f"{plural(settling.passed_over, 'dead letter')} cannot be replayed",
            "kmworker dead show and discard are for them, too",
        )
    _end_if_missing(search)
    if settling.passed_over:
        raise typer.Exit(Ending.FAILED)


def _end_if_missing(search: Search) -> None:
    if search.missing and not search.is_cut:
        hint = "kmworker dead list shows them; somebody else may be looking at them just now"
        raise NotFound(f"no dead letter: {', '.join(search.missing)}", hint)
