"""What a change costs: the worker of another checkout and this one's, in turn, on one machine.

    python -m bench.before FOLDER [--rounds 5]

``FOLDER`` is a checkout of another commit, for example one that ``git worktree add`` has made.
Both have the same servers, with this checkout's accounts, and the same events. Each
round gives both a turn, in another order; machines differ from minute to minute, so what counts is
the ratio within a round.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from bench import latency, throughput
from bench.contestants import WORKER, Contestant
from bench.servers import Servers, private_servers
from bench.stage import rotated

ROUNDS = 5
SECONDS = 5.0
OFFER = (100.0, 10.0)
"""Events a second, and for how many seconds."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one worker did in one round."""

    events_per_s: float
    worker_us: float
    both_us: float
    """CPU time for an event, of worker and store."""
    median_ms: float
    p99_ms: float


TITLES = {
    "events_per_s": "events a second",
    "worker_us": "worker's CPU for an event, µs",
    "both_us": "with the store's",
    "median_ms": f"median at {OFFER[0]:g} a second, ms",
    "p99_ms": f"p99 at {OFFER[0]:g} a second, ms",
}


def contestant_of(checkout: Path, name: str = "") -> Contestant:
    """Return the worker of a checkout; its code comes from there, its libraries from here.

    Args:
        checkout: the folder.
        name: what to call it; the folder's, if empty.
    """
    return replace(
        WORKER,
        name=name or str(checkout),
        # -P: not from the folder that this is started in.
        command=(sys.executable, "-P", "-m", "kmworker", "worker"),
        environment={
            "PYTHONPATH": str(checkout.resolve()),
            "KMWORKER_CONFIG": str(checkout.resolve() / "config" / "kmworker.toml"),
        },
        has_own_layout=True,
    )


def turn(servers: Servers, contestant: Contestant) -> Turn:
    """Give a worker its turn: with a backlog, and at a constant rate."""
    fast = throughput.measure(servers, contestant, SECONDS)
    (slow,) = latency.sweep(servers, contestant, [OFFER])
    return Turn(fast.events_per_s, fast.cpu_us, fast.cpu_with_store_us, slow.median_ms, slow.p99_ms)


def lines(before: list[Turn], now: list[Turn]) -> Iterator[str]:
    """Write the medians of all rounds, and the median of the ratios within each."""
    yield "| | before | now | now / before, median (range) |"
    yield "| --- | ---: | ---: | ---: |"
    for name, title in TITLES.items():
        old, new = ([getattr(it, name) for it in turns] for turns in (before, now))
        ratios = [b / a for a, b in zip(old, new, strict=True)]
        span = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        yield f"| {title} | {median(old):,.1f} | {median(new):,.1f} | {span} |"


def _keyring_of(checkout: Path, path: Path) -> None:
    """Have a checkout make the keyring: what is older does not read what is newer."""
    command = [sys.executable, "-P", "-m", "kmworker", "keyring", "init", "--path", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    subprocess.run(command, env=environment, capture_output=True, check=True)


def main() -> None:
    """Measure both, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.before", description=__doc__)
    parser.add_argument("folder", type=Path, help="a checkout of another commit")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    both = [contestant_of(options.folder), contestant_of(Path(__file__).parent.parent)]
    turns: dict[str, list[Turn]] = {it.name: [] for it in both}
    with private_servers(make_keyring=lambda path: _keyring_of(options.folder, path)) as servers:
        for number in range(options.rounds):
            for contestant in rotated(both, number):
                done = turn(servers, contestant)
                turns[contestant.name].append(done)
                said = f"round {number + 1}: {contestant.name}: {done.events_per_s:,.0f} events/s"
                print(f"{time.strftime('%H:%M:%S')} {said}", file=sys.stderr, flush=True)
    print("\n".join(lines(*turns.values())))


if __name__ == "__main__":
    main()
