"""Time, as something that can be handed in: a test's clock need not tick."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol

__all__ = ["Clock", "StoreClock", "SystemClock", "rfc3339", "unix_s"]


# Seconds, for an answer that says what time it is.
SLOW_S: Final = 1.0


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


class StoreClock:
    """The store's time of day, kept going by this machine's monotonic clock.

    Deadlines are set by one worker and met by another, so they go by a clock that all share.
    Before the first `agree` it is this machine's own. Its error is at most half the time that
    the answer took, and what two clocks drift apart until the next one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_s: float | None = None

    def now(self) -> float:
        """Return Unix seconds, as the store has them."""
        if self._offset_s is None:
            return self._clock.now()
        return self._clock.monotonic() + self._offset_s

    def monotonic(self) -> float:
        """Return seconds that never go back, for durations."""
        return self._clock.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let time pass; a signal handler may end it early."""
        self._clock.sleep(seconds)

    def agree(self, ask: Callable[[], float]) -> float:
        """Go by the store's time from now on; return how far this machine's is ahead of it.

        An answer that took long says little: only the first is taken then.
        """
        before = self._clock.monotonic()
        theirs = ask()
        after = self._clock.monotonic()
        if self._offset_s is None or after - before < SLOW_S:
            self._offset_s = theirs - (before + after) / 2
        return self._clock.now() - self.now()


def rfc3339(seconds: float) -> str:
    """Return Unix seconds as RFC 3339, UTC, to the millisecond."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_s(text: str) -> float:
    """Return RFC 3339 as Unix seconds, which have no leap seconds.

    Raises:
        ValueError: it is none.
    """
    text = text.upper()
    if text[17:19] == "60":
        return datetime.fromisoformat(f"{text[:17]}59{text[19:]}").timestamp() + 1
    return datetime.fromisoformat(text).timestamp()
