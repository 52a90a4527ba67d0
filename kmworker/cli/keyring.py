"""``kmworker keyring``: the KEKs, by their fingerprints only."""

import stat
from pathlib import Path
from typing import Annotated

import typer

from kmworker.cli.arguments.options import JsonOption
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.keys import keyring_at
from kmworker.cli.frame.program import examples, group
from kmworker.cli.terminal.output import column_table, display, line, note, print_json
from kmworker.crypto import Keyring
from kmworker.crypto.hardening import harden_process

__all__ = ["app"]

app = group()
PathOption = Annotated[
    Path | None, typer.Option("--path", metavar="FILE", help="Instead of the setting keyring.path.")
]


@app.callback()
def keyring() -> None:
    """Make and look at the keyring of KEKs."""


@app.command(
    epilog=examples(
        "kmworker keyring init", "kmworker keyring init --path /etc/kmworker/keyring.json"
    )
)
def init(context: typer.Context, *, path: PathOption = None) -> None:
    """Make a keyring with one new KEK; a file that is there is never overwritten.

    Prints the KEK's fingerprint. The file is mode 0600. Every worker on a store needs it, and
    without it no DEK of that store can be used again: back it up, apart from the store.
    """
    # Not that of a running instance: it has one.
    chosen = path or settings_of(context, wants_instance=False).keyring.path
    harden_process()
    made = Keyring.generate(chosen)
    line(made.active)
    note(f"made {chosen}: back it up, apart from the store")


@app.command(epilog=examples("kmworker keyring status", "kmworker keyring status --json"))
def status(
    context: typer.Context,
    *,
    path: PathOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the fingerprints of the keyring's KEKs, never the KEKs."""
    chosen = path or settings_of(context).keyring.path
    found = keyring_at(chosen)
    mode = f"{stat.S_IMODE(chosen.stat().st_mode):04o}"
    keks = [
        {"kek_id": kek_id, "created_at": kek.created_at, "active": kek_id == found.active}
        for kek_id, kek in found.keks.items()
    ]
    if as_json:
        print_json({"path": str(chosen), "mode": mode, "active": found.active, "keks": keks})
        return
    line(f"{chosen} (mode {mode})")
    rows = [
        (kek_id, kek.created_at, "active" if kek_id == found.active else "")
        for kek_id, kek in found.keks.items()
    ]
    display(column_table(("kek-id", "created at", ""), rows))
