"""``kmworker worker``: the process that supervisors start and stop."""

import gc
import os
import signal
from typing import TYPE_CHECKING

import typer

from kmworker.cli.program import Ending, examples, group, importing
from kmworker.errors import SetupError

if TYPE_CHECKING:
    from kmworker.worker import Worker

__all__ = ["app"]

app = group()


class Stopper:
    """Stops a worker at the first signal, whenever it comes, and the process at the second."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def watch(self, worker: "Worker") -> None:
        """Stop this worker, now if it was asked for before the worker was there."""
        self._worker = worker
        if self._asked:
            worker.stop()

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._asked:
            # Whoever asks twice does not want to wait for a batch: the broker still has it.
            os._exit(128 + number)
        self._asked = True
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

    It waits for a broker or store that is not there yet. SIGTERM and SIGINT end the intake;
    the batch at hand is finished and the exit code is 0. A second signal ends it at once.
    """
    stopper = Stopper()
    # After the signals are in hand: importing takes most of a worker's start.
    with importing():
        from kmworker.bootstrap import build_worker  # noqa: PLC0415
        from kmworker.cli.access import settings_of  # noqa: PLC0415
        from kmworker.crypto.process import harden_process  # noqa: PLC0415
        from kmworker.logs import configure_logs  # noqa: PLC0415

    settings = settings_of(context)
    configure_logs(settings.log.level, settings.log.format)
    harden_process()
    built = build_worker(settings)
    stopper.watch(built)
    # What was imported and built stays. Looking through it all for garbage now and then
    # would let events wait: 20 to 30 ms, each time.
    gc.freeze()
    _run(built)


def _run(built: "Worker") -> None:
    import structlog  # noqa: PLC0415  # see above

    try:
        built.run()
    except SetupError as error:
        # Whoever collects the log gets it in the log's own format.
        log = structlog.get_logger()
        log.error("refused to work", detail=str(error), hint=error.hint)  # noqa: TRY400
        raise typer.Exit(Ending.WRONG) from None
