"""How long each took, and whose CPU time: what a measurement says."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.processes import cpu_s, pids_below

__all__ = ["HEADS", "Begin", "Parties", "Share", "Waits", "begun"]

HEADS: Final = (
    "what", "a second", "median ms", "99% ms", "worst ms",
    "servers µs", "broker µs", "store µs", "clients µs", "by CPU",
)  # fmt: skip
"""The last is how many a second would take up all cores: what else runs at the time slows down all
the others, and this hardly."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one process of clients did."""

    each_s: Sequence[float]
    """How long each took, in seconds."""
    ended_at: float
    """Monotonic seconds, which all processes of a machine have in common."""
    cpu_s: float
    asked_again: int = 0


Begin = Callable[[float], Share]
"""Begins at this time, monotonic seconds, and returns what was done when it is."""


def begun(begin_at: float) -> float:
    """Wait until it is time; return the CPU time that this process has spent before."""
    time.sleep(max(0.0, begin_at - time.monotonic()))
    return time.process_time()


@dataclass(frozen=True, slots=True)
class Waits:
    """What all processes of clients did together."""

    shares: Sequence[Share]
    began_at: float

    @property
    def each_s(self) -> list[float]:
        """Return how long each took, from the shortest to the longest."""
        return sorted(it for share in self.shares for it in share.each_s)

    @property
    def all_s(self) -> float:
        """Return how long it took until the last was served."""
        return max(share.ended_at for share in self.shares) - self.began_at

    @property
    def asked_again(self) -> int:
        """Return how many requests were sent once more."""
        return sum(share.asked_again for share in self.shares)

    def row(self, name: str) -> list[str]:
        """Return what there is to say of it."""
        each = self.each_s
        at = (each[len(each) // 2], each[int(len(each) * 0.99)], each[-1])
        return [name, f"{len(each) / self.all_s:,.0f}", *(f"{1e3 * it:,.1f}" for it in at)]

    @property
    def cpu_us(self) -> float:
        """Return what each took of the clients' CPU time."""
        return 1e6 * sum(share.cpu_s for share in self.shares) / len(self.each_s)


@dataclass(frozen=True, slots=True)
class Parties:
    """Whose CPU time it takes, beside the clients'; nobody's where there is none."""

    servers: Sequence[int]
    """Process ids: of key servers, or of what is beside them."""
    broker: Sequence[int] = ()
    store: Sequence[int] = ()

    def row(self, name: str, measured: Callable[[], Waits]) -> list[str]:
        """Measure; return what there is to say of it."""
        before = self._spent_s()
        found = measured()
        spent = (now - then for now, then in zip(self._spent_s(), before, strict=True))
        number = len(found.each_s)
        each = [*(1e6 * it / number for it in spent), found.cpu_us]
        by_cpu = 1e6 * (os.cpu_count() or 1) / sum(each)
        return [*found.row(name), *(f"{it:,.0f}" for it in (*each, by_cpu))]

    def _spent_s(self) -> list[float]:
        each = (self.servers, self.broker, self.store)
        return [cpu_s(it for pid in pids for it in pids_below(pid)) for pids in each]
