"""Does an event cost more in a larger store? And how much memory does an item take?

From one second to the next a machine differs by more than what is looked for. So the stores stand
side by side, each with a worker; these run in turn, for a moment each, and are compared with the
first one within each round.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import mkdtemp

from bench.contestants import Contestant
from bench.events import LoadEvent, around, collections, derived, item_id, project_id
from bench.filling import FILL_BLOCK, fill
from bench.memory import Memory, memory_of, used
from bench.servers import STORE_OPTIONS, Servers
from bench.stage import Moment, Running, Stage, on_stage, rotated
from bench.throughput import PROJECTS, rate_over, warm
from tests.kit.servers import StoreServer, redis_store

FILLED = "there"
VOLUME = "large"
# A turn leaves its items in the store: up to this size it is filled again before the next.
MAX_REFILLED = 100_000
SLICE_S = 0.25
SETTLED_S = 0.05
Progress = Callable[[int], None]


@dataclass(frozen=True)
class StoreCost:
    """What an event costs."""

    events_per_s: float
    worker_us: float
    """CPU time, user and system, for one event; as is the next."""
    store_us: float

    @property
    def together_us(self) -> float:
        """What must be flat."""
        return self.worker_us + self.store_us


@dataclass(frozen=True)
class Content:
    """What a store is filled with, and the events that are handled beside that."""

    title: Callable[[int], str]
    """Says what is handled, and beside how many items."""
    fill: Callable[[Stage, int, Progress], None]
    """Fills an empty store with so many items."""
    events: Callable[[int, int, str], Iterable[LoadEvent]]
    """Gives so many, beside so many items; the last is part of their ids."""


def mixed_items(drawn: int | None = None) -> Content:
    """A third each created, reused and cloned; two thirds of the events derive from them.

    Args:
        drawn: from the first so many only, None: from all.
    """

    def title(number: int) -> str:
        return f"items: {number:,}" + (f", sources among {drawn:,}" if drawn else "")

    def fill_with(stage: Stage, number: int, progress: Progress) -> None:
        fill(stage, collections(number, PROJECTS, FILLED, FILL_BLOCK), progress)

    def events(backlog: int, number: int, run: str) -> Iterable[LoadEvent]:
        return around(backlog, drawn or number, PROJECTS, FILLED, run)

    return Content(title, fill_with, events)


def snapshots() -> Content:
    """All of one volume, as are those that the events are of."""
    volume = project_id(0), item_id(VOLUME, "volume", 0)

    def fill_with(stage: Stage, number: int, progress: Progress) -> None:
        fill(stage, collections(1, 1, VOLUME), progress)
        fill(stage, derived(number, *volume, FILLED), progress)

    return Content(
        title=lambda number: f"a volume's snapshots: {number:,}",
        fill=fill_with,
        events=lambda backlog, _number, run: derived(backlog, *volume, run),
    )


def tenants() -> Content:
    """One volume in each of so many projects; all events create blank ones, project by project."""

    def fill_with(stage: Stage, number: int, progress: Progress) -> None:
        fill(stage, collections(number, number, FILLED, number), progress)

    return Content(
        title=lambda number: f"projects: {number:,}",
        fill=fill_with,
        events=lambda backlog, number, run: collections(backlog, number, run, backlog),
    )


@dataclass(frozen=True)
class SizedStore:
    """A store of so many items, on a server of its own."""

    servers: Servers
    worker: Contestant
    contents: Sequence[Content]
    """What it is filled with; and, if more, what else is handled beside that."""
    number: int
    progress: Progress

    def fill(self) -> Memory:
        """Fill it, and look at what that takes."""
        with on_stage(self.servers, self.worker) as stage:
            empty, log_before = used(self.servers), _log_size(self.servers)
            self._fill(stage)
            in_all = (used(self.servers) - empty) / self.number
            log_bytes = (_log_size(self.servers) - log_before) / self.number
            return memory_of(self.servers, self.number, in_all, log_bytes)

    def refill(self) -> None:
        """Fill it again, if what turns have left in it would count."""
        if self.number <= MAX_REFILLED:
            with on_stage(self.servers, self.worker) as stage:
                self._fill(stage)

    @contextmanager
    def paused(self, content: Content) -> Iterator[Running]:
        """Start a worker on events beside it, which stands still."""
        with on_stage(self.servers, self.worker, keep_store=True) as stage:
            stage.publish(content.events(self.worker.backlog, self.number, stage.namespace))
            with warm(stage) as run:
                run.pause()
                try:
                    yield run
                finally:
                    run.go_on()

    def _fill(self, stage: Stage) -> None:
        self.contents[0].fill(stage, self.number, self.progress)


@contextmanager
def sized_stores(
    servers: Servers,
    worker: Contestant,
    contents: Mapping[int, Sequence[Content]],
    progress: Progress,
    prepare: Callable[[Path, Mapping[str, str]], StoreServer] = redis_store,
) -> Iterator[list[SizedStore]]:
    """Start a store for each number of items, to be filled with the first of its contents."""
    with ExitStack() as stack:
        stores = []
        for number, its in contents.items():
            folder = Path(mkdtemp(dir=servers.folder))
            store = stack.enter_context(closing(prepare(folder, STORE_OPTIONS)))
            store.start()
            own = replace(servers, store=store)
            stores.append(SizedStore(own, worker, its, number, progress))
        yield stores


def one_round(stores: Sequence[SizedStore], seconds: float) -> dict[str, StoreCost]:
    """Handle events beside each store for so long, in slices of time that take turns.

    Returns:
        What they cost, by the title of the content.
    """
    for store in stores:
        store.refill()
    with ExitStack() as stack:
        turns = [
            _Turn(store, content, stack.enter_context(store.paused(content)))
            for store in stores
            for content in store.contents
        ]
        # What filling has left to write to the disk would be written in somebody's slice.
        os.sync()
        for number in range(max(round(seconds / SLICE_S), 1)):
            for turn in rotated(turns, number):
                turn.slice()
            if any(turn.has_handled_all for turn in turns):
                # In another slice this one would have nothing to do.
                break
    return {turn.title: turn.cost() for turn in turns}


class _Turn:
    """What one content has of a round."""

    def __init__(self, store: SizedStore, content: Content, run: Running) -> None:
        self.title = content.title(store.number)
        self._store = store
        self._run = run
        self._spans: list[tuple[Moment, Moment]] = []

    def slice(self) -> None:
        """Let its worker run for a moment."""
        first = self._run.moment()
        self._run.go_on()
        began = time.monotonic()
        time.sleep(SLICE_S)
        self._run.pause()
        seconds = time.monotonic() - began
        # Until what the worker has sent is stored and counted.
        time.sleep(SETTLED_S)
        self._spans.append((first, replace(self._run.moment(), at_s=first.at_s + seconds)))

    @property
    def has_handled_all(self) -> bool:
        """Whether its worker has nothing left to do."""
        stage = self._run.stage
        return stage.assigned() == stage.published

    def cost(self) -> StoreCost:
        """Return what an event has cost."""
        turn = rate_over(self._spans)
        store_us = 1e6 * turn.busy["redis"] / turn.events_per_s
        return StoreCost(turn.events_per_s, turn.cpu_us, store_us)


def ratios(costs: Mapping[str, Sequence[StoreCost]]) -> dict[str, float]:
    """Return each one's cost ÷ that of the first, the smallest: a median of the rounds' ratios."""
    smallest = next(iter(costs.values()))
    return {
        title: median(
            one.together_us / other.together_us for one, other in zip(turns, smallest, strict=True)
        )
        for title, turns in costs.items()
    }


def _log_size(servers: Servers) -> int:
    return int(servers.client().info("persistence")["aof_current_size"])
