"""``kmworker up``: everything on one machine with nothing else installed."""

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from kmworker.cli.frame.invocation import Invocation
from kmworker.cli.frame.program import examples, group
from kmworker.cli.terminal.output import complain, note
from kmworker.cli.terminal.surroundings import on_hangup
from kmworker.crypto import Keyring
from kmworker.crypto.hardening import harden_process
from kmworker.embedded.supervisor import Supervisor, default_data_dir
from kmworker.settings import load_settings

__all__ = ["app"]

app = group()


@app.command(
    epilog=examples(
        "kmworker up",
        "kmworker up --data-dir /srv/kmworker",
        "kmworker status      # in another terminal",
    )
)
def up(
    context: typer.Context,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", metavar="DIR", help="Where data and keyring are kept."),
    ] = None,
) -> None:
    """Run an embedded store and queue, and all that works on them, until Ctrl-C.

    That is a worker, a janitor and, once there are keys, a key server, whose audit trail is in the
    folder audit. The data folder holds everything, the keyring and the root key that clients pin
    included; without --data-dir it is $XDG_DATA_HOME/kmworker or ~/.local/share/kmworker. Nothing
    that was accepted is lost, however this ends. Other commands of this user find it by
    themselves. There is no AMQP in it: programs use `kmworker publish --file -` and
    `kmworker watch --json`.
    """
    harden_process()
    invocation = context.find_object(Invocation) or Invocation()
    supervisor = Supervisor(
        data_dir or default_data_dir(os.environ),
        os.environ,
        config=invocation.config,
        settings=load_settings(invocation.config),
        make_keyring=Keyring.generate,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: supervisor.stop_soon())
    on_hangup(supervisor.stop_soon)
    try:
        supervisor.start()
        note(f"up in {supervisor.server.data_dir}; Ctrl-C ends it")
        with supervisor.announced() as trouble:
            if trouble:
                complain(trouble, "set XDG_RUNTIME_DIR to a folder of this user's")
            supervisor.run()
    finally:
        supervisor.stop()
