"""``kmworker audit export``: some records, with what it takes to verify them elsewhere."""

import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Annotated, Final

import typer

from kmworker.audit.exported import export_lines
from kmworker.audit.lines import read_line
from kmworker.audit.reading import whole_lines
from kmworker.audit.records import RecordFilter
from kmworker.cli.arguments.moments import moment_option
from kmworker.cli.arguments.operators import act_of
from kmworker.cli.arguments.options import OfProjectOption
from kmworker.cli.audit.options import (
    ClientOption,
    KeyIdOption,
    OfWhatOption,
    by_pages,
    pages,
    segments_at,
)
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import misused
from kmworker.cli.frame.program import examples
from kmworker.cli.frame.recording import recorded
from kmworker.cli.terminal.output import note, plural, progress
from kmworker.clock import rfc3339
from kmworker.domain.audit import Act
from kmworker.errors import NotFound, SetupError

__all__ = ["EXAMPLES", "export"]

EXAMPLES: Final = examples(
    "kmworker audit export --output week.jsonl --since 7d",
    "kmworker audit export --output p1.jsonl --project p1",
    "kmworker audit verify p1.jsonl",
)
MODE: Final = 0o600


def export(  # noqa: PLR0913  # its options
    context: typer.Context,
    *,
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="A new file, mode 0600.")
    ],
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="From then on: 7d or RFC 3339.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Up to then.")
    ] = None,
    project: OfProjectOption = None,
    client: ClientOption = None,
    key_id: KeyIdOption = None,
    what: OfWhatOption = None,
) -> None:
    """Write records into a file that can be verified by itself.

    Records that were not asked for are there as digests alone, so that the chain holds; whoever
    gets the file learns how many they are, and nothing of them. It goes on to the next checkpoint
    behind --until, so that its end is signed. Times are those at which records came into the trail.
    """
    wanted = RecordFilter(
        since=_moment("--since", since), until=_moment("--until", until),
        project=project, client=client, key_id=key_id, what=what,
    )  # fmt: skip
    settings = settings_of(context)
    segments = segments_at(settings.audit.directory)
    segments = _from(segments, wanted.since)
    trail = _trail_of(segments[0])
    with progress("exporting", pages(segments)) as advance:
        lines = export_lines(by_pages(whole_lines(segments), advance), wanted, trail)
        try:
            heading = next(lines, None)
            if heading is None:
                raise NotFound("nothing came into the trail in that time")
            act = act_of(Act.AUDIT_EXPORTED, project=project, key_id=key_id)
            with recorded(settings, act) as recording:
                recording.count = written = _write(output, chain([heading], lines))
        except ValueError as broken:
            said = f"the trail has a line that is not as it was written: {broken}"
            raise SetupError(said, "kmworker audit verify names it") from None
    note(f"{plural(written, 'line')} into {output}, the others as digests")


def _write(output: Path, lines: Iterable[bytes]) -> int:
    """Write lines into a new file; return how many of them are of the trail."""
    written = 0
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    except OSError as error:
        raise SetupError(f"{output}: {error.strerror}", "name a file that is not there") from None
    with os.fdopen(descriptor, "wb") as file:
        for text in lines:
            written += text.startswith(b'{"previous"')
            file.write(text + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return written


def _moment(name: str, text: str | None) -> str | None:
    moment = moment_option(name, text)
    return None if moment is None else rfc3339(moment)


def _from(segments: list[Path], since: str | None) -> list[Path]:
    """Leave out files whose successor begins before that."""
    if since is None:
        return segments
    at = [_first(path) for path in segments]
    chosen = max((place for place, began in enumerate(at) if began < since), default=0)
    return segments[chosen:]


def _first(path: Path) -> str:
    try:
        return read_line(next(whole_lines([path]), b"")).at
    except ValueError:
        return ""


def _trail_of(path: Path) -> str:
    first = next(whole_lines([path]), b"")
    try:
        return str(read_line(first).fields["segment"]["trail"])
    except (ValueError, KeyError, TypeError):
        misused(f"{path}: not a file of an audit trail")
