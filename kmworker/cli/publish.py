"""``kmworker publish``: events from a person or a script.

They take the way that every producer's take: persistent, mandatory, confirmed. All are read
first as a worker would, because half a file is harder to put right than none of it.
"""

from collections.abc import Sequence
from typing import Annotated, Final

import typer

from kmworker.bootstrap.brokers import Publishing
from kmworker.cli.arguments.events import (
    SOURCE,
    Draft,
    ProjectOption,
    TypeArgument,
    Words,
    drafts_of,
    read_all,
)
from kmworker.cli.frame.broker import publisher_of
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode
from kmworker.cli.frame.program import examples, group
from kmworker.cli.installation.producers import UserOption
from kmworker.cli.terminal.output import complain, line, note, one_json, plural, progress
from kmworker.store.inspection import pages
from kmworker.wire.topology import Topology

__all__ = ["app"]

BATCH: Final = 500
app = group()


@app.command(
    epilog=examples(
        "kmworker publish volume-created --project p1 --set volume_id=v1",
        "kmworker publish snapshot-taken --project p1 --set snapshot_id=s1 \\",
        "    --set volume_id=v1",
        "kmworker publish volume-created --project p1 --set volume_id=v2 \\",
        "    --set source.kind=snapshot --set source.id=s1",
        "kmworker publish --file events.jsonl",
        "some-program | kmworker publish --file -",
    )
)
def publish(  # noqa: PLR0913  # its options
    context: typer.Context,
    event_type: TypeArgument = None,
    *,
    project: ProjectOption = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="A.B=VALUE",
            help="A field of data; JSON if it reads as JSON, ids are text.",
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="Whole events, one a line, or one JSON document; -: standard input.",
        ),
    ] = None,
    event_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="The event's id, instead of a new one.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="S", help=f"The event's source, instead of {SOURCE}."),
    ] = None,
    user: UserOption = None,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Publish even what a worker would refuse.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON line for each event, not its id.")
    ] = False,
) -> None:
    """Publish events; returns once the broker has confirmed them.

    Prints the id of each event that the broker has on disk. Nothing is published if any event
    is one that a worker would refuse. Publishing an event again changes nothing.
    """
    drafts = drafts_of(Words(event_type, project, settings or (), event_id, source), file)
    if not no_check and read_all(drafts)[1]:
        complain("nothing was published", "correct it, or publish it all with --no-check")
        raise typer.Exit(ExitCode.FAILED)
    if not drafts:
        note(f"no events in {file}")
        return
    configured = settings_of(context)
    topology = Topology(configured.broker.namespace)
    with publisher_of(configured, "publish", signs=True, user=user) as publisher:
        unrouted = _publish_all(publisher, topology.events, drafts, as_json=as_json)
    if unrouted:
        complain(
            f"{unrouted:,} of {plural(len(drafts), 'event')} found no queue to wait in",
            f"a worker declares {topology.work}: start one, then publish again",
        )
        raise typer.Exit(ExitCode.FAILED)


def _publish_all(
    publisher: Publishing, exchange: str, drafts: Sequence[Draft], *, as_json: bool
) -> int:
    """Publish in batches; return how many events no queue was bound for."""
    confirmed = unrouted = 0
    try:
        with progress("publishing", len(drafts)) as advance:
            for batch in pages(drafts, BATCH):
                routed = publisher.publish([draft.message(exchange) for draft in batch])
                confirmed += len(batch)
                unrouted += routed.count(False)
                _print_published(batch, routed, as_json=as_json)
                advance(len(batch))
    finally:
        if 0 < confirmed < len(drafts):
            note(f"only {confirmed:,} of {plural(len(drafts), 'event')} confirmed")
    return unrouted


def _print_published(batch: Sequence[Draft], routed: Sequence[bool], *, as_json: bool) -> None:
    for draft, was_routed in zip(batch, routed, strict=True):
        if as_json:
            told = {"id": draft.event_id, "type": draft.event_type, "routed": was_routed}
            line(one_json(told))
        elif was_routed:
            line(draft.event_id)
