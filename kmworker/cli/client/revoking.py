"""``kmworker client revoke``: a client is one no more, and what it may still hold is listed."""

from collections.abc import Sequence
from typing import Final

import typer

from kmworker.cli.arguments.operators import OperatorOption, ReasonOption, operator_of
from kmworker.cli.arguments.options import JsonOption
from kmworker.cli.client.enrolling import NameArgument, changed, client_room, no_client
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.program import examples
from kmworker.cli.terminal.output import column_table, display, line, note, print_json
from kmworker.clock import StoreClock, SystemClock, rfc3339
from kmworker.delegation.clients import ClientRecord, revoked
from kmworker.domain.audit import Act
from kmworker.domain.lifecycle import NoStep
from kmworker.keyserver.ports import Copy
from kmworker.store.copies import RedisCopies
from kmworker.store.inspection import Views

__all__ = ["EXAMPLES", "revoke"]

EXAMPLES: Final = examples(
    "kmworker client revoke compute-17 --reason stolen",
    "kmworker client revoke compute-17 --reason stolen --json > copies.json",
)


def revoke(
    context: typer.Context,
    name: NameArgument,
    *,
    reason: ReasonOption,
    operator: OperatorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a client get nothing any more, from its next request on.

    Prints the keys of which it may hold a copy still: suspend them, or have their data rewritten,
    if its host is in the wrong hands. What it was given before these, the audit trail says.
    """
    by = operator_of(operator, reason)
    room = client_room(context)

    def become(before: ClientRecord | None) -> ClientRecord | NoStep:
        if before is None:
            raise no_client(name)
        return revoked(before, room.mark(by))

    changed(room.register.change(name, become, room.record(Act.CLIENT_REVOKED, name, by)), name)
    # Afterwards: what is noted from now on is not delivered.
    copies = _copies(room.views, name, settings_of(context).keyserver.keep_s)
    if as_json:
        print_json({"client": name, "copies": [_fields(it) for it in copies]})
        return
    line(f"client {name} is revoked; it may hold {_counted(copies)} of keys")
    if copies:
        titles = ("project", "item", "key-id", "until")
        display(column_table(titles, [tuple(_fields(it).values()) for it in copies]))
    note(f"what it was given before: kmworker audit export --client {name} --output FILE")


def _copies(views: Views, name: str, keep_s: float) -> Sequence[Copy]:
    clock = StoreClock(SystemClock())
    clock.agree(views.clock_s)
    found = RedisCopies(views.client, views.names, clock, keep_s).at_client(name)
    return sorted(found, key=lambda it: (it.project, _ref(it), it.key_id))


def _fields(copy: Copy) -> dict[str, str]:
    return {
        "project_id": copy.project,
        "item": _ref(copy),
        "key_id": copy.key_id,
        "until": rfc3339(copy.until_s),
    }


def _ref(copy: Copy) -> str:
    return "-" if copy.item is None else copy.item.ref


def _counted(copies: Sequence[Copy]) -> str:
    return "one copy" if len(copies) == 1 else f"{len(copies):,} copies"
