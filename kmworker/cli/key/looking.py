"""``kmworker key show`` and ``list``: key-ids by what dashboards may read; no seal is checked."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Final

import typer

from kmworker.cli.arguments.options import JsonOption, OfProjectOption
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.program import examples
from kmworker.cli.frame.store import views_of
from kmworker.cli.key.options import KeyArgument, ProjectOption, key_id_of
from kmworker.cli.terminal.output import line, note, print_json, to_the_second
from kmworker.cli.terminal.rows import Rows
from kmworker.domain.model import KeyState
from kmworker.errors import NotFound
from kmworker.store.connection import store_errors
from kmworker.store.counts import number_in
from kmworker.store.inspection import Views
from kmworker.store.item_records import RELEASED
from kmworker.store.views.lineage import item_data, json_object, state_in
from kmworker.store.views.lists import Named, fields_of, records_in

__all__ = ["LIST_EXAMPLES", "SHOW_EXAMPLES", "list_", "show"]

SHOW_EXAMPLES = examples(
    "kmworker key show volume:1111 --project p1",
    "kmworker key show 5f0e1c9a-0000-4000-8000-000000000000 --project p1 --json",
)
LIST_EXAMPLES = examples(
    "kmworker key list --project p1",
    "kmworker key list --state deactivated",
    "kmworker key list --due --json | jq -r .key_id",
)
HEADS: Final = ("project", "key-id", "state", "items", "version", "destroyed at")
MAX_HOLDERS: Final = 100


def show(
    context: typer.Context,
    key: KeyArgument,
    *,
    project: ProjectOption,
    as_json: JsonOption = False,
) -> None:
    """Show a key-id: its state, who changed it last, who holds it, what else names its DEK."""
    views = views_of(settings_of(context))
    key_id = key_id_of(views, project, key)
    (raw,) = views.records(project, "keys", [key_id])
    if raw is None:
        raise NotFound(f"no key-id {key_id} in project {project}", "kmworker key list shows them")
    fields = json_object(raw)
    fields.pop("seal", None)
    scope_id = str(fields.get("scope_id"))
    (raw_scope,) = views.records(project, "scopes", [scope_id])
    scope = json_object(raw_scope or b"{}")
    fields["state"] = state_in(fields, scope)
    holders, others, is_whole = _family(views, project, scope_id, key_id)
    document = {
        "project": project,
        "key_id": key_id,
        **fields,
        "compromised": scope.get("compromised"),
        "holders": holders,
        "others_of_its_dek": others,
        "complete": is_whole,
    }
    if as_json:
        print_json(document)
        return
    for name, value in document.items():
        line(f"{name.replace('_', ' ')}: {_worded(value)}")


def _worded(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_worded(it)}" for name, it in value.items())
    return "-" if value is None else str(value)


def _family(
    views: Views, project: str, scope_id: str, key_id: str
) -> tuple[list[str], list[str], bool]:
    """Return who holds a key-id, which other key-ids its scope's items have, and if that is all."""
    key = views.names.of(project, "lineage")
    with store_errors():
        found = views.client.zrangebylex(
            key, f"[{scope_id} ", f"({scope_id}!", start=0, num=MAX_HOLDERS + 1
        )
    refs = [name.partition(b" ")[2].decode(errors="replace") for name in found[:MAX_HOLDERS]]
    holders, others = [], set()
    for ref, raw in zip(refs, views.records(project, "items", refs), strict=True):
        theirs = item_data(raw).get("key_id") if raw is not None else None
        if raw is None or not isinstance(theirs, str):
            continue
        if theirs != key_id:
            others.add(theirs)
        elif json_object(raw).get("state") != RELEASED:
            holders.append(ref)
    return holders, sorted(others), len(found) <= MAX_HOLDERS


def list_(  # noqa: PLR0913  # its options
    context: typer.Context,
    *,
    project: OfProjectOption = None,
    state: Annotated[
        KeyState | None, typer.Option("--state", metavar="STATE", help="Only in this state.")
    ] = None,
    due: Annotated[
        bool, typer.Option("--due", help="Only what is to be destroyed, the soonest first.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="End after so many.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """List key-ids with their states, in no order, as they are found; with --due by their time."""
    views = views_of(settings_of(context))
    if project is not None and not views.has_project(project):
        raise NotFound(f"no project {project}", "kmworker list projects shows those there are")
    projects = views.projects() if project is None else [project]
    rows = Rows(HEADS, limit, as_json=as_json)
    for page in _due(views, projects) if due else records_in(views, projects, "keys"):
        found = [(it, json_object(it.raw)) for it in page]
        wanted = [pair for pair in found if state is None or pair[1].get("state") == state]
        if not rows.print(_rows(views, wanted), len(page)):
            break
    if rows.is_full:
        note(f"the first {rows.printed:,}: there may be more")
    elif not rows.printed:
        note("no key is like that")


def _due(views: Views, projects: Iterable[str]) -> Iterator[list[Named]]:
    for project in projects:
        with store_errors():
            found = views.client.zrange(views.names.of(project, "keys:due"), 0, -1)
        names = [name.decode(errors="replace") for name in found]
        records = views.records(project, "keys", names)
        named = (
            Named(project, name, raw)
            for name, raw in zip(names, records, strict=True)
            if raw is not None
        )
        if page := [it for it in named if json_object(it.raw).get("destroy_at") is not None]:
            yield page


def _rows(
    views: Views, found: Sequence[tuple[Named, dict[str, Any]]]
) -> list[tuple[Sequence[str], dict[str, Any]]]:
    held = fields_of(views, "holders", [(it.project, it.field) for it, _fields in found])
    rows: list[tuple[Sequence[str], dict[str, Any]]] = []
    for (it, fields), number in zip(found, held, strict=True):
        holders = number_in(number) or 0
        destroy_at = fields.get("destroy_at")
        fields.pop("seal", None)
        cells = (
            it.project,
            it.field,
            str(fields.get("state")),
            f"{holders:,}",
            str(fields.get("version")),
            to_the_second(destroy_at) if isinstance(destroy_at, str) else "",
        )
        document = {"project": it.project, "key_id": it.field, "holders": holders, **fields}
        rows.append((cells, document))
    return rows
