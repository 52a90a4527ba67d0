"""``kmworker keyring remove`` and ``restore``: KEKs that no process needs any more."""

from typing import Final

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
from kmworker.cli.frame.exits import ExitCode
from kmworker.cli.frame.keys import custody_of
from kmworker.cli.frame.program import examples
from kmworker.cli.frame.recording import recorded
from kmworker.cli.frame.store import views_of
from kmworker.cli.keyring.making import PathOption
from kmworker.cli.keyring.stepping import KekArgument, refuse, tell
from kmworker.cli.terminal.output import complain, line, note
from kmworker.clock import rfc3339, unix_s
from kmworker.crypto.hardening import harden_process
from kmworker.crypto.keyring_archive import archive_kek, restore_kek
from kmworker.crypto.roots import open_root
from kmworker.domain.audit import Act
from kmworker.domain.keks import KekEntry, KekState, KekStates, KekStep, step_kek
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import NoStep
from kmworker.settings import archive_beside
from kmworker.store.kek_register import KekRegister

__all__ = ["REMOVE_EXAMPLES", "RESTORE_EXAMPLES", "remove", "restore"]

DAY_S: Final = 86_400
REMOVE_EXAMPLES = examples(
    "kmworker keyring remove 0123456789abcdef --reason 'no backup is as old'",
    "kmworker keyring remove 0123456789abcdef --reason yearly --json",
)
RESTORE_EXAMPLES = examples("kmworker keyring restore 0123456789abcdef")


def remove(
    context: typer.Context,
    kek: KekArgument,
    *,
    reason: ReasonOption,
    operator: OperatorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move a retired KEK from the keyring file into the archive.

    Refused until it has been retired for keyring.keep_days. Nothing of this store needs it; a
    backup of the store from before does, and for that kmworker keyring restore brings it back. It
    is on disk in the archive before it leaves the keyring file, and this can be run again wherever
    it was stopped. Bring the file to every host after that, and keep a backup of the archive.
    """
    by = operator_of(operator, reason)
    settings = settings_of(context)
    views, ours = views_of(settings), settings.keyring
    register = KekRegister(views, custody_of(ours))
    states = register.found().keks
    is_removed = kek in states.keks and states.keks[kek].state is KekState.REMOVED
    if not is_removed:
        _refuse_early(states, kek, by, ours.keep_days, views.clock_s())
    archive_kek(ours.path, ours.archive_path, kek, open_root(ours.root))
    if not is_removed:
        after = register.step(kek, KekStep.REMOVE, by, actor_of(by.name))
        # Of two at once, the other was faster.
        states = register.found().keks if isinstance(after, NoStep) else after
    tell(states, kek, as_json=as_json)
    note(f"it is in {ours.archive_path}: back that up, and bring {ours.path} to every host")


def _refuse_early(states: KekStates, kek: str, by: Operator, keep_days: int, now_s: float) -> None:
    refusal = step_kek(states, kek, KekStep.REMOVE, by, "")
    if isinstance(refusal, NoStep):
        refuse(kek, refusal)
    until_s = _kept_until_s(states.keks[kek], keep_days)
    if now_s < until_s:
        complain(
            f"KEK {kek} is retired since {states.keks[kek].at}, and kept for {keep_days} days:"
            f" until {rfc3339(until_s)}",
            "a backup of the store from before needs it; if there is none: keyring.keep_days",
        )
        raise typer.Exit(ExitCode.FAILED)


def _kept_until_s(entry: KekEntry, keep_days: int) -> float:
    """Return until when a retired KEK stays where it is, Unix seconds."""
    return unix_s(entry.at) + keep_days * DAY_S


def restore(
    context: typer.Context,
    kek: KekArgument,
    *,
    path: PathOption = None,
) -> None:
    """Put a removed KEK from the archive into the keyring file, for an older backup of the store.

    What may be done with it that store says itself, as it was then. The KEK stays in the archive.
    No store is asked. Bring the file to every host after that.
    """
    settings = settings_of(context, wants_instance=False)
    ours = settings.keyring
    chosen = path or ours.path
    archive = ours.archive or archive_beside(chosen)
    harden_process()
    with recorded(settings, act_of(Act.KEK_RESTORED, kek_id=kek)):
        restore_kek(chosen, archive, kek, open_root(ours.root))
    line(f"KEK {kek} is in {chosen}")
    note("back it up, and bring it to every host")
