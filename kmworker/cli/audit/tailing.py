"""``kmworker audit tail``: the last records, and those that come."""

from collections.abc import Mapping
from contextlib import suppress
from time import sleep
from typing import Annotated, Any, Final

import typer

from kmworker.audit.lines import read_line
from kmworker.audit.reading import Following, last_lines
from kmworker.audit.records import RecordFilter, data_of_record
from kmworker.cli.arguments.options import OfProjectOption
from kmworker.cli.audit.options import ClientOption, KeyIdOption, OfWhatOption, segments_at
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.program import examples
from kmworker.cli.terminal.output import line, note

__all__ = ["EXAMPLES", "tail"]

POLL_S: Final = 0.5
EXAMPLES: Final = examples(
    "kmworker audit tail",
    "kmworker audit tail --follow --what key-refused",
    "kmworker audit tail --lines 1000 --json | jq -r .record.data.what",
)


def tail(  # noqa: PLR0913  # its options
    context: typer.Context,
    *,
    lines: Annotated[
        int, typer.Option("--lines", metavar="N", min=0, help="The last of the trail's lines.")
    ] = 10,
    follow: Annotated[bool, typer.Option("--follow", help="And what comes, until Ctrl-C.")] = False,
    project: OfProjectOption = None,
    client: ClientOption = None,
    key_id: KeyIdOption = None,
    what: OfWhatOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print lines as they stand in the trail.")
    ] = False,
) -> None:
    """Print the last records of the audit trail, and those that come.

    One line each: when it came into the trail, what was done, what came of it, by whom, project,
    item or key-id, and why. Lines are not verified: `kmworker audit verify` does. Of the last N
    lines of the trail those are printed that are asked for. Ctrl-C is the normal end of --follow:
    exit code 0.
    """
    directory = settings_of(context).audit.directory
    segments = segments_at(directory)
    wanted = RecordFilter(project=project, client=client, key_id=key_id, what=what)
    following = Following(directory)
    for text in last_lines(segments, lines):
        _print(text, wanted, as_json=as_json)
    with suppress(KeyboardInterrupt):
        while follow:
            for text in following.more():
                _print(text, wanted, as_json=as_json)
            sleep(POLL_S)


def _print(text: bytes, wanted: RecordFilter, *, as_json: bool) -> None:
    try:
        found = read_line(text)
    except ValueError as broken:
        note(f"a line of the trail is not as it was written: {broken}; kmworker audit verify")
        return
    if not found.body:
        if as_json and wanted == RecordFilter():
            line(text.decode(errors="replace"))
        elif found.kind == "unreadable":
            line(f"{found.at}  a message that is no record")
        return
    if not wanted.wants(found.body):
        return
    if as_json:
        line(text.decode(errors="replace"))
        return
    said = _told(found.at, data_of_record(found.body) or {})
    line(said if found.kind == "record" else f"{said}  (under a number that was taken)")


def _told(at: str, data: Mapping[str, Any]) -> str:
    who = data.get("who")
    name = f"{who.get('kind')}:{who.get('name')}" if isinstance(who, dict) else "?"
    parts = (
        at, data.get("what"), data.get("outcome"), name, data.get("project_id"),
        data.get("item") or data.get("key_id") or data.get("kek_id") or data.get("client"),
        data.get("reason"),
    )  # fmt: skip
    return "  ".join("-" if part is None else str(part) for part in parts)
