"""``kmworker keyring init`` and ``add``: new KEKs."""

from pathlib import Path
from typing import Annotated

import typer

from kmworker.cli.arguments.operators import OperatorOption, ReasonOption, operator_of
from kmworker.cli.arguments.options import JsonOption
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.keys import keyring_at
from kmworker.cli.frame.program import examples
from kmworker.cli.frame.store import views_of
from kmworker.cli.terminal.output import line, note, print_json
from kmworker.crypto import Keyring, KeyringCustody
from kmworker.crypto.hardening import harden_process
from kmworker.domain.keks import KekStep
from kmworker.store.kek_register import KekRegister

__all__ = ["ADD_EXAMPLES", "INIT_EXAMPLES", "PathOption", "add", "init"]

INIT_EXAMPLES = examples(
    "kmworker keyring init", "kmworker keyring init --path /etc/kmworker/keyring.json"
)
ADD_EXAMPLES = examples(
    "kmworker keyring add --reason 'yearly'", "kmworker keyring add --reason yearly --json"
)
PathOption = Annotated[
    Path | None, typer.Option("--path", metavar="FILE", help="Instead of the setting keyring.path.")
]


def init(context: typer.Context, *, path: PathOption = None) -> None:
    """Make a keyring with one new KEK; a file that is there is never overwritten.

    Prints the KEK's fingerprint. The file is mode 0600. Every worker on a store needs it, and
    without it no DEK of that store can be used again: back it up, apart from the store.
    """
    # Not that of a running instance: it has one.
    chosen = path or settings_of(context, wants_instance=False).keyring.path
    harden_process()
    made = Keyring.generate(chosen)
    line(made.newest)
    note(f"made {chosen}: back it up, apart from the store")


def add(
    context: typer.Context,
    *,
    reason: ReasonOption,
    operator: OperatorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make one more KEK, put it into the keyring file, and have the store know it.

    Nothing is written under it yet. Bring the file to every host where a worker or janitor runs:
    they take it up by themselves. Then: kmworker keyring activate. A KEK of the file that the
    store does not know is made known instead of a new one, so this can be run again if it was
    stopped half-way.
    """
    by = operator_of(operator, reason)
    settings = settings_of(context)
    views, path = views_of(settings), settings.keyring.path
    register = KekRegister(views, KeyringCustody(keyring_at(path)))
    waiting = register.unregistered()
    if not waiting:
        before = keyring_at(path).keks.keys()
        grown = Keyring.grow(path)
        waiting = sorted(grown.keks.keys() - before)
        register = KekRegister(views, KeyringCustody(grown))
    for kek_id in waiting:
        register.step(kek_id, KekStep.ADD, by)
    if as_json:
        print_json({"path": str(path), "added": waiting})
        return
    for kek_id in waiting:
        line(kek_id)
    note(f"added to {path}: back it up, and bring it to every host")
