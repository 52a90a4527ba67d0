"""Time, as something that can be handed in: a test's clock need not tick."""

import math
import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "Every", "SystemClock", "rfc3339"]


class Clock(Protocol):
    """What the worker asks of time."""

    def now(self) -> float:
        """Return Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, for durations."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back, for durations."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let time pass; a signal handler may end it early."""
        time.sleep(seconds)


class Every:
    """Says when something is to be done again: at once, and then at times of its own.

    Args:
        clock: by which it is due.
        every_s: seconds from one time to the next; one that is nearer than half of it is passed
            over.
        offset_s: seconds that all times but the first are later, so that things which are
            done as often are not done together, and nothing waits for all of them.
    """

    def __init__(self, clock: Clock, every_s: float, offset_s: float = 0.0) -> None:
        self._clock = clock
        self._every_s = every_s
        self._offset_s = offset_s
        self._due_at = -math.inf

    def is_due(self) -> bool:
        """Say whether it is time; the next time is a later one then."""
        now = self._clock.monotonic()
        if now < self._due_at:
            return False
        left_s = self._every_s - (now - self._offset_s) % self._every_s
        if left_s < self._every_s / 2:
            left_s += self._every_s
        self._due_at = now + left_s
        return True


def rfc3339(seconds: float) -> str:
    """Return Unix seconds as RFC 3339, UTC, to the millisecond."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
