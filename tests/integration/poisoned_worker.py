"""A worker under a supervisor: it dies of every poison message (SIGKILL), and starts again."""

import os
import signal
import sys
from types import FrameType

from kmworker.bootstrap.worker import build_worker
from kmworker.cli.terminal.logs import configure_logs
from kmworker.settings import load_settings
from kmworker.worker.parse import Batch
from kmworker.worker.stages import AwaitingLookup

POISON = b'"poison'


def work() -> None:
    """Work until killed by an event."""
    settings = load_settings(None, os.environ)
    configure_logs(settings.log.level, settings.log.format)
    worker = build_worker(settings)
    look_up = worker._stages.look_up

    def looked_up(batch: Batch) -> AwaitingLookup:
        if any(POISON in arrival.original.body for arrival in batch.arrivals):
            os.kill(os.getpid(), signal.SIGKILL)
        return look_up(batch)

    worker._stages.look_up = looked_up  # type: ignore[method-assign]
    worker.run()


def main() -> None:
    """Start it again and again; a line on standard output for each death."""
    child = 0

    def end(_signal: int, _frame: FrameType | None) -> None:
        os.kill(child, signal.SIGKILL)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    while True:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            work()
            os._exit(0)
        os.waitpid(child, 0)
        print("died", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
