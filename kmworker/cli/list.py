"""``kmworker list``: what there is, as long as it takes, by what dashboards may read.

Nothing is held but one page, so it goes through millions of items. For the same reason
nothing is sorted. Seals are not looked at: `kmworker verify` does.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, TypeAlias

import typer

from kmworker.cli.arguments.moments import assigned_s, moment_option
from kmworker.cli.arguments.options import OfProjectOption
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.program import examples, group
from kmworker.cli.frame.store import views_of
from kmworker.cli.terminal.output import note, to_the_second
from kmworker.cli.terminal.rows import Rows
from kmworker.domain.model import Disposition, KeyState
from kmworker.errors import NotFound
from kmworker.store.counts import number_in
from kmworker.store.inspection import Views
from kmworker.store.item_records import RELEASED
from kmworker.store.views.lineage import data_in, json_object
from kmworker.store.views.lists import Named, ProjectSize, fields_of, records_in, sizes

__all__ = ["app"]

app = group()

PROJECT_HEADS: Final = ("project", "items", "keys", "scopes", "waiting")
ITEM_HEADS: Final = ("project", "item", "disposition", "key-id", "key is", "assigned at")
KEY_HEADS: Final = ("project", "key-id", "state", "items", "cloned from", "created at")

Row: TypeAlias = tuple[Sequence[str], dict[str, Any]]
"""The cells of a table, and the object of `--json`."""


class ItemKind(StrEnum):
    """Kinds of items that are kept here: all but images."""

    VOLUME = "volume"
    SNAPSHOT = "snapshot"
    REPLICA = "replica"
    PARTITION = "partition"


@dataclass(frozen=True, slots=True)
class Listed:
    """A record as it is listed."""

    project: str
    name: str
    fields: dict[str, Any]
    """Of an item: the announcement's data. Empty if the record is damaged, or there is none."""
    is_released: bool = False
    """Of an item: whether it is gone."""

    def text(self, name: str) -> str:
        """Return a field; empty where there is none, or something else."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else ""


StateOption = Annotated[
    KeyState | None, typer.Option("--state", metavar="STATE", help="Only keys in this state.")
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="End after so many.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


@app.callback()
def list_() -> None:
    """List projects, items or keys, in no order, as they are found."""


@app.command(epilog=examples("kmworker list projects", "kmworker list projects --match 'swift-*'"))
def projects(
    context: typer.Context,
    *,
    match: Annotated[
        str | None, typer.Option("--match", metavar="GLOB", help="Only names like 'swift-*'.")
    ] = None,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Only where events wait for their source.")
    ] = False,
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """List projects and how many items, keys, scopes and waiting events they have."""
    views = views_of(settings_of(context))
    names = views.projects()
    if waiting:
        names = (name for page in views.projects_waiting() for name in page)
    wanted = (name for name in names if match is None or fnmatchcase(name, match))
    rows = Rows(PROJECT_HEADS, limit, as_json=as_json)
    for page in sizes(views, wanted):
        found = [it for it in page if it.waiting or not waiting]
        if not rows.print([(_cells(it), asdict(it)) for it in found], len(page)):
            break
    _end(rows, "project")


@app.command(
    epilog=examples(
        "kmworker list items --project p1",
        "kmworker list items --kind snapshot --state compromised",
        "kmworker list items --since 2h --json | jq -r .data.key_id",
    )
)
def items(  # noqa: PLR0913  # its options
    context: typer.Context,
    *,
    project: OfProjectOption = None,
    kind: Annotated[
        ItemKind | None, typer.Option("--kind", metavar="KIND", help="volume, snapshot, …")
    ] = None,
    disposition: Annotated[
        Disposition | None,
        typer.Option("--disposition", metavar="D", help="create, clone, reuse or none."),
    ] = None,
    state: StateOption = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Assigned since: 2h, 7d or RFC 3339."),
    ] = None,
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """List items with their key-ids.

    While the store takes in many new items, one may be listed twice.
    """
    since_s = moment_option("--since", since)

    def is_meant(found: Listed) -> bool:
        return (
            (kind is None or found.name.startswith(f"{kind}:"))
            and (disposition is None or found.fields.get("disposition") == disposition)
            and (since_s is None or _is_since(found, since_s))
        )

    views = views_of(settings_of(context))
    rows = Rows(ITEM_HEADS, limit, as_json=as_json)
    for page in records_in(views, _projects(views, project), "items"):
        found = [it for it in map(_item, page) if is_meant(it)]
        listed = [it for it in _items(views, found) if state is None or it[1]["key_state"] == state]
        if not rows.print(listed, len(page)):
            break
    _end(rows, "item")


@app.command(
    epilog=examples(
        "kmworker list keys --project p1",
        "kmworker list keys --state suspended --json",
    )
)
def keys(
    context: typer.Context,
    *,
    project: OfProjectOption = None,
    state: StateOption = None,
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """List key-ids, their states, and how many items hold them.

    While the store takes in many new keys, one may be listed twice.
    """
    views = views_of(settings_of(context))
    rows = Rows(KEY_HEADS, limit, as_json=as_json)
    for page in records_in(views, _projects(views, project), "keys"):
        keys_found = (Listed(it.project, it.field, json_object(it.raw)) for it in page)
        found = [it for it in keys_found if state is None or it.fields.get("state") == state]
        if not rows.print(list(_keys(views, found)), len(page)):
            break
    _end(rows, "key")


def _cells(it: ProjectSize) -> tuple[str, ...]:
    return it.project, *(f"{number:,}" for number in (it.items, it.keys, it.scopes, it.waiting))


def _projects(views: Views, project: str | None) -> Iterable[str]:
    if project is None:
        return views.projects()
    if not views.has_project(project):
        raise NotFound(f"no project {project}", "kmworker list projects shows those there are")
    return [project]


def _item(named: Named) -> Listed:
    record = json_object(named.raw)
    is_released = record.get("state") == RELEASED
    return Listed(named.project, named.field, data_in(record), is_released=is_released)


def _is_since(found: Listed, since_s: float) -> bool:
    at = assigned_s(found.fields)
    return at is not None and at >= since_s


def _items(views: Views, found: Sequence[Listed]) -> Iterator[Row]:
    wanted = [(it.project, it.text("key_id")) for it in found]
    keys = fields_of(views, "keys", wanted)
    for it, (_, key_id), key in zip(found, wanted, keys, strict=True):
        state = _state_of(key) if key_id else None
        assigned_at = to_the_second(it.text("assigned_at"))
        shown = RELEASED if it.is_released else state or ""
        cells = (it.project, it.name, it.text("disposition"), key_id, shown, assigned_at)
        document = {"project": it.project, "ref": it.name, "key_state": state, "data": it.fields}
        yield cells, document | ({"state": RELEASED} if it.is_released else {})


def _keys(views: Views, found: Sequence[Listed]) -> Iterator[Row]:
    holders = fields_of(views, "holders", [(it.project, it.name) for it in found])
    for it, number in zip(found, holders, strict=True):
        held = number_in(number) or 0
        created_at = to_the_second(it.text("created_at"))
        cells = (it.project, it.name, it.text("state"), f"{held:,}", it.text("cloned_from"))
        yield (
            (*cells, created_at),
            {"project": it.project, "key_id": it.name, "holders": held, "record": it.fields},
        )


def _state_of(key: bytes | None) -> str:
    return "missing" if key is None else str(json_object(key).get("state"))


def _end(rows: Rows, what: str) -> None:
    if rows.is_full:
        note(f"the first {rows.printed:,}: there may be more")
    elif not rows.printed:
        note(f"no {what} is like that")
