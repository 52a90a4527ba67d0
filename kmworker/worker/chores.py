"""What is done now and then: when no event waits for it, as far as that can be.

Reports, the anchor and heartbeats take round trips, and an event that comes meanwhile waits for
them. So they are done when there is nothing else to do, one at a time. Where there always is
something else, each is done when it is as late again as it is often.
"""

import math
from collections.abc import Callable, Iterable

from kmworker.clock import Clock
from kmworker.domain.values import value

__all__ = ["Chore", "Chores"]


@value
class Chore:
    """Something to be done again and again."""

    do: Callable[[], None]
    every_s: float
    """From one time to the next; the first is at once."""
    while_away: bool = False
    """Whether it is also done while a server is away."""


class Chores:
    """Knows what is due; whatever a chore raises comes out, and it is due again in its time."""

    def __init__(self, clock: Clock, chores: Iterable[Chore]) -> None:
        self._clock = clock
        self._due_at = dict.fromkeys(chores, -math.inf)

    @property
    def are_due(self) -> bool:
        """Return whether there is something to do."""
        return bool(self._due(0))

    def do_one(self) -> None:
        """Do what has been due for the longest time, if anything is."""
        self._do(self._due(0)[:1])

    def do_late(self) -> None:
        """Do what should wait no longer for a moment without events, but not more than one."""
        self._do(self._due(1)[:1])

    def do_while_away(self) -> None:
        """Do all that is due and can be done without a server."""
        self._do(chore for chore in self._due(0) if chore.while_away)

    def _due(self, times_late: int) -> list[Chore]:
        now = self._clock.monotonic()
        due = [it for it, at in self._due_at.items() if now >= at + times_late * it.every_s]
        return sorted(due, key=self._due_at.__getitem__)

    def _do(self, chores: Iterable[Chore]) -> None:
        for chore in chores:
            self._due_at[chore] = self._clock.monotonic() + chore.every_s
            chore.do()
