"""How many events a second, and what each costs, with more events waiting than can be handled."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from bench.contestants import Contestant
from bench.events import LoadEvent, collections
from bench.servers import Servers
from bench.stage import Moment, Stage, on_stage, running

__all__ = ["Throughput", "measure", "measure_on", "rate_between"]

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


def measure(
    servers: Servers, contestant: Contestant, seconds: float, number: int = 1
) -> Throughput:
    """Give a contestant its turn, in an empty store.

    Args:
        servers: to run on.
        contestant: what to run.
        seconds: between the two looks.
        number: of processes, for contestants that scale by process.
    """
    with on_stage(servers, contestant) as stage:
        events = collections(number * contestant.backlog, PROJECTS, stage.namespace)
        return measure_on(stage, events, seconds, number)


def measure_on(
    stage: Stage, events: Iterable[LoadEvent], seconds: float, number: int = 1
) -> Throughput:
    """Publish a backlog, start the contestant, and look at it twice."""
    backlog = stage.publish(events)
    with running(stage, number) as run:
        if not run.await_assigned(1):
            raise RuntimeError(f"{stage.contestant.name} handles nothing; see {run.log_path}")
        time.sleep(WARM_S)
        first = run.moment()
        deadline = first.at_s + seconds
        while time.monotonic() < deadline and stage.assigned() < backlog:
            time.sleep(POLL_S)
        last = run.moment()
    if last.done == first.done:
        raise RuntimeError(f"{stage.contestant.name} had handled all before the first look")
    return rate_between(first, last)


def rate_between(first: Moment, last: Moment) -> Throughput:
    """Return what happened between two moments."""
    seconds, events = last.at_s - first.at_s, last.done - first.done
    cpu = {name: last.cpu[name] - first.cpu[name] for name in last.cpu}
    busy = {name: spent / seconds for name, spent in cpu.items()}
    busy["machine"] = (last.machine.busy_s - first.machine.busy_s) / seconds
    busy["others"] = max(busy["machine"] - sum(cpu.values()) / seconds, 0.0)
    busy["waiting for disks"] = (last.machine.waiting_s - first.machine.waiting_s) / seconds
    return Throughput(events / seconds, 1e6 * cpu["contestant"] / events, busy)
