"""``kmworker janitor``: the process that does what is to be done because time has passed."""

import signal
from dataclasses import asdict
from typing import Annotated

import typer

from kmworker.bootstrap.janitor import build_janitor
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import run_process
from kmworker.cli.frame.program import examples, group
from kmworker.cli.terminal.logs import configure_logs
from kmworker.cli.terminal.output import line, print_json
from kmworker.crypto.hardening import harden_process
from kmworker.janitor.project import PassResult

__all__ = ["app"]

app = group()


@app.command(
    epilog=examples(
        "kmworker janitor",
        "kmworker --config /etc/kmworker/kmworker.toml janitor",
        "kmworker janitor --once --json",
    )
)
def janitor(
    context: typer.Context,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Go over everything that is due now, and end.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --once: print what was done as JSON.")
    ] = False,
) -> None:
    """Destroy keys that nobody holds when their time has passed.

    A process that runs until SIGTERM, beside the workers; several may run. It forgets what is long
    gone, too. Before anything is destroyed, all items of its project are counted. What it has done
    is announced by workers.
    """
    settings = settings_of(context)
    configure_logs(settings.log.level, settings.log.format)
    harden_process()
    built = build_janitor(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: built.stop())
    if once:
        _print(built.look(waits=False), as_json=as_json)
    else:
        run_process(built.run)


def _print(done: PassResult, *, as_json: bool) -> None:
    numbers = asdict(done)
    if as_json:
        print_json(numbers)
        return
    for name, number in numbers.items():
        line(f"{name.replace('_', ' ')}: {number:,}")
