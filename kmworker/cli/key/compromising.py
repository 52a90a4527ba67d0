"""``kmworker key compromise``: a DEK that others may know, and all that is encrypted under it."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import typer

from kmworker.cli.arguments.operators import OperatorOption, ReasonOption, YesOption, operator_of
from kmworker.cli.arguments.options import DryRunOption, JsonOption
from kmworker.cli.frame.exits import ExitCode
from kmworker.cli.frame.program import examples
from kmworker.cli.key.changing import KeyRoom, key_room
from kmworker.cli.key.options import KeyArgument, ProjectOption, key_id_of
from kmworker.cli.terminal.output import (
    complain,
    confirmed,
    line,
    note,
    plural,
    print_json,
    progress,
)
from kmworker.domain.keys import KeyState, Operator
from kmworker.domain.model import ScopeRecord
from kmworker.errors import PermanentError, Reason
from kmworker.store.compromising import Compromising
from kmworker.store.item_records import RELEASED
from kmworker.store.views.lineage import item_data, json_object
from kmworker.store.views.lists import records_in

__all__ = ["EXAMPLES", "compromise"]

EXAMPLES = examples(
    "kmworker key compromise volume:1111 --project p1 --reason 'leaked by host 7'",
    "kmworker key compromise volume:1111 --project p1 --reason drill --dry-run",
)


class Affected(NamedTuple):
    """An item that a compromise hits."""

    project: str
    ref: str
    is_gone: bool
    is_derived: bool
    """Whether it was re-encrypted from what is compromised: its DEK is another."""


def compromise(  # noqa: PLR0913  # its options
    context: typer.Context,
    key: KeyArgument,
    *,
    project: ProjectOption,
    reason: ReasonOption,
    operator: OperatorOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say that the DEK of a key-id may be known to others: of its whole scope.

    Lists the items whose data is encrypted under it, and the scopes, of all projects, that were
    re-encrypted from it. Copies that are written anew get a key of their own from then on. It
    cannot be taken back.
    """
    by = operator_of(operator, reason)
    room = key_room(context)
    key_id = key_id_of(room.views, project, key)
    seen = room.seen(project, key_id)
    if seen.key.state is KeyState.DESTROYED:
        complain(f"key-id {key_id}: it is destroyed", "name another key-id of its scope")
        raise typer.Exit(ExitCode.FAILED)
    scope = seen.scope
    affected = list(_affected(room, project, scope.scope_id))
    if not as_json:
        _print(affected)
    under = sum(not it.is_derived for it in affected)
    question = f"say that the DEK of {plural(under, 'item')} is compromised?"
    if not dry_run and not yes and not confirmed(question, "--yes"):
        note("nothing was changed")
        return
    changed = 0 if dry_run else _compromise(room, project, scope.scope_id, by)
    if as_json:
        print_json(_document(project, scope, affected, changed, dry_run=dry_run))
    elif not dry_run:
        line(f"compromised: scope {scope.scope_id}, {plural(changed, 'key-id')}")


def _affected(room: KeyRoom, project: str, scope_id: str) -> Iterator[Affected]:
    """Give the items of a scope, and of all that was re-encrypted from it, in all projects."""
    yield from _members(room, project, scope_id, is_derived=False)
    for derived_in, derived_id in _derived(room, scope_id):
        yield from _members(room, derived_in, derived_id, is_derived=True)


def _members(room: KeyRoom, project: str, scope_id: str, *, is_derived: bool) -> Iterator[Affected]:
    for page in room.states.members(project, scope_id):
        for item, raw in page:
            if raw is not None and item_data(raw).get("scope_id") == scope_id:
                is_gone = json_object(raw).get("state") == RELEASED
                yield Affected(project, item.ref, is_gone, is_derived)


def _derived(room: KeyRoom, scope_id: str) -> Iterator[tuple[str, str]]:
    """Give the scopes that were re-encrypted from a scope, and from those: project, scope-id."""
    origins: dict[str, list[tuple[str, str]]] = {}
    for page in records_in(room.views, room.views.projects(), "scopes"):
        for named in page:
            origin = json_object(named.raw).get("derived_from")
            if isinstance(origin, str):
                origins.setdefault(origin, []).append((named.project, named.field))
    left, seen = [scope_id], {scope_id}
    while left:
        for derived in origins.get(left.pop(), ()):
            if derived[1] not in seen:
                seen.add(derived[1])
                left.append(derived[1])
                yield derived


def _compromise(room: KeyRoom, project: str, scope_id: str, by: Operator) -> int:
    """Mark the scope, then its key-ids; what a run before this has marked is left alone.

    Raises:
        PermanentError: one of them fails authentication.
        StoreUnavailable: they change so often that nobody gets hold of them.
    """
    run = Compromising(room.views, room.codec, by)
    _marked, flaws = run.scopes(project, [scope_id])
    changed = 0
    with progress("key-ids", room.views.count(project, "keys")) as advance:
        for page in run.keys(project, scope_id):
            changed += page.marked
            flaws += page.flaws
            advance(page.looked_at)
    if flaws:
        raise PermanentError(Reason.INTEGRITY, flaws[0].says)
    return changed


def _print(affected: Sequence[Affected]) -> None:
    for it in affected:
        parts = [it.project, it.ref, *["released"] * it.is_gone]
        line("  ".join([*parts, *["re-encrypted: a DEK of its own"] * it.is_derived]))


def _document(
    project: str, scope: ScopeRecord, affected: Sequence[Affected], changed: int, *, dry_run: bool
) -> dict[str, Any]:
    return {
        "project": project,
        "scope_id": scope.scope_id,
        "dry_run": dry_run,
        "key_ids_changed": changed,
        "items": [
            {
                "project": it.project,
                "ref": it.ref,
                "released": it.is_gone,
                "reencrypted": it.is_derived,
            }
            for it in affected
        ],
    }
