"""``kmworker auditor``: the process that puts the audit trail on disk."""

import signal
from typing import Annotated

import typer

from kmworker.bootstrap.audit import build_auditor
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import run_process
from kmworker.cli.frame.program import examples, group
from kmworker.cli.terminal.logs import configure_logs
from kmworker.cli.terminal.output import line
from kmworker.crypto.audit_key import AuditKey
from kmworker.crypto.hardening import harden_process

__all__ = ["app"]

app = group()


@app.command(
    epilog=examples(
        "kmworker auditor --init",
        "kmworker auditor",
        "kmworker --config /etc/kmworker/kmworker.toml auditor",
    )
)
def auditor(
    context: typer.Context,
    *,
    init: Annotated[
        bool,
        typer.Option(
            "--init", help="Make the key that signs checkpoints, and print its public half."
        ),
    ] = False,
) -> None:
    """Write the audit trail: records from their queue into files that only grow.

    A process that runs until SIGTERM; one for each installation. It acknowledges what is on disk,
    and nothing while the disk is full. Checkpoints, signed by its own key, go to the exchange
    kmworker.audit (routing key `checkpoint`) and into its log: keep them elsewhere.
    """
    settings = settings_of(context, wants_instance=False)
    harden_process()
    if init:
        key = AuditKey.generate(settings.audit.key)
        line(f"audit key {settings.audit.key} made; its public half, for --key of audit verify:")
        line(key.public)
        return
    configure_logs(settings.log.level, settings.log.format)
    built = build_auditor(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: built.stop())
    run_process(built.run)
