"""What it costs to bring a store under another KEK, alone and beside a worker.

    python -m bench.rewrapping                    300,000 items in ten projects
    python -m bench.rewrapping --items 20000      to see that it runs

Private servers, each command as its shipped account. A third of the items each is created, reused
and cloned: a record each, and of a created one a scope's and a key-id's besides, and a wrapped DEK.
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.beside import beside
from bench.commands import environment, figures, timed
from bench.contestants import PYTHON, WORKER
from bench.events import collections
from bench.filling import FILL_BLOCK, fill
from bench.servers import Servers, private_servers
from bench.stage import Stage, on_stage
from bench.tables import table
from bench.throughput import PROJECTS

ITEMS = 300_000
ROUNDS = 6
TURN_S = 8.0
RATE = 10_000
"""Records a second that are aimed at."""
THROTTLE = 2_000
SLOWED = 0.2
"""By which a worker may be slowed beside a throttled one."""
WHY = ("--reason", "a measurement", "--operator", "bench")


def main() -> None:
    """Fill a store, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.rewrapping", description=__doc__)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=TURN_S, help="of each turn")
    given = parser.parse_args()
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    with private_servers() as servers:
        for line in measure(servers, given.items, given.rounds, given.seconds):
            print(line, flush=True)
    others = ": others were at work, so these figures are preliminary" if load > cores / 2 else ""
    print(f"load average before: {load:.1f}, of {cores} cores{others}")


def measure(servers: Servers, items: int, rounds: int, seconds: float) -> Iterator[str]:
    """Give the report, line by line, as it is measured."""
    with on_stage(servers, WORKER) as stage:
        fill(stage, collections(items, PROJECTS, "there", FILL_BLOCK), lambda _done: None)
    _turn_over(servers)
    cost = timed(servers, "rewrapper", "rewrap", "--json")
    done = json.loads(cost.said)
    if done["flawed"] or done["rewrapped"] < items:
        raise RuntimeError(f"not what was to be rewrapped: {cost.said}")
    rate = done["rewrapped"] / cost.seconds
    yield from table(
        [f"{done['rewrapped']:,} records of {items:,} items", "seconds", "CPU s", "Redis' CPU s"],
        [["kmworker rewrap", *figures(cost)]],
    )
    verdict = "reached" if rate >= RATE else "missed"
    yield f"{rate:,.0f} records a second with one process; aim: {RATE:,}: {verdict}"
    name = f"kmworker rewrap --throttle {THROTTLE}"
    yield from beside(servers, rounds, seconds, _rewrapping, name=name, most=SLOWED)


def _turn_over(servers: Servers) -> None:
    """Have another KEK active, with nothing under it."""
    added = timed(servers, "key-operator", "keyring", "add", *WHY, "--json")
    (kek_id,) = json.loads(added.said)["added"]
    timed(servers, "key-operator", "keyring", "activate", kek_id, *WHY)


@contextmanager
def _rewrapping(servers: Servers, stage: Stage) -> Iterator[None]:
    """Rewrap all the while, as slowly as one is told to."""
    del stage
    # The worker has the file, and takes it up before it is asked whether it has.
    added = timed(servers, "key-operator", "keyring", "add", *WHY, "--json")
    (kek_id,) = json.loads(added.said)["added"]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done = subprocess.run(
            [*PYTHON, "kmworker", "keyring", "activate", kek_id, *WHY],
            env=environment(servers, "key-operator"), capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            break
        time.sleep(1)
    rewrap = subprocess.Popen(
        [*PYTHON, "kmworker", "rewrap", "--throttle", str(THROTTLE)],
        env=environment(servers, "rewrapper"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
        if rewrap.poll() is not None:
            raise RuntimeError("it has ended: fill in more items")
    finally:
        rewrap.terminate()
        rewrap.wait()


if __name__ == "__main__":
    main()
