"""What was to be reached, beside what was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.contestants import PEERS, WORKER
from bench.results import Results
from bench.store_size import StoreCost, ratios
from bench.tables import table

__all__ = ["targets"]

MILLION = 1_000_000


@dataclass(frozen=True)
class _Target:
    measure: str
    wanted: str
    reached: str
    met: bool | None
    """None: not measured in this run."""

    @property
    def row(self) -> list[str]:
        verdict = "not measured" if self.met is None else "yes" if self.met else "**no**"
        return [self.measure, self.wanted, self.reached, verdict]


def targets(results: Results) -> list[str]:
    """What was to be reached, and what was."""
    rows = [*_speed_targets(results), *_latency_targets(results), *_size_targets(results)]
    return table(["measure", "to reach", "reached", "met"], [target.row for target in rows])


def _speed_targets(results: Results) -> list[_Target]:
    over, each = results.over_best_peer, results.over_best_process
    of, cpu_us = results.of_limit, results.cpu_us(WORKER.name)
    ours = "events/s of one worker process ÷"
    best = f"the best peer with all of its processes ({results.best_peer})"
    return [
        _Target(f"{ours} {best}", "≥ 7", f"{over:.1f}", over >= 7),
        _Target(f"{ours} one process of the best peer", "≥ 7", f"{each:.1f}", each >= 7),
        _Target("events/s of one worker process ÷ the limit", "≥ 0.65", f"{of:.2f}", of >= 0.65),
        _Target("CPU of the worker for one event", "≤ 180 µs", f"{cpu_us:.0f} µs", cpu_us <= 180),
    ]


def _latency_targets(results: Results) -> list[_Target]:
    found = []
    for what, of in (("median", results.median_ms), ("p99", results.p99_ms)):
        best = min((peer.name for peer in PEERS), key=of)
        ratio = of(WORKER.name) / of(best)
        measure = f"{what} latency at {results.plan.latency_per_s:g} events/s ÷ the best ({best})"
        found.append(_Target(measure, "≤ 0.7", f"{ratio:.2f}", ratio <= 0.7))
    return found


def _size_targets(results: Results) -> list[_Target]:
    largest, most = max(results.plan.store_items), max(results.plan.volume_snapshots)
    flat, of_volume = _most_apart(results.stores), _most_apart(results.volumes)
    at_million = [memory for memory in results.memory if memory.items >= MILLION]
    each = f"{at_million[0].in_all:,.0f}" if at_million else "-"
    after = f"{results.soak[-1].resident_mb:.0f} MB" if results.soak else "-"
    is_long = bool(results.soak) and results.soak[-1].events >= MILLION
    start_s = median(results.starts_s)
    return [
        _Target(
            f"CPU of worker and Redis for one event, store of 10³ to {largest:,} items",
            "flat, within 10%",
            f"{flat:+.0%}",
            abs(flat) <= 0.10 if largest >= MILLION else None,
        ),
        _Target(
            f"the same, snapshots of a volume with 0 and {most:,}",
            "flat, within 10%",
            f"{of_volume:+.0%}",
            abs(of_volume) <= 0.10,
        ),
        _Target(
            "Redis memory per item, at 10⁶ items",
            "≤ 1,400 bytes",
            each,
            at_million[0].in_all <= 1_400 if at_million else None,
        ),
        _Target(
            "worker memory after 10⁶ events",
            "flat, ≤ 120 MB",
            after,
            results.soak[-1].resident_mb <= 120 if is_long else None,
        ),
        _Target(
            "from start of the process to its first assignment",
            "≤ 1.0 s",
            f"{start_s:.2f} s",
            start_s <= 1.0,
        ),
    ]


def _most_apart(costs: Mapping[str, Sequence[StoreCost]]) -> float:
    """Return by which share the store that differs most from the smallest does so."""
    return max((ratio - 1 for ratio in ratios(costs).values()), key=abs)
