"""``kmworker worker``: the process that supervisors start and stop."""

import os
import signal
from typing import TYPE_CHECKING

import typer

from kmworker.cli.frame.exits import run_process
from kmworker.cli.frame.program import collect_seldom, examples, group, importing
from kmworker.cli.terminal.surroundings import on_hangup

if TYPE_CHECKING:
    from kmworker.settings import Settings
    from kmworker.worker.loop import Worker

__all__ = ["app"]

app = group()


class Stopper:
    """Stops a worker at the first signal, whenever it comes, and the process at the second."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._stops = False
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        on_hangup(self._on_hangup)

    def watch(self, worker: "Worker") -> None:
        """Stop this worker, now if it was asked for before the worker was there."""
        self._worker = worker
        if self._stops:
            worker.stop()

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._asked:
            # Whoever asks twice does not want to wait for a batch: the broker still has it.
            os._exit(128 + number)
        self._asked = True
        self._stop()

    def _on_hangup(self) -> None:
        # Not asking twice: a terminal's end comes from the kernel and from the shell, and
        # systemd sends it right after SIGTERM (SendSIGHUP=).
        self._stop()

    def _stop(self) -> None:
        self._stops = True
        if self._worker is not None:
            self._worker.stop()


@app.command(
    epilog=examples(
        "kmworker worker",
        "kmworker --config /etc/kmworker/kmworker.toml worker",
        "KMWORKER_LOG__LEVEL=debug kmworker worker",
    )
)
def worker(context: typer.Context) -> None:
    """Run one worker process until SIGTERM.

    It waits for a broker or store that is not there yet. SIGTERM, SIGINT and SIGHUP end the intake;
    the batch at hand is finished and the exit code is 0. A second SIGTERM or SIGINT ends it at
    once.
    """
    stopper = Stopper()
    # After the signals are in hand: importing takes most of a worker's start.
    with importing():
        from kmworker.bootstrap.worker import build_worker  # noqa: PLC0415
        from kmworker.cli.frame.configured import settings_of  # noqa: PLC0415
        from kmworker.cli.terminal.logs import configure_logs  # noqa: PLC0415
        from kmworker.crypto.hardening import harden_process  # noqa: PLC0415

    settings = settings_of(context)
    configure_logs(settings.log.level, settings.log.format)
    harden_process()
    _warn_of_plain_text(settings)
    built = build_worker(settings)
    stopper.watch(built)
    collect_seldom()
    run_process(built.run)


def _warn_of_plain_text(settings: "Settings") -> None:
    import structlog  # noqa: PLC0415  # see above

    from kmworker.settings import plain_text  # noqa: PLC0415

    for setting, url in plain_text(settings):
        hint = "write amqps:// or rediss://, unless something else encrypts all the way"
        structlog.get_logger().warning("plain text", setting=setting, url=url, hint=hint)
