"""What was inflicted and what came of it, as a table."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.fault import Fault
from tests.chaos.faults import FAULTS

TITLES: Final = {
    "rabbitmq": "RabbitMQ and Redis",
    "streams": "streams in Valkey",
    "valkey": "RabbitMQ and Valkey",
    "lives": "RabbitMQ and Redis, where things go, too",
}


@dataclass(slots=True)
class Account:
    """The sum over all legs of a run."""

    inflicted: Counter[tuple[str, str]] = field(default_factory=Counter)
    times_s: defaultdict[tuple[str, str], list[float]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """From a fault's lifting to progress, by installation and fault."""
    waits_s: defaultdict[tuple[str, str], list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """What whoever was honest saw beside it: the longest time without a key, and the p99."""
    cpu_share: float = 0.0
    """The most that a worker used of one processor while a server was away."""
    events: Counter[str] = field(default_factory=Counter)
    lives: int = 0
    """Of items, where things go, too."""
    keys: Counter[str] = field(default_factory=Counter)
    """What became of key-ids there, by type."""

    def lines(self) -> Iterator[str]:
        """Write the table in Markdown."""
        for kind in sorted({kind for kind, _ in self.inflicted}):
            yield f"| {TITLES[kind]} | inflicted | lost | progress after, median | worst |"
            yield "|---|---|---|---|---|"
            shown = [it for it in FAULTS.values() if self.inflicted[kind, it.name]]
            yield from (self._row(kind, fault) for fault in shown if fault.stops_all)
            yield ""
            yield f"| {TITLES[kind]}, beside | times | lost | longest without a key | p99 |"
            yield "|---|---|---|---|---|"
            yield from (self._row_beside(kind, fault) for fault in shown if not fault.stops_all)
            yield ""

    def summary(self) -> str:
        """Say what else is to be known, in one sentence."""
        kinds = sorted(self.events.items())
        events = ", ".join(f"{number} ({TITLES[kind]})" for kind, number in kinds)
        changes = ", ".join(f"{number} {name}" for name, number in sorted(self.keys.items()))
        keys = f" Of {self.lives} items that come and go: {changes}." if self.lives else ""
        return (
            f"Events confirmed: {events}.{keys} While a server was away for longer than five"
            f" seconds, no worker used more than {self.cpu_share:.1%} of a processor.\n"
        )

    def _row(self, kind: str, fault: Fault) -> str:
        times = self.times_s[kind, fault.name]
        shown = [f"{statistics.median(times):.1f} s", f"{max(times):.1f} s"] if times else ["", ""]
        cells = [fault.says, str(self.inflicted[kind, fault.name]), "nothing", *shown]
        return f"| {' | '.join(cells)} |"

    def _row_beside(self, kind: str, fault: Fault) -> str:
        waits = self.waits_s[kind, fault.name]
        worst = [f"{max(it):.1f} s" for it in zip(*waits, strict=True)] or ["", ""]
        cells = [fault.says, str(self.inflicted[kind, fault.name]), "nothing", *worst]
        return f"| {' | '.join(cells)} |"
