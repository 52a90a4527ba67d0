"""A worker on a machine whose clock is two hours ahead: more than any event may wait."""

import os
from typing import Final

from kmworker.bootstrap import worker
from kmworker.cli.terminal.logs import configure_logs
from kmworker.clock import SystemClock
from kmworker.settings import load_settings

AHEAD_S: Final = 7_200


class Ahead(SystemClock):
    """The machine's clock."""

    def now(self) -> float:
        """Return Unix seconds, as this machine has them."""
        return super().now() + AHEAD_S


def main() -> None:
    """Work until killed."""
    worker.SystemClock = Ahead  # type: ignore[attr-defined]
    settings = load_settings(None, os.environ)
    configure_logs(settings.log.level, settings.log.format)
    worker.build_worker(settings).run()


if __name__ == "__main__":
    main()
