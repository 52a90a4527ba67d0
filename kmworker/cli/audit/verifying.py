"""``kmworker audit verify``: is the trail, or an export of it, what an auditor wrote?"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from kmworker.audit.checkpoints import Checkpoint, read_checkpoints
from kmworker.audit.files import lines_of
from kmworker.audit.reading import whole_lines
from kmworker.audit.verification import verify as verified
from kmworker.audit.verified import Verified
from kmworker.cli.arguments.options import JsonOption
from kmworker.cli.audit.options import by_pages, pages, segments_at
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode, misused
from kmworker.cli.frame.program import examples
from kmworker.cli.terminal.output import display, grid, plural, print_json, progress
from kmworker.crypto.audit_key import signature_holds
from kmworker.errors import NotFound, SetupError

__all__ = ["EXAMPLES", "verify"]

KEY: Final = re.compile("[0-9a-f]{64}")
EXAMPLES: Final = examples(
    "kmworker audit verify",
    "kmworker audit verify audit --checkpoint kept-elsewhere.jsonl --key a.pub",
    "kmworker audit verify p1.jsonl --json",
)


def verify(
    context: typer.Context,
    place: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR|FILE]", help="A trail or an export; else the trail here."),
    ] = None,
    *,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", metavar="FILE", help="Checkpoints that were kept elsewhere."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="PUB", help="The auditor's public key, or a file with it."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the first line that was changed, removed, moved or doubled; needs no server.

    With a checkpoint that was kept elsewhere (one a line, as published or as logged), also an end
    that was cut off, and an auditor that was started on an old copy. With --key, signatures must
    be of that key: without it, of the one that the trail itself names. The exit code is 1 if
    anything is wrong. Numbers of writers that never came are wrong, too: docs/audit.md.
    """
    kept = [it for path in checkpoint or [] for it in _checkpoints(path)]
    public = None if key is None else _key(key)
    if place is None:
        place = settings_of(context).audit.directory
    is_trail = place.is_dir()
    paths = segments_at(place) if is_trail else [_existing(place)]
    with progress("verifying", pages(paths)) as advance:
        found = verified(
            by_pages(_texts(paths, is_growing=is_trail), advance),
            kept,
            signature_holds,
            key=public,
            from_start=is_trail,
        )
    if as_json:
        print_json(_document(found))
    else:
        display(grid(_rows(found, is_named=public is not None)))
    raise typer.Exit(ExitCode.DONE if found.is_good else ExitCode.FAILED)


def _texts(paths: Sequence[Path], *, is_growing: bool) -> Iterator[bytes]:
    for number, path in enumerate(paths, start=1):
        # The last line of a trail may be in the midst of being written.
        is_last = is_growing and number == len(paths)
        yield from whole_lines([path]) if is_last else lines_of(path)


def _existing(path: Path) -> Path:
    try:
        path.stat()
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file or directory") from None
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None
    return path


def _checkpoints(path: Path) -> list[Checkpoint]:
    try:
        return read_checkpoints(path.read_bytes().splitlines())
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None
    except ValueError as wrong:
        raise SetupError(f"{path}: {wrong}", "one a line, as published or as logged") from None


def _key(text: str) -> str:
    if KEY.fullmatch(text) is not None:
        return text
    try:
        content = Path(text).read_text("utf-8", errors="replace")
    except OSError as error:
        misused(f"--key {text}: neither 64 hexadecimal digits nor a file: {error.strerror}")
    found = KEY.search(content)
    if found is None:
        misused(f"--key {text}: no line of 64 hexadecimal digits, as auditor --init prints it")
    return found[0]


def _rows(found: Verified, *, is_named: bool) -> Iterator[tuple[str, str]]:
    if found.fault is not None:
        fault = found.fault
        yield "FAILED", f"line {fault.line} {fault.kind}: {fault.detail}"
        yield "read", f"{plural(found.read, 'line')}; the last good one is {found.tip.number}"
    else:
        yield "ok" if found.is_good else "FAILED", f"lines {found.first} to {found.tip.number}"
    omitted = f", {found.omitted:,} as digests alone" if found.omitted else ""
    yield "records", f"{found.records:,}{omitted}"
    if found.signed is None:
        yield "signed", "nothing: no checkpoint is among them"
    else:
        left = found.unsigned
        behind = f"; {plural(left, 'line')} after it" if left else ""
        yield "signed", f"up to line {found.signed.line}, on {found.signed.at}{behind}"
    for public in sorted(found.keys):
        yield "key", public if is_named else f"{public}, as the trail itself says: see --key"
    for gap in found.missing:
        what = f"numbers {gap.first} to {gap.last} of {gap.writer}, before line {gap.line}"
        yield "missing", f"{what}: they never came to the auditor"
    for gap in found.awaited:
        yield "awaited", f"numbers {gap.first} to {gap.last} of {gap.writer}"
    for number, why in found.alarms:
        yield "alarm", f"line {number}: {why}"
    if found.fault is None:
        yield "digest", found.tip.digest


def _document(found: Verified) -> dict[str, Any]:
    fault = found.fault
    return {
        "ok": found.is_good,
        "first": found.first,
        "last": found.tip.number,
        "digest": found.tip.digest,
        "records": found.records,
        "omitted": found.omitted,
        "fault": None if fault is None else {
            "kind": fault.kind.value, "line": fault.line, "position": fault.position,
            "detail": fault.detail,
        },
        "missing": [_gap(it) for it in found.missing],
        "awaited": [_gap(it) for it in found.awaited],
        "alarms": [{"line": number, "why": why} for number, why in found.alarms],
        "unsigned": found.unsigned,
        "signed": None if found.signed is None else found.signed.fields,
        "keys": sorted(found.keys),
        "trails": sorted(found.trails),
    }  # fmt: skip


def _gap(it: Any) -> dict[str, Any]:  # noqa: ANN401  # Missing
    return {"writer": it.writer, "first": it.first, "last": it.last, "line": it.line}
