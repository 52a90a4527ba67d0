"""Goes by the store's time, and says so when this machine's is another."""

from collections.abc import Callable
from typing import Final

import structlog

from kmworker.clock import StoreClock
from kmworker.worker.tally import Tally

__all__ = ["SKEW_S", "TIMEKEEPING_S", "Timekeeper"]

log = structlog.get_logger()

TIMEKEEPING_S: Final = 60.0
# Logs of two machines cannot be held side by side any more.
SKEW_S: Final = 5.0


class Timekeeper:
    """Compares the clocks at each admission, and once a minute."""

    def __init__(self, clock: StoreClock, ask: Callable[[], float], tally: Tally) -> None:
        self._clock = clock
        self._ask = ask
        self._tally = tally

    def check(self) -> None:
        """Compare.

        Raises:
            StoreUnavailable: the store does not say what time it is.
        """
        ahead_s = round(self._clock.agree(self._ask), 1)
        if (abs(ahead_s) >= SKEW_S) != (abs(self._tally.clock_ahead_s) >= SKEW_S):
            if abs(ahead_s) >= SKEW_S:
                log.warning("this machine's clock is not the store's", ahead_s=ahead_s)
            else:
                log.info("this machine's clock is the store's again", ahead_s=ahead_s)
        self._tally.clock_ahead_s = ahead_s
