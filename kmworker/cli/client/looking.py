"""``kmworker client list`` and ``show``."""

from typing import Any

import typer

from kmworker.cli.arguments.options import JsonOption
from kmworker.cli.client.enrolling import NameArgument, client_room
from kmworker.cli.frame.program import examples
from kmworker.cli.terminal.output import column_table, display, grid, print_json, to_the_second
from kmworker.delegation.clients import ClientRecord
from kmworker.delegation.identity import shown
from kmworker.errors import NotFound

__all__ = ["LIST_EXAMPLES", "SHOW_EXAMPLES", "list_", "show"]

LIST_EXAMPLES = examples("kmworker client list", "kmworker client list --json")
SHOW_EXAMPLES = examples("kmworker client show compute-17", "kmworker client show backup --json")


def list_(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """List the clients, what each may ask for, and who is one no more."""
    found = list(client_room(context).register.clients())
    if as_json:
        print_json([_fields(it) for it in found])
        return
    titles = ("client", "nodes", "projects", "kinds", "grant", "identity since", "")
    display(column_table(titles, [_row(it) for it in found]))


def show(context: typer.Context, name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Show a client: its rights, and the fingerprints of its identities."""
    client = client_room(context).register.read(name)
    if client is None:
        raise NotFound(f"no client {name}", "kmworker client list shows those there are")
    fields = _fields(client)
    if as_json:
        print_json(fields)
        return
    display(grid((title.replace("_", " "), _said(it)) for title, it in fields.items() if it != []))


def _fields(client: ClientRecord) -> dict[str, Any]:
    rights, revoked, renewed = client.rights, client.revoked, client.renewed
    return {
        "client": client.name,
        "version": client.version,
        "fingerprints": [shown(it.fingerprint) for it in client.identities],
        "rights": sorted(rights.actions),
        "kinds": sorted(rights.kinds),
        "projects": list(rights.projects),
        "nodes": list(rights.nodes),
        "needs_grant": rights.needs_grant,
        "enrolled_at": client.enrolled.at,
        "enrolled_by": client.enrolled.by.name,
        "reason": client.enrolled.by.reason,
        "renewed_at": None if renewed is None else renewed.at,
        "renewed_by": None if renewed is None else renewed.by.name,
        "renewed_because": None if renewed is None else renewed.by.reason,
        "revoked_at": None if revoked is None else revoked.at,
        "revoked_by": None if revoked is None else revoked.by.name,
        "revoked_because": None if revoked is None else revoked.by.reason,
    }


def _row(client: ClientRecord) -> tuple[str, ...]:
    rights = client.rights
    return (
        client.name,
        ", ".join(rights.nodes),
        ", ".join(rights.projects),
        ", ".join(sorted(rights.kinds)),
        "needed" if rights.needs_grant else "none needed",
        to_the_second((client.renewed or client.enrolled).at),
        "" if client.revoked is None else f"revoked {to_the_second(client.revoked.at)}",
    )


def _said(what: object) -> str:
    if isinstance(what, list):
        return ", ".join(map(str, what))
    if isinstance(what, bool):
        return "yes" if what else "no"
    return "-" if what is None else str(what)
