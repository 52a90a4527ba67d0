"""A worker that ends with SIGKILL as soon as it has finished one of the seven steps."""

import os
import signal
import sys

from kmworker.bootstrap.worker import build_worker
from kmworker.cli.terminal.logs import configure_logs
from kmworker.settings import load_settings
from kmworker.worker.stages import Milestone


def main(stop_at: Milestone) -> None:
    """Work until the step is done for the first time."""

    def on_milestone(step: Milestone) -> None:
        if step is stop_at:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = load_settings(None, os.environ)
    configure_logs(settings.log.level, settings.log.format)
    build_worker(settings, on_milestone).run()


if __name__ == "__main__":
    main(Milestone(sys.argv[1]))
