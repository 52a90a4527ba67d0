"""Does an event cost more in a larger store? And how much memory does an item take?"""

from collections.abc import Callable
from dataclasses import dataclass

from bench.contestants import Contestant
from bench.events import around, collections, derived, item_id, project_id
from bench.filling import FILL_BLOCK, fill
from bench.servers import Servers
from bench.stage import Stage, on_stage
from bench.throughput import PROJECTS, Throughput, measure_on
from kmworker.store.names import Names

__all__ = ["Memory", "StoreCost", "measure_in_store", "measure_of_volume"]

KEYS = ("items", "keys", "scopes", "deks", "lineage", "holders", "stats")
FILLED = "there"
VOLUME = "large"
Progress = Callable[[int], None]


@dataclass(frozen=True)
class StoreCost:
    """What an event costs beside so many items."""

    items: int
    events_per_s: float
    worker_us: float
    """CPU time, user and system, for one event; as is the next."""
    store_us: float

    @property
    def together_us(self) -> float:
        """What must be flat."""
        return self.worker_us + self.store_us


@dataclass(frozen=True)
class Memory:
    """What Redis takes, in bytes for each item."""

    items: int
    in_all: float
    """By its own count (used_memory), less that of the empty server."""
    by_key: dict[str, float]
    """By MEMORY USAGE over every element."""
    log: float
    """What it takes in the append-only file, before that is rewritten."""


def measure_in_store(
    servers: Servers, worker: Contestant, items: int, seconds: float, progress: Progress
) -> tuple[StoreCost, Memory]:
    """Fill a store with a third each created, reused and cloned, and handle events in it."""
    with on_stage(servers, worker) as stage:
        before, log_before = _used(servers), _log_size(servers)
        fill(stage, collections(items, PROJECTS, FILLED, FILL_BLOCK), progress)
        log_bytes = (_log_size(servers) - log_before) / items
        memory = Memory(
            items, (_used(servers) - before) / items, _by_key(servers, items), log_bytes
        )
        events = around(worker.backlog, items, PROJECTS, FILLED, stage.namespace)
        return _cost(items, measure_on(stage, events, seconds)), memory


def measure_of_volume(
    servers: Servers, worker: Contestant, snapshots: int, seconds: float, progress: Progress
) -> StoreCost:
    """Take snapshots of a volume that has so many."""
    with on_stage(servers, worker) as stage:
        _volume_with(stage, snapshots, progress)
        volume = item_id(VOLUME, "volume", 0)
        events = derived(worker.backlog, project_id(0), volume, stage.namespace)
        return _cost(snapshots, measure_on(stage, events, seconds))


def _volume_with(stage: Stage, snapshots: int, progress: Progress) -> None:
    fill(stage, collections(1, 1, VOLUME), progress)
    fill(stage, derived(snapshots, project_id(0), item_id(VOLUME, "volume", 0), FILLED), progress)


def _cost(items: int, turn: Throughput) -> StoreCost:
    store_us = 1e6 * turn.busy["redis"] / turn.events_per_s
    return StoreCost(items, turn.events_per_s, turn.cpu_us, store_us)


def _by_key(servers: Servers, items: int) -> dict[str, float]:
    client, names = servers.client(), Names(servers.settings("bench").store.prefix)
    return {
        key: sum(
            client.memory_usage(names.of(project_id(project), key), samples=0) or 0
            for project in range(PROJECTS)
        )
        / items
        for key in KEYS
    }


def _used(servers: Servers) -> int:
    return int(servers.client().info("memory")["used_memory"])


def _log_size(servers: Servers) -> int:
    return int(servers.client().info("persistence")["aof_current_size"])
