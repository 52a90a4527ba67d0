"""``kmworker dead``: dead letters in the hands of a person.

Looking takes nothing away. A dead letter leaves the queue when the broker has confirmed its
event's replay, or when it is discarded; so every command here can be stopped at any moment.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Final

import typer

from kmworker.cli.arguments.operators import act_of
from kmworker.cli.arguments.options import DryRunOption, JsonOption, OldestOption
from kmworker.cli.dead.options import (
    AllOption,
    AnywayOption,
    BeforeOption,
    Ids,
    LimitOption,
    ReasonOption,
    SinceOption,
    TypeOption,
    chosen,
    selection,
)
from kmworker.cli.dead.search import Search
from kmworker.cli.dead.settling import Discarding, Replaying, Settling
from kmworker.cli.dead.shown import (
    by_reason,
    oldest,
    print_dead_letter,
    print_table,
    summary,
    whole,
)
from kmworker.cli.frame.broker import dead_queue_of
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode
from kmworker.cli.frame.program import examples, group
from kmworker.cli.frame.recording import recorded
from kmworker.cli.installation.producers import UserOption, refuse_vain_replay
from kmworker.cli.terminal.output import complain, confirmed, line, note, plural, print_json
from kmworker.domain.audit import Act
from kmworker.domain.message import Original
from kmworker.errors import NotFound
from kmworker.settings import Settings
from kmworker.wire.dead_letters.reading import DeadLetter, Fingerprint, Selection
from kmworker.wire.topology import Topology

__all__ = ["app"]

app = group()

MAX_SHOWN: Final = 1000
MAX_WHOLE: Final = 100


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
    limit: OldestOption = MAX_SHOWN,
    anyway: AnywayOption = False,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, the oldest first.

    All of them stay in the queue. While they are looked at, nobody else sees them, and the
    queue's count is lower by as many.
    """
    search = Search(selection(ids, reason, event_type, since, before), anyway=anyway)
    found: list[DeadLetter] = []
    matching = 0
    with dead_queue_of(settings_of(context)) as (queue, total):
        for page in search.through(queue, total):
            matching += len(page)
            # Nothing is shown of the bodies, which may be as large as all the queue.
            found += [replace(dead, original=Original(b"", "", {})) for _, dead in page]
            found = oldest(found, limit)
    if as_json:
        print_json([summary(dead) for dead in found])
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
    anyway: AnywayOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show dead letters with the events that they hold, as these were sent."""
    search = Search(Selection(ids=ids), MAX_WHOLE, anyway)
    with dead_queue_of(settings_of(context)) as (queue, total):
        found = [dead for chosen in search.through(queue, total) for _, dead in chosen]
    if as_json:
        print_json([whole(dead) for dead in found])
    else:
        for number, dead in enumerate(found):
            line("" if number else f"{plural(len(found), 'dead letter')}")
            print_dead_letter(dead)
    if search.is_cut:
        note(f"only {MAX_WHOLE} are shown")
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
    user: UserOption = None,
    dry_run: DryRunOption = False,
    anyway: AnywayOption = False,
    as_json: JsonOption = False,
) -> None:
    """Publish the events of dead letters again, as they were sent.

    A dead letter leaves the queue once the broker has confirmed its event. Whoever stops this in
    between, with Ctrl-C or otherwise, loses nothing; an event may then come twice, which
    changes nothing. An event that dies again has a new dead letter, which goes on counting
    attempts.
    Where the policy lists producers, it is for those with replay = true.
    """
    meant = chosen(selection(ids, reason, event_type, since, before), everything=everything)
    settings = settings_of(context)
    search = Search(meant, limit, anyway)
    replaying = Replaying(exchange=Topology(settings.broker.namespace).events, dry_run=dry_run)
    refuse_vain_replay(settings, user)
    _settle(replaying, search, settings, Act.DEAD_LETTERS_REPLAYED, user)
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
    anyway: AnywayOption = False,
    as_json: JsonOption = False,
) -> None:
    """Throw dead letters away, for good.

    Asks first if it is more than one. A broker does not confirm this; a dead letter that comes
    back can be discarded again.
    """
    meant = chosen(selection(ids, reason, event_type, since, before), everything=everything)
    settings = settings_of(context)
    search = Search(meant, limit, anyway)
    discarding = Discarding(dry_run=dry_run)
    if not (dry_run or yes):
        search.only = _agreed(settings, Search(meant, limit, anyway))
    _settle(discarding, search, settings, Act.DEAD_LETTERS_DISCARDED)
    _end(discarding, search, as_json=as_json)


def _agreed(settings: Settings, search: Search) -> Counter[Fingerprint]:
    """Return what may be discarded; nothing is held while a person thinks."""
    reasons: Counter[str] = Counter()
    found: Counter[Fingerprint] = Counter()
    with dead_queue_of(settings) as (queue, total):
        for page in search.through(queue, total):
            reasons.update(dead.reason for _, dead in page)
            found.update(dead.fingerprint for _, dead in page)
    if found.total() > 1 and not confirmed(f"discard {by_reason(reasons)}?", "--yes"):
        note("nothing was discarded")
        raise typer.Exit(ExitCode.FAILED)
    return found


def _settle(
    settling: Settling, search: Search, settings: Settings, what: Act, user: str | None = None
) -> None:
    with (
        recorded(settings, act_of(what), is_done=not settling.dry_run) as recording,
        dead_queue_of(settings, user) as (queue, total),
        _told_if_stopped(settling),
    ):
        for page in search.through(queue, total):
            settling.settle(queue, page)
            recording.count = settling.settled.total()


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
    if settling.skipped:
        complain(
            f"{plural(settling.skipped, 'dead letter')} cannot be replayed",
            "kmworker dead show and discard are for them, too",
        )
    _end_if_missing(search)
    if settling.skipped:
        raise typer.Exit(ExitCode.FAILED)


def _end_if_missing(search: Search) -> None:
    if search.missing and not search.is_cut:
        hint = "kmworker dead list shows them; somebody else may be looking at them just now"
        raise NotFound(f"no dead letter: {', '.join(search.missing)}", hint)
