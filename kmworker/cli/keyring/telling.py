"""``kmworker keyring status``: what there is, and what may be done with it."""

import stat
from typing import Any

import typer

from kmworker.cli.arguments.options import JsonOption
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.keys import keyring_at
from kmworker.cli.frame.program import examples
from kmworker.cli.frame.store import views_of
from kmworker.cli.keyring.making import PathOption
from kmworker.cli.terminal.output import column_table, display, line, print_json
from kmworker.crypto import Keyring, KeyringCustody
from kmworker.crypto.roots import open_root
from kmworker.domain.keks import KekEntry, KekState, KekStates
from kmworker.settings import Settings
from kmworker.store.admission import recognised

__all__ = ["EXAMPLES", "status"]

EXAMPLES = examples("kmworker keyring status", "kmworker keyring status --json")


def status(
    context: typer.Context,
    *,
    path: PathOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the fingerprints of KEKs, and what may be done with each, never the KEKs.

    With --path, of that file alone; no store is asked.
    """
    settings = settings_of(context)
    chosen = path or settings.keyring.path
    found = keyring_at(chosen, settings.keyring.root)
    mode = f"{stat.S_IMODE(chosen.stat().st_mode):04o}"
    opened = open_root(settings.keyring.root)
    root = None if opened is None else opened.url
    states = None if path else _states(settings, found)
    entries = {} if states is None else dict(states.keks)
    keks = [_kek(found, kek_id, entries.get(kek_id)) for kek_id in [
        *found.keks, *sorted(entries.keys() - found.keks.keys())
    ]]  # fmt: skip
    if as_json:
        document = {"path": str(chosen), "mode": mode, "root": root, "keks": keks}
        more = {} if states is None else {"version": states.version, "term": states.term}
        print_json({**document, **more})
        return
    under = "" if root is None else f", under {root}"
    line(f"{chosen} (mode {mode}{under})")
    titles = ("kek-id", "created at", "state", "since", "by", "")
    display(column_table(titles, [_row(it) for it in keks]))


def _states(settings: Settings, keyring: Keyring) -> KekStates | None:
    """Return what the store says, if it has ever been used."""
    if settings.store.url is None:
        return None
    views = views_of(settings)
    layout, states = views.fields("layout"), views.keyring()
    if not layout and not states:
        return None
    return recognised(layout, states, KeyringCustody(keyring), views.names).keks


def _kek(keyring: Keyring, kek_id: str, entry: KekEntry | None) -> dict[str, Any]:
    kek = keyring.keks.get(kek_id)
    by = None if entry is None or entry.by is None else entry.by
    return {
        "kek_id": kek_id,
        "created_at": None if kek is None else kek.created_at,
        "in_file": kek is not None,
        "state": None if entry is None else entry.state.value,
        "since": None if entry is None else entry.at,
        "by": None if by is None else by.name,
        "reason": None if by is None else by.reason,
    }


def _row(kek: dict[str, Any]) -> tuple[str, ...]:
    is_missing = not kek["in_file"] and kek["state"] != KekState.REMOVED
    flaw = "missing from the file" if is_missing else ""
    if kek["in_file"] and kek["state"] is None:
        flaw = "not known to a store"
    by = "" if kek["by"] is None else f"{kek['by']}: {kek['reason']}"
    shown = (kek["kek_id"], kek["created_at"], kek["state"], kek["since"], by, flaw)
    return tuple(it or "" for it in shown)
