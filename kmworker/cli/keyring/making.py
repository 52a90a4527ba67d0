"""``kmworker keyring init`` and ``add``: new KEKs."""

from pathlib import Path
from typing import Annotated

import typer

from kmworker.cli.arguments.operators import (
    OperatorOption,
    ReasonOption,
    act_of,
    actor_of,
    operator_of,
)
from kmworker.cli.arguments.options import JsonOption
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.keys import keyring_at
from kmworker.cli.frame.program import examples
from kmworker.cli.frame.recording import recorded
from kmworker.cli.frame.store import views_of
from kmworker.cli.terminal.output import line, note, print_json
from kmworker.crypto import Keyring, KeyringCustody
from kmworker.crypto.hardening import harden_process
from kmworker.crypto.keyring_archive import move_archive
from kmworker.crypto.roots import open_root
from kmworker.domain.audit import Act
from kmworker.domain.keks import KekStep
from kmworker.settings import archive_beside
from kmworker.store.kek_register import KekRegister

__all__ = ["ADD_EXAMPLES", "INIT_EXAMPLES", "MOVE_EXAMPLES", "PathOption", "add", "init", "move"]

INIT_EXAMPLES = examples(
    "kmworker keyring init", "kmworker keyring init --path /etc/kmworker/keyring.json"
)
ADD_EXAMPLES = examples(
    "kmworker keyring add --reason 'yearly'", "kmworker keyring add --reason yearly --json"
)
MOVE_EXAMPLES = examples(
    "kmworker keyring move --to 'file:?passphrase-file=/etc/kmworker/passphrase'",
    "kmworker keyring move --to file:",
)
PathOption = Annotated[
    Path | None, typer.Option("--path", metavar="FILE", help="Instead of the setting keyring.path.")
]
RootOption = Annotated[
    str | None, typer.Option("--root", metavar="URL", help="Instead of the setting keyring.root.")
]
ToOption = Annotated[str, typer.Option("--to", metavar="URL", help="The new root (docs/roots.md).")]


def init(context: typer.Context, *, path: PathOption = None, root: RootOption = None) -> None:
    """Make a keyring with one new KEK; a file that is there is never overwritten.

    Prints the KEK's fingerprint. The file is mode 0600. Every worker on a store needs it, and
    without it no DEK of that store can be used again: back it up, apart from the store.
    """
    # Not that of a running instance: it has one.
    settings = settings_of(context, wants_instance=False).keyring
    chosen = path or settings.path
    harden_process()
    made = Keyring.generate(chosen, open_root(root or settings.root))
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
    views, path, root = views_of(settings), settings.keyring.path, settings.keyring.root
    register = KekRegister(views, KeyringCustody(keyring_at(path, root)))
    waiting = register.unregistered()
    if not waiting:
        before = keyring_at(path, root).keks.keys()
        grown = Keyring.grow(path, open_root(root))
        waiting = sorted(grown.keks.keys() - before)
        register = KekRegister(views, KeyringCustody(grown))
    for kek_id in waiting:
        register.step(kek_id, KekStep.ADD, by, actor_of(by.name))
    if as_json:
        print_json({"path": str(path), "added": waiting})
        return
    for kek_id in waiting:
        line(kek_id)
    note(f"added to {path}: back it up, and bring it to every host")


def move(context: typer.Context, *, to: ToOption, path: PathOption = None) -> None:
    """Bring the keyring file, and its archive, from the root keyring.root under another.

    The KEKs are the same, so no store and no worker has to know. The file is written anew, whole
    or not at all, when each KEK has opened under the new root. Then set keyring.root. Copies of the
    old file still open under the old root.
    """
    settings = settings_of(context, wants_instance=False)
    ours = settings.keyring
    chosen = path or ours.path
    harden_process()
    archive = ours.archive or archive_beside(chosen)
    with recorded(settings, act_of(Act.KEYRING_MOVED)):
        # The archive first: while the keyring file is under the old root, this can be run again.
        move_archive(archive, open_root(ours.root), open_root(to))
        moved = Keyring.move(chosen, open_root(ours.root), open_root(to))
    for kek_id in moved.keks:
        line(kek_id)
    note(f"moved {chosen}: set keyring.root to the new root, and bring the file to every host")
