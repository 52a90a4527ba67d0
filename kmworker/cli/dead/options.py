"""Which dead letters a command is about: its options, and what they come to."""

from collections.abc import Sequence
from typing import Annotated

import typer

from kmworker.cli.arguments.moments import moment_option
from kmworker.cli.frame.exits import misused
from kmworker.errors import Reason
from kmworker.wire.dead_letters.reading import Selection

__all__ = [
    "AllOption", "AnywayOption", "BeforeOption", "Ids", "LimitOption", "ReasonOption",
    "SinceOption", "TypeOption", "chosen", "selection",
]  # fmt: skip

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
AllOption = Annotated[bool, typer.Option("--all", help="All dead letters there are.")]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="At most so many.")
]
AnywayOption = Annotated[
    bool,
    typer.Option("--anyway", help="Look also where RabbitMQ 4's limit may be near: it is lifted."),
]


def selection(
    ids: Sequence[str] | None,
    reason: Reason | None,
    event_type: str | None,
    since: str | None,
    before: str | None,
) -> Selection:
    """Return which dead letters the options of a command mean."""
    return Selection(
        ids=tuple(ids or ()),
        reason=None if reason is None else reason.value,
        event_type=event_type,
        since_s=moment_option("--since", since),
        before_s=moment_option("--before", before),
    )


def chosen(meant: Selection, *, everything: bool) -> Selection:
    """Refuse to take nothing for everything."""
    if meant.is_everything != everything:
        misused(
            "--all, and something that leaves dead letters out"
            if everything
            else "name dead letters, say which by an option, or --all"
        )
    return meant
