"""The program ``kmworker``: its options and the table of its commands."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from kmworker import __version__
from kmworker.cli.frame.exits import ExitCode
from kmworker.cli.frame.invocation import Invocation
from kmworker.cli.frame.program import Program, examples
from kmworker.cli.terminal.surroundings import settle

__all__ = ["app", "main"]


class KMWorker(Program):
    """All commands, in the order of the contract."""

    purposes: ClassVar[Mapping[str, str]] = {
        "worker": "Run one worker process until SIGTERM.",
        "up": "Run an embedded store and queue, and all that works on them, until Ctrl-C.",
        "demo": "Send a sample collection through the queue and show which keys it gets.",
        "publish": "Publish events; returns once the broker has confirmed them.",
        "watch": "Print what is announced of items and of key-ids, until Ctrl-C.",
        "announce": "Publish stored assignments again: same ids, same bytes.",
        "status": "Show totals, queues, workers, dead letters and waiting events.",
        "show": "Show an item, key-id or key scope, with its lineage.",
        "list": "List projects, items or keys, in no order, as they are found.",
        "explain": "Say what the policy would decide for an event, and why.",
        "dead": "Look at dead letters, replay or discard them.",
        "waiting": "Look at events that wait for their source, or let them expire.",
        "client": "Make a host a client, and get keys as one.",
        "keyserver": "Give clients the keys that they are granted, sealed to each, until SIGTERM.",
        "trust": "Make the root key, sign lists of key servers' keys, and hand them out.",
        "janitor": "Destroy keys that nobody holds when their time has passed.",
        "auditor": "Write the audit trail: records from their queue into files that only grow.",
        "audit": "Read, export and verify the audit trail.",
        "key": "Look at keys, change their states, export DEKs.",
        "reconcile": "Compare what is held with an inventory of what the storage has.",
        "verify": "Check the whole store: records, seals, wrapped DEKs, indexes and counters.",
        "doctor": "Check broker, store, keyring and policy, and change nothing.",
        "health": "Return whether a worker on this host makes progress or is idle.",
        "accept": "Go on with a store that was rolled back.",
        "migrate": "Carry a store over to this release's layout.",
        "keyring": "Make KEKs, look at them, and turn them over.",
        "rewrap": "Have all records and DEKs under the active KEK, beside workers.",
        "schemas": "Print or write the JSON Schemas and the AsyncAPI document.",
    }


app = typer.Typer(
    cls=KMWorker, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # typer's call
    if wanted:
        typer.echo(f"kmworker {__version__}")
        raise typer.Exit(ExitCode.DONE)


@app.callback(
    epilog=examples(
        "kmworker keyring init",
        "kmworker --config /etc/kmworker/kmworker.toml worker",
        "kmworker publish volume-created --project p1 --set volume_id=v1",
        "kmworker show volume:v1",
        "source <(kmworker --show-completion bash)",
    )
)
def kmworker(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="Settings, in place of the files searched for."
        ),
    ] = None,
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Give every encrypted volume, snapshot and replica its key."""
    del version
    context.obj = Invocation(config)


def main() -> None:
    """Run the program and exit with its code."""
    settle()
    app(prog_name="kmworker")
