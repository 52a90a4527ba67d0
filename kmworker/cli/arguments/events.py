"""Events from words on the command line, or from a file of them."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import time
from typing import Annotated, Any, Final, NamedTuple, NoReturn

import typer

from kmworker.cli.frame.exits import misused
from kmworker.cli.terminal.output import complain
from kmworker.clock import rfc3339
from kmworker.domain.event import UNKNOWN_TYPE, Happening, Unreadable
from kmworker.domain.message import Outgoing
from kmworker.wire.events.definition import EVENT_TYPES
from kmworker.wire.events.reading import parse
from kmworker.wire.ids import random_id
from kmworker.wire.properties import CLOUD_EVENT, PERSISTENT

__all__ = [
    "SOURCE", "Draft", "ProjectOption", "TypeArgument", "Words", "composed", "drafts_of",
    "read_all", "read_drafts",
]  # fmt: skip

SOURCE: Final = "/kmworker/cli"
STANDARD_INPUT: Final = "-"
MAX_ROUTING_KEY_BYTES: Final = 255
# What --set may set of the event itself; every other name is one of its data.
ATTRIBUTES: Final = ("id", "time")


def _event_types(incomplete: str) -> list[str]:
    """Return the types of events that begin like this, for a shell to complete."""
    return [name for name in EVENT_TYPES if name.startswith(incomplete)]


TypeArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="TYPE", help="volume-created, snapshot-taken, …", autocompletion=_event_types
    ),
]
ProjectOption = Annotated[
    str | None, typer.Option("--project", metavar="P", help="The item's project.")
]


class Draft(NamedTuple):
    """An event that is not published yet."""

    where: str
    """What to call it when something is wrong with it."""
    body: bytes
    event_id: str
    event_type: str

    def read(self) -> Happening | Unreadable:
        """Read it as a worker will."""
        return parse(self.body, CLOUD_EVENT, self.event_type)

    def message(self, exchange: str) -> Outgoing:
        """Return the message to publish; its routing key is the event's type."""
        properties = {
            "content_type": CLOUD_EVENT,
            "delivery_mode": PERSISTENT,
            "message_id": self.event_id,
            "type": self.event_type,
            "app_id": "kmworker",
        }
        return Outgoing(exchange, self.event_type, self.body, properties)


class Words(NamedTuple):
    """What a command line says of an event."""

    event_type: str | None
    project: str | None
    settings: Sequence[str]
    """Each like ``a.b=value``."""
    event_id: str | None = None
    source: str | None = None


def drafts_of(words: Words, file: str | None) -> list[Draft]:
    """Return the events that a command line asks for: one made of words, or a file's.

    Ends the command if it asks for neither, or for both.
    """
    if file is None:
        return [composed(words)]
    if any(words):
        misused("--file has whole events: TYPE and the options that make one have no place")
    return list(read_drafts(_content(file)))


def read_all(drafts: Sequence[Draft], hint: str = "") -> tuple[list[Happening], int]:
    """Return what can be read, and how many cannot, of which each is told."""
    events, unreadable = [], 0
    for draft in drafts:
        read = draft.read()
        if isinstance(read, Unreadable):
            complain(f"{draft.where}: {read.reason}: {read.detail}", hint)
            unreadable += 1
        else:
            events.append(read)
    return events, unreadable


def composed(words: Words) -> Draft:
    """Make an event of words; end the command if some are missing or contradict."""
    if words.event_type is None:
        misused("name a TYPE with --project, or a --file")
    if words.project is None:
        misused("--project is missing")
    document: dict[str, Any] = {
        "specversion": "1.0",
        "id": words.event_id or random_id(),
        "source": words.source or SOURCE,
        "type": words.event_type,
        "time": rfc3339(time()),
        "data": {"project_id": words.project},
    }
    for setting in words.settings:
        _set(document, setting)
    # Escaped: an argument that is not UTF-8 is then refused in words, like any other.
    return _draft("the event", json.dumps(document).encode())


def read_drafts(content: bytes) -> Iterator[Draft]:
    """Read one event a line, or a single JSON document over any number of lines.

    An array counts as one, so that it is refused as what it is.
    """
    if _is_one_document(content):
        yield _draft("the event", content.strip())
        return
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield _draft(f"line {number}", line.strip())


def _content(file: str) -> bytes:
    try:
        if file == STANDARD_INPUT:
            return typer.get_binary_stream("stdin").read()
        return Path(file).read_bytes()
    except OSError as error:
        misused(f"cannot read {file}: {error.strerror}")


def _is_one_document(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict | list)
    except (ValueError, RecursionError):
        return False


def _draft(where: str, body: bytes) -> Draft:
    """Take from a body what the message around it needs, whatever the body is."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    fields = parsed if isinstance(parsed, dict) else {}
    event_id, event_type = (_encodable(fields.get(name, "")) for name in ("id", "type"))
    if not event_type or len(event_type.encode()) > MAX_ROUTING_KEY_BYTES:
        event_type = UNKNOWN_TYPE
    # Returned messages are told apart by this, so it is never empty, and fits its property.
    return Draft(where, body, event_id[:MAX_ROUTING_KEY_BYTES] or random_id(), event_type)


def _encodable(value: object) -> str:
    return str(value).encode(errors="replace").decode()


def _set(document: dict[str, Any], setting: str) -> None:
    name, equals, text = setting.partition("=")
    path = name.removeprefix("data.").split(".")
    if not equals or not all(path):
        misused(f"--set {setting}: not like a.b=value")
    if name in ATTRIBUTES:
        document[name] = text
        return
    table = document["data"]
    for part in path[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            misused(f"--set {setting}: {part} has a value of its own already")
    table[path[-1]] = _value(path[-1], text)


def _value(name: str, text: str) -> object:
    """Return JSON where it is JSON: numbers, null, objects; everything else is text."""
    try:
        value: object = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text
    # The id of a partition looks like a number, and no id is one.
    is_id = name == "id" or name.endswith("_id")
    return text if is_id and not isinstance(value, str) else value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
