"""Does an event cost more in a larger store? And how much memory does an item take?

From one second to the next a machine differs by more than what is looked for. So the stores stand
side by side, each with a worker; these run in turn, for a moment each, and are compared with the
smallest store's within each round.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Protocol

from bench.contestants import Contestant
from bench.events import LoadEvent, around, collections, derived, item_id, project_id
from bench.filling import FILL_BLOCK, fill
from bench.memory import InValkey, Memory, memory_of, on_valkey, used
from bench.servers import STORE_OPTIONS, Servers
from bench.stage import Moment, Running, Stage, on_stage, rotated
from bench.throughput import PROJECTS, Throughput, rate_over, warm
from tests.servers import redis_store

__all__ = [
    "SLICE_S", "Items", "SizedStore", "Snapshots", "StoreCost", "in_valkey", "one_round", "ratios",
    "sized_stores",
]  # fmt: skip

FILLED = "there"
VOLUME = "large"
# A turn leaves its items in the store: up to this size it is filled again before the next.
REFILLED_MOST = 100_000
SLICE_S = 0.25
SETTLED_S = 0.05
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


class Content(Protocol):
    """What a store is filled with, and the events that are handled beside that."""

    name: str

    def fill(self, stage: Stage, number: int, progress: Progress) -> None:
        """Fill an empty store with so many items."""
        ...

    def events(self, backlog: int, number: int, run: str) -> Iterable[LoadEvent]:
        """Give events."""
        ...


class Items:
    """A third each created, reused and cloned; two thirds of the events derive from them."""

    name = "items"

    def fill(self, stage: Stage, number: int, progress: Progress) -> None:
        """Fill an empty store with so many items."""
        fill(stage, collections(number, PROJECTS, FILLED, FILL_BLOCK), progress)

    def events(self, backlog: int, number: int, run: str) -> Iterable[LoadEvent]:
        """Give events."""
        return around(backlog, number, PROJECTS, FILLED, run)


class Snapshots:
    """All of one volume, as are those that the events are of."""

    name = "snapshots"

    def fill(self, stage: Stage, number: int, progress: Progress) -> None:
        """Fill an empty store with a volume and so many snapshots of it."""
        fill(stage, collections(1, 1, VOLUME), progress)
        fill(stage, derived(number, *self._volume(), FILLED), progress)

    def events(self, backlog: int, _number: int, run: str) -> Iterable[LoadEvent]:
        """Give events."""
        return derived(backlog, *self._volume(), run)

    def _volume(self) -> tuple[str, str]:
        return project_id(0), item_id(VOLUME, "volume", 0)


@dataclass(frozen=True)
class SizedStore:
    """A store of so many items, on a server of its own."""

    servers: Servers
    worker: Contestant
    content: Content
    number: int
    progress: Progress

    def fill(self) -> Memory:
        """Fill it, and look at what that takes."""
        with on_stage(self.servers, self.worker) as stage:
            empty, log_before = used(self.servers), _log_size(self.servers)
            self.content.fill(stage, self.number, self.progress)
            in_all = (used(self.servers) - empty) / self.number
            log_bytes = (_log_size(self.servers) - log_before) / self.number
            return memory_of(self.servers, self.number, in_all, log_bytes)

    @contextmanager
    def paused(self) -> Iterator[Running]:
        """Fill it again, and start a worker on events beside it, which stands still."""
        if self.number <= REFILLED_MOST:
            with on_stage(self.servers, self.worker) as stage:
                self.content.fill(stage, self.number, self.progress)
        with on_stage(self.servers, self.worker, keep_store=True) as stage:
            stage.publish(self.content.events(self.worker.backlog, self.number, stage.namespace))
            with warm(stage) as run:
                run.pause()
                try:
                    yield run
                finally:
                    run.go_on()


@contextmanager
def sized_stores(
    servers: Servers,
    worker: Contestant,
    content: Content,
    numbers: Sequence[int],
    progress: Progress,
) -> Iterator[list[SizedStore]]:
    """Start a store for each number of items."""
    with ExitStack() as stack:
        stores = []
        for number in numbers:
            folder = servers.folder / f"{content.name}-{number}"
            folder.mkdir()
            store = stack.enter_context(closing(redis_store(folder, STORE_OPTIONS)))
            store.start()
            own = replace(servers, store=store)
            stores.append(SizedStore(own, worker, content, number, progress))
        yield stores


def one_round(stores: Sequence[SizedStore], seconds: float) -> list[StoreCost]:
    """Handle events beside each store for so long, in slices of time that take turns."""
    with ExitStack() as stack:
        runs = [stack.enter_context(store.paused()) for store in stores]
        # What filling has left to write to the disk would be written in somebody's slice.
        os.sync()
        spans: list[list[tuple[Moment, Moment]]] = [[] for _ in runs]
        for number in range(max(round(seconds / SLICE_S), 1)):
            for run, found in rotated(list(zip(runs, spans, strict=True)), number):
                found.append(_slice(run))
            if any(run.stage.assigned() == run.stage.published for run in runs):
                # In another slice this one would have nothing to do.
                break
    return [_cost(store.number, rate_over(them)) for store, them in zip(stores, spans, strict=True)]


def _slice(run: Running) -> tuple[Moment, Moment]:
    first = run.moment()
    run.go_on()
    began = time.monotonic()
    time.sleep(SLICE_S)
    run.pause()
    seconds = time.monotonic() - began
    # Until what the worker has sent is stored and counted.
    time.sleep(SETTLED_S)
    return first, replace(run.moment(), at_s=first.at_s + seconds)


def ratios(costs: Mapping[int, Sequence[StoreCost]]) -> dict[int, float]:
    """Return each store's cost ÷ the smallest one's: the median of all rounds' ratios."""
    smallest = costs[min(costs)]
    return {
        number: median(
            one.together_us / other.together_us for one, other in zip(turns, smallest, strict=True)
        )
        for number, turns in costs.items()
    }


def in_valkey(servers: Servers, worker: Contestant, items: int, progress: Progress) -> InValkey:
    """Fill a Valkey in the same way."""
    with on_valkey(servers) as others, on_stage(others, worker) as stage:
        version = str(others.client().info("server")["valkey_version"])
        empty = used(others)
        Items().fill(stage, items, progress)
        return InValkey(version, items, (used(others) - empty) / items)


def _cost(items: int, turn: Throughput) -> StoreCost:
    store_us = 1e6 * turn.busy["redis"] / turn.events_per_s
    return StoreCost(items, turn.events_per_s, turn.cpu_us, store_us)


def _log_size(servers: Servers) -> int:
    return int(servers.client().info("persistence")["aof_current_size"])
