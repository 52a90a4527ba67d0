"""What a janitor costs: a full count, a worker beside it, and an inventory compared.

    python -m bench.janitor                   a million items in one project
    python -m bench.janitor --items 20000     to see that it runs

Private servers. All items are one project's: a third each created, reused and cloned, so there are
two thirds as many key-ids. Some are released and due, and the janitor counts all records before it
destroys them; a worker beside it works for other projects in the same store, in turns with a
janitor and without.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from threading import Event, Thread

from bench.beside import beside
from bench.commands import environment, figures, timed
from bench.contestants import PYTHON, WORKER
from bench.events import collections, deletions, project_id
from bench.filling import FILL_BLOCK, fill
from bench.servers import Servers, private_servers
from bench.stage import Stage, on_stage
from bench.tables import table

ITEMS = 1_000_000
DUE = 1_000
ROUNDS = 6
TURN_S = 8.0
COUNT_S = 60.0
SLOWED = 0.1
"""What is aimed at: a count within a minute, and a worker that is slowed by less than this."""
FILLED = "there"
HELD = 10
LOOK_S = 0.2
START_S = 60.0
Progress = Callable[[int], None]


def main() -> None:
    """Fill a store, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.janitor", description=__doc__)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=TURN_S, help="of each turn")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with private_servers() as servers:
        for line in measure(servers, given.items, given.rounds, given.seconds, _progress):
            print(line, flush=True)
    cores = os.cpu_count() or 1
    print(f"load average before: {load:.1f}, of {cores} cores" + (
        ": others were at work, so these figures are preliminary" if load > cores / 2 else ""
    ))  # fmt: skip


def measure(
    servers: Servers, items: int, rounds: int, seconds: float, progress: Progress
) -> Iterator[str]:
    """Give the report, line by line, as it is measured."""
    due = min(DUE, items // 10)
    began = time.monotonic()
    with on_stage(servers, WORKER) as stage:
        fill(stage, collections(items, 1, FILLED, FILL_BLOCK), progress)
        fill(stage, deletions(due, FILLED), progress)
    yield f"filled with {items:,} items in {time.monotonic() - began:.0f} s"
    yield from _counted(servers, items, due)
    yield from beside(
        servers, rounds, seconds, _counting, name="a janitor that counts", most=SLOWED
    )
    yield from _reconciled(servers, items, due)


def _counted(servers: Servers, items: int, due: int) -> Iterator[str]:
    cost = timed(servers, "janitor", "janitor", "--once", "--json")
    done = json.loads(cost.said)
    if done["destroyed"] != due:
        raise RuntimeError(f"{due} key-ids were due: {cost.said}")
    yield from table(
        [f"{items:,} items counted, {due:,} key-ids destroyed", "seconds", "CPU s", "Redis' CPU s"],
        [["kmworker janitor --once", *figures(cost)]],
    )
    verdict = "reached" if cost.seconds < COUNT_S else "missed"
    yield f"aim: within {COUNT_S:.0f} s: {verdict}"


def _reconciled(servers: Servers, items: int, due: int) -> Iterator[str]:
    path = servers.folder / "inventory.txt"
    client = servers.client()
    project = project_id(0)
    with path.open("w", encoding="utf-8") as file:
        for ref, _record in client.hscan_iter(f"km:{{{project}}}:items", count=500):
            file.write(f"{project} {ref}\n")
    cost = timed(
        servers, "key-operator", "reconcile", "--inventory", str(path), "--project", project,
        "--json", exit_code=1,
    )  # fmt: skip
    *_found, summary = map(json.loads, cost.said.splitlines())
    # What is deleted is in this inventory: it was made of records.
    if (summary["there_and_released"], summary["held_and_gone"]) != (due, 0):
        raise RuntimeError(f"not what was to be found: {summary}")
    yield from table(
        [f"an inventory of {items:,} lines", "seconds", "CPU s", "Redis' CPU s"],
        [["kmworker reconcile", *figures(cost)]],
    )


# --- a worker beside it -------------------------------------------------------------------


@contextmanager
def _counting(servers: Servers, stage: Stage) -> Iterator[None]:
    """Keep a janitor busy counting: whenever it is through, a few key-ids are due again.

    They are held, so that it destroys nothing and finds a counter that is right.
    """
    client, place = servers.client(), f"km:{{{project_id(0)}}}"
    fields = client.hscan_iter(f"{place}:holders", count=500)
    held = dict.fromkeys(islice((it for it, number in fields if int(number) > 0), HELD), 1.0)
    over, lease = Event(), f"km:lease:janitor:{project_id(0)}"
    # Whoever went over the project last would let nobody do so for an hour.
    client.delete(lease)

    def keep_due() -> None:
        while not over.is_set():
            # A write is a sync of the disk, which the worker would wait for.
            if not client.zcount(f"{place}:keys:due", 0, time.time()):
                client.zadd(f"{place}:keys:due", held)
            over.wait(LOOK_S)

    thread = Thread(target=keep_due, daemon=True)
    thread.start()
    log = servers.folder / "janitor.log"
    with log.open("wb") as out:
        janitor = subprocess.Popen(
            [*PYTHON, "kmworker", "janitor"],
            env=environment(servers, "janitor") | {"KMWORKER_JANITOR__EVERY_S": "1"},
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_S
        while f"-{janitor.pid}-" not in str(client.get(lease)):
            if janitor.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the janitor does not count:\n{log.read_text()[-4000:]}")
            time.sleep(LOOK_S)
            stage.tick()
        yield
        if janitor.poll() is not None:
            raise RuntimeError(f"the janitor has ended:\n{log.read_text()[-4000:]}")
    finally:
        over.set()
        thread.join()
        janitor.terminate()
        janitor.wait()
        client.zrem(f"{place}:keys:due", *held)


def _progress(done: int) -> None:
    if sys.stderr.isatty():
        print(f"\r  {done:,}", end="\r", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
