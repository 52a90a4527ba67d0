"""How often each client may ask: a token bucket for each, and a bound on how many there are."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

__all__ = ["Rates"]

MAX_CLIENTS: Final = 20_000
BARRED_S: Final = 30.0
"""As long as a request lives, so that none of what has done it comes again."""


class Rates:
    """Says whether a client asks too often."""

    def __init__(self, per_s: float, burst: int, monotonic: Callable[[], float]) -> None:
        """Begin with full buckets.

        Args:
            per_s: requests that each client may make, on the whole.
            burst: how many of them at once: a host that starts has all of its volumes to open.
            monotonic: the time, in seconds.
        """
        self._per_s = per_s
        self._burst = float(burst)
        self._monotonic = monotonic
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What is left of each client's, and when that was; who has not asked for long goes first.
        """

    def bar(self, client: str) -> None:
        """Hear nothing of a client for a while: it has done harm to others."""
        # Its bucket begins to fill only then.
        self._keep(client, 0.0, self._monotonic() + BARRED_S)

    def may_ask(self, client: str) -> bool:
        """Count a request of a client, if it may make it."""
        now = self._monotonic()
        left, at = self._buckets.pop(client, (self._burst, now))
        if now < at:
            self._keep(client, left, at)
            return False
        left = min(self._burst, left + (now - at) * self._per_s)
        may = left >= 1.0
        self._keep(client, left - 1.0 if may else left, now)
        return may

    def _keep(self, client: str, left: float, at: float) -> None:
        self._buckets.pop(client, None)
        self._buckets[client] = left, at
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
