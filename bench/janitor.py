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
from dataclasses import dataclass
from itertools import islice
from statistics import median
from threading import Event, Thread

from bench.contestants import PYTHON, WORKER
from bench.events import collections, deletions, project_id
from bench.filling import FILL_BLOCK, fill
from bench.servers import Servers, private_servers
from bench.stage import Moment, Running, Stage, on_stage
from bench.tables import table
from bench.throughput import PROJECTS, rate_over, warm

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


@dataclass(frozen=True)
class Cost:
    """What one command took."""

    seconds: float
    cpu_s: float
    """Of its own."""
    store_cpu_s: float
    said: str


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
    yield from _beside(servers, rounds, seconds)
    yield from _reconciled(servers, items, due)


def _counted(servers: Servers, items: int, due: int) -> Iterator[str]:
    cost = _timed(servers, "janitor", "janitor", "--once", "--json")
    done = json.loads(cost.said)
    if done["destroyed"] != due:
        raise RuntimeError(f"{due} key-ids were due: {cost.said}")
    yield from table(
        [f"{items:,} items counted, {due:,} key-ids destroyed", "seconds", "CPU s", "Redis' CPU s"],
        [["kmworker janitor --once", *_figures(cost)]],
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
    cost = _timed(
        servers, "key-operator", "reconcile", "--inventory", str(path), "--project", project,
        "--json", exit_code=1,
    )  # fmt: skip
    *_found, summary = map(json.loads, cost.said.splitlines())
    # What is deleted is in this inventory: it was made of records.
    if (summary["there_and_released"], summary["held_and_gone"]) != (due, 0):
        raise RuntimeError(f"not what was to be found: {summary}")
    yield from table(
        [f"an inventory of {items:,} lines", "seconds", "CPU s", "Redis' CPU s"],
        [["kmworker reconcile", *_figures(cost)]],
    )


def _figures(cost: Cost) -> list[str]:
    return [f"{it:.1f}" for it in (cost.seconds, cost.cpu_s, cost.store_cpu_s)]


def _timed(servers: Servers, account: str, *command: str, exit_code: int = 0) -> Cost:
    """Run a command with an account of the store's; say what it took."""
    before, store_before = os.times(), _store_cpu_s(servers)
    began = time.monotonic()
    ended = subprocess.run(
        [*PYTHON, "kmworker", *command],
        env=_environment(servers, account), capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.monotonic() - began
    after = os.times()
    if ended.returncode != exit_code:
        raise RuntimeError(f"{command} ended with {ended.returncode}:\n{ended.stderr}")
    user_s = after.children_user - before.children_user
    system_s = after.children_system - before.children_system
    return Cost(seconds, user_s + system_s, _store_cpu_s(servers) - store_before, ended.stdout)


def _store_cpu_s(servers: Servers) -> float:
    found = servers.client().info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


def _environment(servers: Servers, account: str) -> dict[str, str]:
    return os.environ | servers.environment("bench", store=account)


# --- a worker beside it -------------------------------------------------------------------


def _beside(servers: Servers, rounds: int, seconds: float) -> Iterator[str]:
    """Let a worker work in turns, with a janitor that counts all the while and without."""
    spans: dict[bool, list[tuple[Moment, Moment]]] = {False: [], True: []}
    with on_stage(servers, WORKER, keep_store=True) as stage:
        backlog = int(2 * rounds * (seconds + 1) * WORKER.backlog / 10)
        events = collections(backlog, PROJECTS, stage.namespace)
        stage.publish(((kind, _elsewhere(document)) for kind, document in events))
        with warm(stage) as run:
            for number in range(2 * rounds):
                # First one, then the other, so that neither always comes behind the other.
                has_janitor = number % 4 in {1, 2}
                with _counting(servers, stage) if has_janitor else _alone():
                    spans[has_janitor].append(_span(run, stage, seconds))
    rates = {it: [rate_over([span]) for span in spans[it]] for it in spans}
    rows = [
        [name, f"{median(it.events_per_s for it in rates[has]):,.0f}",
         f"{median(it.cpu_us for it in rates[has]):,.0f}",
         f"{median(it.busy['redis'] for it in rates[has]):.2f}",
         f"{median(it.busy['others'] for it in rates[has]):.2f}"]
        for name, has in (("alone", False), ("beside a janitor that counts", True))
    ]  # fmt: skip
    heads = ["a worker", "events/s", "CPU µs per event", "Redis' cores", "others'"]
    yield from table(heads, rows)
    alone, slowed = (median(it.events_per_s for it in rates[has]) for has in (False, True))
    share = 1 - slowed / alone
    verdict = "reached" if share < SLOWED else "missed"
    yield f"slowed by {share:.0%}; aim: less than {SLOWED:.0%}: {verdict}"


def _elsewhere(document: dict[str, object]) -> dict[str, object]:
    """Move an event to a project that is not counted."""
    data = document["data"]
    assert isinstance(data, dict)
    return {**document, "data": {**data, "project_id": f"beside-{data['project_id']}"}}


def _span(run: Running, stage: Stage, seconds: float) -> tuple[Moment, Moment]:
    first = run.moment()
    time.sleep(seconds)
    last = run.moment()
    stage.tick()
    if stage.assigned() >= stage.published:
        raise RuntimeError("all had been handled: the backlog is too small")
    return first, last


@contextmanager
def _alone() -> Iterator[None]:
    yield


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
            env=_environment(servers, "janitor") | {"KMWORKER_JANITOR__EVERY_S": "1"},
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
