"""What the worker is to reach, what it reached, and what keeps it from the rest."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from bench.contestants import LIMIT, PEERS, WORKER
from bench.results import BEFORE, Results
from bench.store_size import StoreCost, ratios
from bench.tables import table
from bench.throughput import busy

MEMORY_BYTES = 1_400
FLAT = 1.1
# From here on, decimals say nothing.
LARGE = 100


@dataclass(frozen=True)
class Goal:
    """One figure, and what it should be."""

    what: str
    measured: float
    least: float | None = None
    most: float | None = None
    bound: str = ""
    """What keeps it from that, where it falls short."""

    @property
    def is_reached(self) -> bool:
        """Return whether it is what it should be."""
        return (self.least is None or self.measured >= self.least) and (
            self.most is None or self.measured <= self.most
        )

    def row(self) -> list[str]:
        """Return its line of the table."""
        aim = f"≥ {self.least:,g}" if self.most is None else f"≤ {self.most:,g}"
        shown = f"{self.measured:,.0f}" if self.measured >= LARGE else f"{self.measured:.2f}"
        return [self.what, aim, shown, "reached" if self.is_reached else self.bound]


def goals(results: Results) -> list[str]:
    """Say of each goal whether it is reached, and what bounds it if not."""
    return table(["", "aim", "here", ""], [goal.row() for goal in goals_of(results)])


def goals_of(results: Results) -> Iterator[Goal]:
    """Give every goal that this run says something about."""
    yield from _speed(results)
    yield from _latency(results)
    if BEFORE in results.throughput:
        now, before = (results.cpu_with_store_us(name) for name in (WORKER.name, BEFORE))
        bound = f"{now:.0f} and {before:.0f} µs"
        yield Goal("CPU of worker and Redis ÷ before", now / before, most=0.75, bound=bound)
    largest = results.memory[-1]
    yield Goal(
        "bytes of Redis' memory for an item",
        largest.in_all,
        most=MEMORY_BYTES,
        bound=f"{largest.text:,.0f} bytes are names and text that the contract fixes;"
        f" the rest is {largest.server}'s",
    )
    for costs in (results.stores, results.volumes, results.projects):
        yield from _flat(costs)


def _speed(results: Results) -> Iterator[Goal]:
    rate = results.events_per_s
    best = max(PEERS, key=lambda it: rate(it.name)).name
    bound = _cores(results)
    yield Goal(f"events/s ÷ {best}'s", rate(WORKER.name) / rate(best), least=7.0, bound=bound)
    share = rate(WORKER.name) / rate(LIMIT.name)
    yield Goal("events/s ÷ the limit's", share, least=0.65, bound=bound)


def _latency(results: Results) -> Iterator[Goal]:
    figures: dict[str, Callable[[str], float]]
    figures = {"median": results.median_ms, "p99": results.p99_ms}
    for name, figure in figures.items():
        best = min(PEERS, key=lambda it: figure(it.name)).name
        bound = f"{figure(WORKER.name):.1f} and {figure(best):.1f} ms"
        bound += f"; the limit's is {figure(LIMIT.name):.1f} ms"
        ratio = figure(WORKER.name) / figure(best)
        yield Goal(f"{name} ÷ {best}'s", ratio, most=0.9, bound=bound)
    ours, limit = results.p99_ms(WORKER.name), results.p99_ms(LIMIT.name)
    bound = f"{ours:.1f} and {limit:.1f} ms: two syncs of a disk, Redis' and the broker's, for one"
    yield Goal("p99 ÷ the limit's", ours / limit, most=1.3, bound=bound)


def _flat(costs: dict[str, list[StoreCost]]) -> Iterator[Goal]:
    smallest, *larger = costs
    shares = ratios(costs)
    for title in larger:
        store_us = [median(it.store_us for it in costs[name]) for name in (smallest, title)]
        worker_us = [median(it.worker_us for it in costs[name]) for name in (smallest, title)]
        bound = f"Redis {store_us[0]:.0f} → {store_us[1]:.0f} µs"
        bound += f", worker {worker_us[0]:.0f} → {worker_us[1]:.0f} µs"
        yield Goal(f"an event's CPU, {title} ÷ {smallest}", shares[title], most=FLAT, bound=bound)


def _cores(results: Results) -> str:
    turns = results.throughput[WORKER.name]
    parts = {"worker": "contestant", "RabbitMQ": "rabbitmq", "Redis": "redis"}
    said = [f"{name} {busy(turns, part):.2f}" for name, part in parts.items()]
    return f"cores busy, of {results.machine.cores}: {', '.join(said)}"
