"""A clock that stands still until a test moves it."""


class SettableClock:
    """`kmworker.clock.Clock`, set by hand; only sleeping moves it by itself."""

    def __init__(self, now: float = 1_795_449_600.0) -> None:
        self._now = now
        self._monotonic = 1_000.0
        self.slept_s = 0.0

    def now(self) -> float:
        """Return Unix seconds."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Let time pass at once."""
        self.slept_s += seconds
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
        self._monotonic += seconds


class Ahead:
    """A machine's clock that is so far ahead of another."""

    def __init__(self, clock: SettableClock, ahead_s: float) -> None:
        self._clock = clock
        self.ahead_s = ahead_s

    def now(self) -> float:
        """Return Unix seconds, as this machine has them."""
        return self._clock.now() + self.ahead_s

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self._clock.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self._clock.sleep(seconds)
