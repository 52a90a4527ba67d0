"""Does an event cost more in a larger store? And how much memory does an item take?"""

from collections.abc import Callable
from dataclasses import dataclass

from bench.contestants import Contestant
from bench.events import around, collections, derived, item_id, project_id
from bench.filling import FILL_BLOCK, fill
from bench.memory import InValkey, Memory, memory_of, on_valkey, used
from bench.servers import Servers
from bench.stage import Stage, on_stage
from bench.throughput import PROJECTS, Throughput, measure_on

__all__ = ["StoreCost", "measure_in_store", "measure_in_valkey", "measure_of_volume"]

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


def measure_in_store(
    servers: Servers, worker: Contestant, items: int, seconds: float, progress: Progress
) -> tuple[StoreCost, Memory]:
    """Fill a store with a third each created, reused and cloned, and handle events in it."""
    with on_stage(servers, worker) as stage:
        log_before = _log_size(servers)
        in_all = _filled(stage, items, progress)
        log_bytes = (_log_size(servers) - log_before) / items
        memory = memory_of(servers, items, in_all, log_bytes)
        events = around(worker.backlog, items, PROJECTS, FILLED, stage.namespace)
        return _cost(items, measure_on(stage, events, seconds)), memory


def measure_in_valkey(
    servers: Servers, worker: Contestant, items: int, progress: Progress
) -> InValkey:
    """Fill a Valkey in the same way."""
    with on_valkey(servers) as others, on_stage(others, worker) as stage:
        version = str(others.client().info("server")["valkey_version"])
        return InValkey(version, items, _filled(stage, items, progress))


def measure_of_volume(
    servers: Servers, worker: Contestant, snapshots: int, seconds: float, progress: Progress
) -> StoreCost:
    """Take snapshots of a volume that has so many."""
    with on_stage(servers, worker) as stage:
        _volume_with(stage, snapshots, progress)
        volume = item_id(VOLUME, "volume", 0)
        events = derived(worker.backlog, project_id(0), volume, stage.namespace)
        return _cost(snapshots, measure_on(stage, events, seconds))


def _filled(stage: Stage, items: int, progress: Progress) -> float:
    before = used(stage.servers)
    fill(stage, collections(items, PROJECTS, FILLED, FILL_BLOCK), progress)
    return (used(stage.servers) - before) / items


def _volume_with(stage: Stage, snapshots: int, progress: Progress) -> None:
    fill(stage, collections(1, 1, VOLUME), progress)
    fill(stage, derived(snapshots, project_id(0), item_id(VOLUME, "volume", 0), FILLED), progress)


def _cost(items: int, turn: Throughput) -> StoreCost:
    store_us = 1e6 * turn.busy["redis"] / turn.events_per_s
    return StoreCost(items, turn.events_per_s, turn.cpu_us, store_us)


def _log_size(servers: Servers) -> int:
    return int(servers.client().info("persistence")["aof_current_size"])
