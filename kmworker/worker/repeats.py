"""A state is told when it begins, and then once a minute with how often it came."""

from collections.abc import Hashable
from typing import Final

from kmworker.clock import Clock

__all__ = ["Repeats"]

AGAIN_S: Final = 60.0
# Reasons that differ at each try, by a port for instance, must not fill the memory.
MAX_KNOWN: Final = 100


class Repeats:
    """Counts what came since it was told, for each state apart: none hides behind another."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[Hashable, tuple[float, int]] = {}

    def to_tell(self, state: Hashable) -> int:
        """Count a state; return how often it came since it was told, 0 if it is not due again."""
        now = self._clock.monotonic()
        due_at, untold = self._known.get(state, (now, 0))
        if now < due_at:
            self._known[state] = due_at, untold + 1
            return 0
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[state] = now + AGAIN_S, 0
        return untold + 1

    def forget(self) -> None:
        """Begin anew: whatever comes next is news."""
        self._known.clear()
