"""How many events a second, and what each costs, with more events waiting than can be handled."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

from bench.contestants import Contestant
from bench.events import LoadEvent, collections
from bench.servers import Servers
from bench.stage import Moment, Running, Stage, on_stage, running

Load = Callable[[int, int, str], Iterable[LoadEvent]]

PROJECTS = 10
"""Tenants whose events these are."""
WARM_S = 1.0
POLL_S = 0.02


@dataclass(frozen=True)
class Throughput:
    """One turn of one contestant."""

    events_per_s: float
    cpu_us: float
    """User and system time of all of its processes, for one event."""
    busy: dict[str, float] = field(default_factory=dict)
    """Cores kept busy by the contestant, each server, this program, the whole machine, and what of
    the machine's time is nobody's of these: the kernel's own, or somebody else's programs."""

    @property
    def cpu_with_store_us(self) -> float:
        """User and system time of all of its processes and of Redis, for one event."""
        return self.cpu_us + 1e6 * self.busy["redis"] / self.events_per_s


def busy(turns: Sequence[Throughput], part: str) -> float:
    """Return how many cores a part of `Throughput.busy` kept busy, the median over the turns."""
    return median(turn.busy[part] for turn in turns)


def measure(
    servers: Servers,
    contestant: Contestant,
    seconds: float,
    number: int = 1,
    load: Load = collections,
) -> Throughput:
    """Give a contestant its turn, in an empty store.

    Args:
        servers: to run on.
        contestant: what to run.
        seconds: between the two looks.
        number: of processes, for contestants that scale by process.
        load: gives so many events, over so many projects; the last is part of their ids.
    """
    with on_stage(servers, contestant) as stage:
        events = load(number * contestant.backlog, PROJECTS, stage.namespace)
        stage.publish(events)
        with warm(stage, number) as run:
            first = run.moment()
            deadline = first.at_s + seconds
            while time.monotonic() < deadline and stage.assigned() < stage.published:
                time.sleep(POLL_S)
            last = run.moment()
    return rate_over([(first, last)])


@contextmanager
def warm(stage: Stage, number: int = 1) -> Iterator[Running]:
    """Run a contestant that has a backlog, from a second after its first assignment."""
    with running(stage, number) as run:
        if not run.await_assigned(1):
            raise RuntimeError(f"{stage.contestant.name} handles nothing; see {run.log_path()}")
        time.sleep(WARM_S)
        yield run


def rate_over(spans: Sequence[tuple[Moment, Moment]]) -> Throughput:
    """Return what happened in spans of time, each from one moment to another.

    Raises:
        RuntimeError: nothing was handled in any of them.
    """

    def total(of: Callable[[Moment], float]) -> float:
        return sum(of(last) - of(first) for first, last in spans)

    seconds, events = total(lambda it: it.at_s), total(lambda it: it.done)
    if not events:
        raise RuntimeError("all had been handled before the first look: the backlog is too small")
    names = spans[0][0].cpu
    cpu = {name: sum(last.cpu[name] - first.cpu[name] for first, last in spans) for name in names}
    busy = {name: spent / seconds for name, spent in cpu.items()}
    busy["machine"] = total(lambda it: it.machine.busy_s) / seconds
    busy["others"] = max(busy["machine"] - sum(cpu.values()) / seconds, 0.0)
    busy["waiting for disks"] = total(lambda it: it.machine.waiting_s) / seconds
    return Throughput(events / seconds, 1e6 * cpu["contestant"] / events, busy)
