"""``kmworker reconcile``: what is held here, beside what the storage really has."""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import typer

from kmworker.cli.arguments.moments import assigned_s, moment_option
from kmworker.cli.arguments.operators import act_of
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import ExitCode, misused
from kmworker.cli.frame.program import examples, group
from kmworker.cli.frame.recording import recorded
from kmworker.cli.frame.store import views_of
from kmworker.cli.terminal.output import line, note, one_json, plural, progress
from kmworker.domain.audit import Act
from kmworker.domain.model import Kind
from kmworker.errors import NotFound, SetupError
from kmworker.store.connection import store_errors
from kmworker.store.inspection import Views
from kmworker.store.item_records import RELEASED
from kmworker.store.retention import RECONCILED
from kmworker.store.views.lineage import data_in, is_item_ref, json_object
from kmworker.store.views.lists import count_in

__all__ = ["app"]

app = group()

HELD_AND_GONE: Final = "held-and-gone"
"""Assigned here, and not in the inventory."""
THERE_AND_RELEASED: Final = "there-and-released"
THERE_AND_UNKNOWN: Final = "there-and-unknown"
ADVICE: Final[Mapping[str, str]] = {
    HELD_AND_GONE: "if it is gone, publish its deletion: it keeps its key from being destroyed",
    THERE_AND_RELEASED: "its data is there and its key may be destroyed: kmworker key restore",
    THERE_AND_UNKNOWN: "no event said that it was made: is it encrypted, and under which key?",
}

Inventory = defaultdict[str, set[str]]
"""Item refs by project."""


@app.command(
    epilog=examples(
        "kmworker reconcile --inventory volumes.txt",
        "kmworker reconcile --inventory - --taken-at 2h < volumes.txt",
        "kmworker reconcile --inventory p1.txt --project p1 --json",
    )
)
def reconcile(  # noqa: PLR0913  # its options
    context: typer.Context,
    *,
    inventory: Annotated[
        str,
        typer.Option("--inventory", metavar="FILE", help="Project and item ref, one item a line."),
    ],
    project: Annotated[
        str | None, typer.Option("--project", metavar="P", help="Only this project is in it.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also projects that it does not name: they are empty.")
    ] = False,
    taken_at: Annotated[
        str | None,
        typer.Option("--taken-at", metavar="TIME", help="When it was taken; the file's, else now."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print findings as JSON, one a line, and a summary.")
    ] = False,
) -> None:
    """Compare what is held with an inventory of what the storage has.

    An inventory has a project and an item ref a line (`p1 volume:1111`), of all items but
    partitions; `-` is standard input. Items that were assigned after it was taken are left out,
    and so are projects that it does not name. Ends with exit code 1 where the two differ. A
    project in which nothing is there that was released counts as reconciled: see
    retention.require_reconcile_days.
    """
    since_s = moment_option("--taken-at", taken_at)
    settings = settings_of(context)
    views = views_of(settings)
    taken_s = _taken_s(views, inventory, since_s)
    there = _read(inventory, project)
    projects = [project] if project is not None else sorted(there)
    others = sorted({*views.projects()} - {*projects}) if project is None else []
    if everything:
        projects, others = [*projects, *others], []
    if not projects:
        raise NotFound(f"{inventory} names no item", "an empty storage: say --project or --all")
    found: Counter[str] = Counter()
    with (
        recorded(settings, act_of(Act.RECONCILED, project=project)) as recording,
        progress("comparing", count_in(views, projects, "items")) as advance,
    ):
        for name in projects:
            here = Counter[str]()
            for what, ref, key_id in _differences(views, name, there[name], taken_s, advance):
                here[what] += 1
                _tell(what, name, ref, key_id, as_json=as_json)
            found += here
            if not here[THERE_AND_RELEASED]:
                _mark(views, name, taken_s)
                recording.count = (recording.count or 0) + 1
    _end(found, len(projects), as_json=as_json)
    if others:
        note(f"not compared: {plural(len(others), 'project')} that it does not name")
    if found:
        raise typer.Exit(ExitCode.FAILED)


def _taken_s(views: Views, inventory: str, since_s: float | None) -> float:
    now_s = views.clock_s()
    if since_s is not None:
        return min(since_s, now_s)
    if inventory == "-":
        return now_s
    try:
        return min(Path(inventory).stat().st_mtime, now_s)
    except OSError as wrong:
        raise SetupError(f"cannot read {inventory}: {wrong.strerror}") from None


def _read(inventory: str, project: str | None) -> Inventory:
    there: Inventory = defaultdict(set)
    with _opened(inventory) as file:
        for number, text in enumerate(file, start=1):
            words = text.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) != 2 or not is_item_ref(words[1]):  # noqa: PLR2004  # project and ref
                misused(f"{inventory}, line {number}: not a project and an item ref")
            if project is not None and words[0] != project:
                misused(f"{inventory}, line {number}: project {words[0]}, and not {project}")
            there[words[0]].add(words[1])
    return there


@contextmanager
def _opened(inventory: str) -> Iterator[TextIO]:
    if inventory == "-":
        yield sys.stdin
        return
    try:
        with Path(inventory).open(encoding="utf-8") as file:
            yield file
    except (OSError, UnicodeDecodeError) as wrong:
        raise SetupError(f"cannot read {inventory}: {wrong}", "it is text, in UTF-8") from None


def _differences(
    views: Views,
    project: str,
    there: set[str],
    taken_s: float,
    advance: Any,  # noqa: ANN401
) -> Iterator[tuple[str, str, str]]:
    """Give what differs in a project: what it is, the item ref, and its key-id if it has one."""
    left = set(there)
    seen: set[str] = set()
    for page in views.all_records(project, "items"):
        for ref, raw in page:
            record = json_object(raw)
            data = data_in(record)
            left.discard(ref)
            if ref in seen or ref.startswith(f"{Kind.PARTITION}:"):
                continue
            seen.add(ref)
            key_id = str(data.get("key_id") or "")
            is_released, is_there = record.get("state") == RELEASED, ref in there
            if is_released and is_there and key_id:
                yield THERE_AND_RELEASED, ref, key_id
            if not is_released and not is_there and (assigned_s(data) or 0.0) <= taken_s:
                yield HELD_AND_GONE, ref, key_id
        advance(len(page))
    yield from ((THERE_AND_UNKNOWN, ref, "") for ref in sorted(left))


def _mark(views: Views, project: str, taken_s: float) -> None:
    with store_errors():
        views.client.hset(views.names.top(RECONCILED), project, f"{taken_s:.3f}")


def _tell(what: str, project: str, ref: str, key_id: str, *, as_json: bool) -> None:
    if as_json:
        document = {"what": what, "project": project, "ref": ref, "key_id": key_id or None}
        line(one_json(document))
    else:
        line(f"{what}  {project} {ref}: {ADVICE[what]}")


def _end(found: Mapping[str, int], projects: int, *, as_json: bool) -> None:
    if as_json:
        numbers = {what.replace("-", "_"): found.get(what, 0) for what in ADVICE}
        line(one_json({"projects": projects, **numbers}))
        return
    said = ", ".join(f"{number:,} {what}" for what, number in found.items())
    note(f"compared {plural(projects, 'project')}: {said or 'no difference'}")
