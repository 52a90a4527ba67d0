"""What a worker counts about itself, for dashboards and logs."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from kmworker.clock import Clock
from kmworker.domain.decision import Refuse
from kmworker.domain.model import Assignment, Disposition, KeyReleased

__all__ = ["COUNTED", "RUNNING", "STOPPED", "WAITING", "Tally"]

DISPOSITIONS: Final = tuple(disposition.value for disposition in Disposition)
COUNTED: Final = (*DISPOSITIONS, "released", "repeat", "waiting", "dead", "unrouted")
# What a worker is doing, in its hash. Waiting: a server is away, or something refuses it.
RUNNING: Final = "running"
WAITING: Final = "waiting"
STOPPED: Final = "stopped"
# Enough for a percentile; a busy minute has more, and memory must not follow it.
LATENCIES_KEPT: Final = 10_000
FEED_KEPT: Final = 1_000
MINUTE_S: Final = 60


@dataclass(slots=True)
class Tally:
    """Counters of one worker since its start and in the present minute."""

    clock: Clock
    totals: Counter[str] = field(default_factory=Counter)
    state: str = RUNNING
    last_batch_at: float = 0.0
    """Unix seconds, as is the next; 0 for never."""
    busy_since: float = 0.0
    """Since when there are events at hand and no batch was finished; 0 while idle."""
    last_error: str = ""
    clock_ahead_s: float = 0.0
    """How far this machine's clock is ahead of the store's, which all times here are."""
    troubles: dict[str, str] = field(default_factory=dict)
    """What others keep from being done, by what it is; empty where it is over."""
    _minute: Counter[str] = field(default_factory=Counter)
    _minute_began: float = 0.0
    _latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))
    _feed: deque[Assignment | KeyReleased | dict[str, str]] = field(
        default_factory=lambda: deque(maxlen=FEED_KEPT)
    )

    @property
    def trouble(self) -> str:
        """Return what others keep from being done just now, as one text."""
        return "; ".join(it for it in self.troubles.values() if it)

    def count(self, what: str, number: int = 1) -> None:
        """Add to one of `COUNTED`, or to a counter of the worker's own."""
        self.totals[what] += number
        self._minute[what] += number

    def assigned(self, assignments: Sequence[Assignment]) -> None:
        """Note new assignments."""
        for disposition, number in Counter(it.disposition for it in assignments).items():
            self.count(disposition.value, number)
        self._feed.extend(assignments)

    def released(self, releases: Sequence[KeyReleased]) -> None:
        """Note items that are gone."""
        self.count("released", len(releases))
        self._feed.extend(releases)

    def dead(self, refusal: Refuse, event_id: str, event_type: str, dead_at: str) -> None:
        """Note a dead letter."""
        self.count("dead")
        self._feed.append(
            {
                "what": "dead",
                "reason": refusal.reason.value,
                "detail": refusal.detail,
                "event_id": event_id,
                "event_type": event_type,
                "at": dead_at,
            }
        )

    def took(self, seconds: float) -> None:
        """Note how long an event took from delivery to confirmed assignment."""
        self._latencies_ms.append(seconds * 1000)

    def feed(self, most: int = FEED_KEPT) -> list[dict[str, str]]:
        """Hand over what is new for the feed, the oldest first, and no more than so much."""
        new = [self._feed.popleft() for _ in range(min(most, len(self._feed)))]
        return [it if isinstance(it, dict) else _told(it) for it in new]

    def minute(self, worker_id: str) -> dict[str, str | int | float] | None:
        """Hand over the numbers of the minute that has ended, if one has."""
        # Not the time of day: a clock that is set back must not make an hour's minute.
        now = self.clock.monotonic()
        if not self._minute_began:
            self._minute_began = now
        if now - self._minute_began < MINUTE_S:
            return None
        return self.end_minute(worker_id)

    def end_minute(self, worker_id: str) -> dict[str, str | int | float]:
        """Hand over the present minute's numbers and begin another."""
        numbers: dict[str, str | int | float] = {"worker": worker_id}
        numbers.update({name: self._minute[name] for name in COUNTED})
        ordered = sorted(self._latencies_ms)
        numbers["latency_p50_ms"] = _quantile(ordered, 0.50)
        numbers["latency_p99_ms"] = _quantile(ordered, 0.99)
        self._minute.clear()
        self._latencies_ms.clear()
        self._minute_began = self.clock.monotonic()
        return numbers


def _told(what: Assignment | KeyReleased) -> dict[str, str]:
    if isinstance(what, KeyReleased):
        return {
            "what": "release",
            "project": what.item.project,
            "item": what.item.ref,
            "key_id": what.key_id or "",
            "at": what.at,
        }
    return {
        "what": "assignment",
        "project": what.item.project,
        "item": what.item.ref,
        "disposition": what.disposition.value,
        "key_id": what.key_id or "",
        "rule": what.rule,
        "at": what.assigned_at,
    }


def _quantile(ordered: list[float], fraction: float) -> float:
    if not ordered:
        return 0.0
    return round(ordered[min(len(ordered) - 1, int(fraction * len(ordered)))], 3)
