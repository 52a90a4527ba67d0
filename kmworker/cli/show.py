"""``kmworker show``: one thing and its family, as the store has them.

Seals are looked at, but nothing is hidden that fails: whoever looks for a damaged record
has to see it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Final

import typer

from kmworker.cli.arguments.options import JsonOption
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.keys import custody_if_any
from kmworker.cli.frame.program import examples, group
from kmworker.cli.frame.store import views_of
from kmworker.cli.installation.lineage import Seals, family_json, family_tree
from kmworker.cli.terminal.output import display, grid, line, plural, print_json
from kmworker.domain.model import Place
from kmworker.errors import NotFound
from kmworker.store.inspection import Views
from kmworker.store.views.lineage import (
    Family,
    Found,
    Record,
    family_of,
    find,
    is_item_ref,
    look_at,
)

__all__ = ["app"]

app = group()

ID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@app.command(
    epilog=examples(
        "kmworker show volume:v1",
        "kmworker show snapshot:s1 --project p1 --json",
        "kmworker show 5f0e1c9a-0000-4000-8000-000000000000",
    )
)
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="REF-OR-ID", help="kind:id, key-id or scope-id.")],
    *,
    project: Annotated[
        str | None,
        typer.Option("--project", metavar="P", help="Its project; all are searched without."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show an item, key-id or key scope, with its lineage.

    Of each record it says whether its seal is ok, BROKEN, or unknown for lack of the keyring.
    Without --project every project is searched; a name that is in several is not shown.
    """
    settings = settings_of(context)
    views = views_of(settings)
    projects: Iterable[str] = views.projects() if project is None else [project]
    place = _the_one(views, find(views, name, projects), name, project)
    found = look_at(views, place)
    scope_id = _scope_id(found)
    family = family_of(views, found.project, scope_id) if scope_id else None
    seals = Seals(custody_if_any(settings, views))
    if as_json:
        print_json(_document(found, family, seals))
    else:
        _print(found, family, seals)


def _the_one(views: Views, places: Sequence[Place], name: str, project: str | None) -> Place:
    if not places:
        raise _missing(views, name, project)
    if len(places) > 1:
        projects = ", ".join(sorted({place.project for place in places}))
        raise NotFound(f"{name} is in several projects: {projects}", "choose one with --project")
    return places[0]


def _missing(views: Views, name: str, project: str | None) -> NotFound:
    """Say what was looked for, and where else it may be."""
    is_ref = is_item_ref(name)
    if not is_ref and not ID.fullmatch(name):
        hint = "items are named like volume:1111, keys and scopes by the UUIDs in assignments"
        return NotFound(f"{name} is no item ref, key-id or scope-id", hint)
    what = name if is_ref else f"key-id or scope-id {name}"
    if project is None:
        return NotFound(f"no {what} in any project", _whereabouts(is_ref=is_ref))
    if not views.has_project(project):
        return NotFound(f"no project {project}", "kmworker list projects shows those there are")
    return NotFound(f"no {what} in project {project}", "without --project all are searched")


def _whereabouts(*, is_ref: bool) -> str:
    if is_ref:
        return "if it was announced: kmworker waiting list, or kmworker dead list"
    return "kmworker list keys shows those there are"


def _scope_id(found: Found) -> str:
    """Return the scope-id even where its record is missing: its items are still of interest."""
    if found.scope is not None:
        return found.scope.place.field
    for record in (found.key, found.item):
        named = {} if record is None else {**record.fields, **record.data}
        if named.get("scope_id"):
            return str(named["scope_id"])
    return ""


def _document(found: Found, family: Family | None, seals: Seals) -> dict[str, Any]:
    key = _record_json("key_id", found.key, seals)
    return {
        "project": found.project,
        "item": _record_json("ref", found.item, seals),
        "key": None if key is None else {**key, "state": found.key_state, "holders": found.holders},
        "scope": _record_json("scope_id", found.scope, seals),
        "lineage": None if family is None else family_json(found.project, family, seals),
    }


def _record_json(name: str, record: Record | None, seals: Seals) -> dict[str, Any] | None:
    if record is None:
        return None
    return {name: record.place.field, "seal": seals.of(record), "record": record.fields}


def _print(found: Found, family: Family | None, seals: Seals) -> None:
    line(f"project {found.project}")
    titles = (("item", found.item), ("key-id", found.key), ("scope", found.scope))
    for title, record in titles:
        if record is not None:
            line(f"{title} {record.place.field}")
            display(grid(_rows(record, found, seals), indent="  "))
    if family is not None:
        line("")
        title = f"scope {_scope_id(found)}"
        display(family_tree(title, found.project, family, seals))
    if family is not None and family.derived is None:
        line("there are too many scopes to look for those derived from this one")


def _spaced(value: object) -> str:
    """Return JSON that a narrow terminal can break between its fields."""
    return json.dumps(value, ensure_ascii=False)


def _change(change: object) -> str:
    """Return in words what became of a key-id last; empty if that cannot be read."""
    match change:
        case {"type": str(what), "at": str(at), "by": {"kind": "janitor"}}:
            return f"{what} at {at} by the janitor"
        case {"type": str(what), "at": str(at), "by": {"name": str(name), "reason": str(why)}}:
            return f"{what} at {at} by {name}: {why}"
        case {"type": str(what), "at": str(at), "by": {"id": str(event), "type": str(kind)}}:
            return f"{what} at {at} by {kind} {event}"
        case _:
            return ""


def _rows(record: Record, found: Found, seals: Seals) -> Iterator[tuple[str, str]]:
    """Give a record's fields; of an item's its data, without what the title says."""
    fields = {**record.fields, **record.data}
    if record is found.key:
        fields["state"] = found.key_state
    for name, value in fields.items():
        if name not in {"data", "item", "project_id", "seal"}:
            text = _change(value) if record is found.key and name == "changed" else ""
            yield name, text or (value if isinstance(value, str) else _spaced(value))
    if record is found.key:
        yield "held by", plural(found.holders, "item")
    yield "seal", seals.of(record)
