"""Requests that came before their grants: looked at now and then, however much else comes."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from kmworker.keyserver.intake import Asking, Refusing
from kmworker.wire.answers.messages import Refusal

__all__ = ["LOOK_S", "WaitingRequests"]

LOOK_S: Final = 0.25
"""How long the loop waits for requests, and so how often these are looked at again."""
MAX_WAITING: Final = 1_000
MAX_WAITING_OF_ONE: Final = 100


class WaitingRequests:
    """Those that wait, in the order in which they came; so many of each client, and of all."""

    def __init__(self, monotonic: Callable[[], float], wait_s: float) -> None:
        """Prepare.

        Args:
            monotonic: the clock's seconds.
            wait_s: how long a request waits for its grant, since it came.
        """
        self._monotonic = monotonic
        self._wait_s = wait_s
        self._waiting: list[Asking] = []
        self._look_at = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def clear(self) -> None:
        """Let go of all."""
        self._waiting.clear()

    def due(self, *, is_busy: bool) -> list[Asking]:
        """Take those that are to be looked at now; what else comes does not hurry that."""
        now = self._monotonic()
        if is_busy and now < self._look_at:
            return []
        self._look_at = now + LOOK_S
        waiting, self._waiting = self._waiting, []
        return waiting

    def keep(self, later: Sequence[Asking]) -> Iterator[Refusing]:
        """Let these wait, and give those that have waited long enough, or find no room."""
        now = self._monotonic()
        of_each = Counter(it.client.name for it in self._waiting)
        for it in later:
            if now >= it.delivery.received_at + self._wait_s:
                yield Refusing(it, Refusal.NOT_GRANTED)
            elif of_each[it.client.name] >= MAX_WAITING_OF_ONE or len(self) >= MAX_WAITING:
                yield Refusing(it, Refusal.TRY_LATER)
            else:
                of_each[it.client.name] += 1
                self._waiting.append(it)
