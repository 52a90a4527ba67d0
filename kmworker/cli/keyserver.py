"""``kmworker keyserver``: the process that answers clients."""

import signal

import typer

from kmworker.bootstrap.keyserver import build_key_server
from kmworker.cli.frame.configured import settings_of
from kmworker.cli.frame.exits import run_process
from kmworker.cli.frame.program import collect_seldom, examples, group
from kmworker.cli.terminal.logs import configure_logs
from kmworker.crypto.hardening import harden_process

__all__ = ["app"]

app = group()


@app.command(
    epilog=examples("kmworker keyserver", "kmworker --config /etc/kmworker/kmworker.toml keyserver")
)
def keyserver(context: typer.Context) -> None:
    """Give clients the keys that they are granted, sealed to each, until SIGTERM.

    Several may run. Nothing is delivered that is not in the audit trail. It waits for a broker, a
    store or a trust list that is not there yet.
    """
    settings = settings_of(context)
    configure_logs(settings.log.level, settings.log.format)
    harden_process()
    built = build_key_server(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: built.stop())
    collect_seldom()
    run_process(built.run)
