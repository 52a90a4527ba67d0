"""docs/scaling.md: what more events and more items need, computed from what was measured."""

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from string import Template

from bench.contestants import LIMIT, WORKER
from bench.results import Results
from bench.store_size import mixed_items
from bench.tables import table
from bench.throughput import Throughput

TEMPLATE = Template(Path(__file__).with_name("scaling.template.md").read_text())
RATES_PER_S = (100, 1_000, 5_000, 20_000, 100_000)
ITEMS = (10**6, 10**7, 10**8, 10**9)
USABLE = 0.6
"""Of a core, or of a queue's most: the rest is for bursts and for catching up after an outage."""
SHARD_GB = 32
"""Memory of one Redis; half of it is filled, because a rewrite of its log may copy the rest."""
FILLED = 0.5


@dataclass(frozen=True)
class Costs:
    """What one event and one item take."""

    worker_us: float
    broker_us: float
    store_us: float
    """CPU time, user and system; the store's beside `store_items`, sources among them all."""
    small_store_us: float
    """The same, beside few items."""
    store_items: int
    queue_per_s: float
    """Events a second through one work queue and its assignments, when nothing else is to do."""
    item_bytes: float
    log_bytes: float


def costs_of(results: Results) -> Costs:
    """Take the medians of the worker's turns, and what the largest store takes."""
    turns = results.throughput[WORKER.name]
    largest = results.memory[-1]
    beside_largest = results.stores[mixed_items().title(largest.items)]
    return Costs(
        worker_us=_us(turns, "contestant"),
        broker_us=_us(turns, "rabbitmq"),
        store_us=median(turn.store_us for turn in beside_largest),
        small_store_us=_us(turns, "redis"),
        store_items=largest.items,
        queue_per_s=results.events_per_s(LIMIT.name),
        item_bytes=largest.in_all,
        log_bytes=largest.log,
    )


def for_rates(costs: Costs) -> list[str]:
    """Return the table of what more events need."""
    rows = [
        [
            f"{rate:,}",
            str(_needed(rate * costs.worker_us / 1e6)),
            str(_needed(rate / costs.queue_per_s)),
            f"{rate * costs.broker_us / 1e6 / USABLE:.1f}",
            str(_needed(rate * costs.store_us / 1e6)),
        ]
        for rate in RATES_PER_S
    ]
    head = ["events/s", "worker processes", "work queues", "broker cores", "Redis shards"]
    return table(head, rows)


def for_items(costs: Costs) -> list[str]:
    """Return the table of what more items need."""
    rows = [
        [
            f"{items:,}",
            f"{items * costs.item_bytes / 1e9:,.1f}",
            str(math.ceil(items * costs.item_bytes / 1e9 / (SHARD_GB * FILLED))),
            f"{items * costs.log_bytes / 1e9:,.1f}",
        ]
        for items in ITEMS
    ]
    return table(["items", "memory GB", f"shards of {SHARD_GB} GB", "log GB"], rows)


def write_scaling(results: Results, path: Path) -> None:
    """Write the document."""
    costs = costs_of(results)
    path.write_text(
        TEMPLATE.substitute(
            worker_us=f"{costs.worker_us:.0f}",
            broker_us=f"{costs.broker_us:.0f}",
            store_us=f"{costs.store_us:.0f}",
            queue_per_s=f"{costs.queue_per_s:,.0f}",
            small_store_us=f"{costs.small_store_us:.0f}",
            store_items=f"{costs.store_items:,}",
            store_per_s=f"{1e6 / costs.store_us:,.0f}",
            item_bytes=f"{costs.item_bytes:,.0f}",
            log_bytes=f"{costs.log_bytes:,.0f}",
            usable=f"{USABLE:.0%}",
            filled=f"{FILLED:.0%}",
            shard_gb=SHARD_GB,
            rates="\n".join(for_rates(costs)),
            items="\n".join(for_items(costs)),
        )
    )


def _us(turns: list[Throughput], part: str) -> float:
    return median(1e6 * turn.busy[part] / turn.events_per_s for turn in turns)


def _needed(share: float) -> int:
    return max(math.ceil(share / USABLE), 1)
