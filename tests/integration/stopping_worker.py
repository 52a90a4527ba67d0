"""A worker that ends with SIGKILL as soon as it has finished one of the seven steps."""

import os
import signal
import sys

from kmworker.bootstrap import build_worker
from kmworker.logs import configure_logs
from kmworker.path import Step
from kmworker.settings import load_settings


def main(stop_at: Step) -> None:
    """Work until the step is done for the first time."""

    def on_step(step: Step) -> None:
        if step is stop_at:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = load_settings(None, os.environ)
    configure_logs(settings.log.level, settings.log.format)
    build_worker(settings, on_step).run()


if __name__ == "__main__":
    main(Step(sys.argv[1]))
