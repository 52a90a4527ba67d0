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
from kmworker.cli.frame.exits import misused
from kmworker.cli.frame.program import examples, group
from kmworker.cli.terminal.output import line, note, one_json
from kmworker.wire.assignments import ASSIGNED_TYPE
from kmworker.wire.fields import ProjectId
from kmworker.wire.key_changes import KEY_EVENT_TYPES
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
    """Print what is announced of items and of key-ids, until Ctrl-C.

    One line each: time, project, item, disposition (or `released`), key-id (- where there is
    none) and the rule that decided. Of a key-id: time, project, -, what has become of it, the
    key-id, and its state since then. Says on standard error when it has begun to listen. Ctrl-C
    is its normal end: exit code 0.
    """
    ending = _ending(project)
    settings = settings_of(context)
    topology = Topology(settings.broker.namespace)
    bindings = {
        topology.assignments: [f"{name}.{ending}" for name in (ASSIGNED_TYPE, RELEASED_TYPE)],
        topology.keys: [f"*.{project or '#'}"],
    }
    subscriber = open_subscriber(settings.broker, bindings)
    with suppress(KeyboardInterrupt), closing(subscriber), declared():
        subscriber.open()
        note(f"listening to {' and '.join(bindings)}")
        _print_all(subscriber, count, as_json=as_json)


def _ending(project: str | None) -> str:
    """Return the end of a pattern: the kinds of items, and whose."""
    if project is None:
        return "#"
    try:
        # A project's name has neither * nor #, so it binds to itself alone.
        TypeAdapter(ProjectId).validate_python(project)
    except ValidationError:
        misused(f"--project {project}: not a project's name")
    return f"*.{project}"


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
    of_key = str(document.get("type")) in KEY_EVENT_TYPES
    is_released = document.get("type") == RELEASED_TYPE
    said = str(document.get("type")).removeprefix("key-") if of_key else data.get("disposition")
    parts = (
        document.get("time"), data.get("project_id"), None if of_key else ref,
        "released" if is_released else said,
        data.get("key_id"), data.get("state") if of_key else data.get("rule"),
    )  # fmt: skip
    return "  ".join("-" if part is None else str(part) for part in parts)
