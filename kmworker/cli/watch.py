"""``kmworker watch``: listening as a subscriber does.

Its queue is its own and ends with it. What is announced while nobody listens is not
lost: the record is in the store, and `kmworker announce` says it again.
"""

import json
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Annotated, Any, Final

import typer
from pydantic import TypeAdapter, ValidationError

from kmworker.bootstrap.brokers import Subscription, open_subscriber
from kmworker.cli.frame.broker import declared
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.endings import misused
from kmworker.cli.frame.program import examples, group
from kmworker.cli.terminal.output import line, note, one_json
from kmworker.wire.assignments import ASSIGNED_TYPE
from kmworker.wire.fields import ProjectId
from kmworker.wire.releases import RELEASED_TYPE
from kmworker.wire.topology import Topology

__all__ = ["app"]

WAIT_S: Final = 1.0
app = group()


@app.command(
    epilog=examples(
        "kmworker watch",
        "kmworker watch --project p1 --count 1 --json",
        "kmworker watch --json | jq -r .data.key_id",
    )
)
def watch(
    context: typer.Context,
    *,
    project: Annotated[
        str | None, typer.Option("--project", metavar="P", help="Only this project's.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", metavar="N", min=1, help="End after so many.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print announcements as they are, one a line.")
    ] = False,
) -> None:
    """Print assignments and releases as they are announced, until Ctrl-C.

    One line each: time, project, item, disposition (or `released`), key-id (- where there is
    none) and the rule that decided. Says on standard error when it has begun to listen. Ctrl-C
    is its normal end: exit code 0.
    """
    patterns = _patterns(project)
    settings = settings_of(context)
    exchange = Topology(settings.broker.namespace).assignments
    subscriber = open_subscriber(settings.broker, exchange, patterns)
    with suppress(KeyboardInterrupt), closing(subscriber), declared():
        subscriber.open()
        note(f"listening to {exchange}")
        _print_all(subscriber, count, as_json=as_json)


def _patterns(project: str | None) -> list[str]:
    types = (ASSIGNED_TYPE, RELEASED_TYPE)
    if project is None:
        return [f"{name}.#" for name in types]
    try:
        # A project's name has neither * nor #, so it binds to itself alone.
        TypeAdapter(ProjectId).validate_python(project)
    except ValidationError:
        misused(f"--project {project}: not a project's name")
    return [f"{name}.*.{project}" for name in types]


def _print_all(subscriber: Subscription, count: int | None, *, as_json: bool) -> None:
    for number, document in enumerate(_documents(subscriber), start=1):
        line(one_json(document) if as_json else _told(document))
        if number == count:
            return


def _documents(subscriber: Subscription) -> Iterator[dict[str, Any]]:
    """Give announcements for ever."""
    while True:
        for message in subscriber.receive(WAIT_S):
            document = _parsed(message.body)
            if document is None:
                note("skipped a message that is no announcement")
            else:
                yield document


def _parsed(body: bytes) -> dict[str, Any] | None:
    """Read an announcement; whoever may publish there can publish anything."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, dict) and isinstance(document.get("data"), dict):
        return document
    return None


def _told(document: dict[str, Any]) -> str:
    data = document["data"]
    item = data.get("item")
    ref = f"{item.get('kind')}:{item.get('id')}" if isinstance(item, dict) else "?"
    is_released = document.get("type") == RELEASED_TYPE
    parts = (
        document.get("time"), data.get("project_id"), ref,
        "released" if is_released else data.get("disposition"),
        data.get("key_id"), data.get("rule"),
    )  # fmt: skip
    return "  ".join("-" if part is None else str(part) for part in parts)
