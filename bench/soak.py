"""Is a worker's memory flat over a million events? Prints what it takes as it goes.

    python -m bench.soak --events 1000000

Private servers, one worker process; a third each of the events create, reuse and clone a key.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from bench.contestants import WORKER
from bench.events import LoadEvent, collections
from bench.processes import cpu_s, pids_below, resident_mb
from bench.servers import Servers, private_servers
from bench.stage import Stage, on_stage, running

PAGE_SIZE = 500
# As much as is published ahead of the worker: enough that it never waits.
MAX_BACKLOG = 10_000
SAMPLES = 10
PROJECTS = 100
POLL_S = 0.02


@dataclass(frozen=True)
class Sample:
    """What a worker has done, and what it takes."""

    events: int
    seconds: float
    resident_mb: float
    cpu_us: float
    """Of all events so far."""


def measure(servers: Servers, wanted: int) -> Iterator[Sample]:
    """Publish as fast as the worker takes it, and look at the worker ten times."""
    with on_stage(servers, WORKER) as stage, running(stage) as run:
        stage.hear_little()
        client = servers.client()
        while not client.zcard("km:workers"):
            time.sleep(POLL_S)
        events = collections(wanted, PROJECTS, stage.namespace)
        began, next_sample = time.monotonic(), wanted // SAMPLES
        done = 0
        while done < wanted:
            run.check()
            _publish_some(stage, events, stage.published - done)
            done = _handled(client)
            if done >= min(next_sample, wanted):
                next_sample += wanted // SAMPLES
                cpu_us = 1e6 * cpu_s(pids_below(run.pid)) / done
                yield Sample(done, time.monotonic() - began, resident_mb(run.pid), cpu_us)


def _publish_some(stage: Stage, events: Iterator[LoadEvent], ahead: int) -> None:
    page = list(islice(events, PAGE_SIZE)) if ahead < MAX_BACKLOG else []
    if page:
        stage.publish(page)
    else:
        time.sleep(POLL_S)


def _handled(client: Any) -> int:  # noqa: ANN401  # its types leave open whether replies are bytes
    """Return how many events have been handled, as of the worker's last report."""
    (worker_id, *_) = client.zrange("km:workers", 0, -1)
    counts = client.hmget(f"km:worker:{worker_id}", "create", "clone", "reuse", "repeat")
    return sum(int(count or 0) for count in counts)


def main() -> None:
    """Run it and print a line for each tenth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    wanted = parser.parse_args().events
    print(f"{'events':>10} {'seconds':>8} {'events/s':>9} {'resident MB':>12} {'CPU us':>8}")
    with private_servers() as servers:
        for it in measure(servers, wanted):
            rate = it.events / it.seconds
            print(f"{it.events:>10,} {it.seconds:>8.0f} {rate:>9,.0f}", end=" ")
            print(f"{it.resident_mb:>12.1f} {it.cpu_us:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
