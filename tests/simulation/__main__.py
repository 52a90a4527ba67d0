"""``make simulate``: every run there is, with its progress, and how many there were.

Singles, other faults, pairs and races of each history, in as many processes as there are
processors. Ends with exit code 1 if a promise was broken, and names the runs that broke it.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import partial
from itertools import islice
from typing import Final

from tests.simulation.explore import Case, others, pairs, quietly, races, sample, singles
from tests.simulation.histories import HISTORIES

KINDS: Final[dict[str, Callable[[str], Iterator[Case]]]] = {
    "singles": partial(singles, everything=True),
    "others": others,
    "pairs": pairs,
    "races": races,
}
PARTS: Final = 8
TELL_EVERY_S: Final = 5.0
SHOWN: Final = 20

Result = tuple[str, int, list[str]]


def main() -> int:
    """Play all runs that were asked for; return the exit code."""
    options = _options()
    began = time.monotonic()
    made = dict.fromkeys([*options.kind, "samples"], 0)
    broken = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        for future in _progress(_submit(pool, options)):
            kind, number, found = future.result()
            made[kind] += number
            for line in found[: max(SHOWN - broken, 0)]:
                print(line, file=sys.stderr, flush=True)
            broken += len(found)
    runs = ", ".join(f"{number:,} {kind}" for kind, number in made.items() if number)
    minutes = (time.monotonic() - began) / 60
    print(f"simulated runs: {sum(made.values()):,} ({runs})")
    print(f"seed {options.seed}, {minutes:.1f} minutes, {broken:,} broke a promise")
    return 1 if broken else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make simulate", description="Play every run there is.")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this kind")
    parser.add_argument("--history", action="append", choices=list(HISTORIES), help="only this")
    parser.add_argument("--seed", type=int, default=1, help="what samples are drawn from")
    parser.add_argument("--samples", type=int, default=100, help="of each kind and history")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    options = parser.parse_args()
    options.kind = options.kind or list(KINDS)
    options.history = options.history or list(HISTORIES)
    return options


def _submit(pool: ProcessPoolExecutor, options: argparse.Namespace) -> list[Future[Result]]:
    submitted = [
        pool.submit(_play, kind, history, part)
        for kind in options.kind
        for history in options.history
        for part in range(PARTS)
    ]
    submitted += [
        pool.submit(_sample, history, options.seed, options.samples) for history in options.history
    ]
    return submitted


def _progress(futures: list[Future[Result]]) -> Iterator[Future[Result]]:
    runs, told_at = 0, time.monotonic()
    for done, future in enumerate(as_completed(futures), start=1):
        runs += future.result()[1]
        if time.monotonic() > told_at + TELL_EVERY_S:
            told_at = time.monotonic()
            print(f"{done} of {len(futures)} parts, {runs:,} runs", flush=True)
        yield future


def _play(kind: str, history: str, part: int) -> Result:
    """Play every so manieth run of a kind."""
    with quietly():
        return _count(kind, islice(KINDS[kind](history), part, None, PARTS))


def _sample(history: str, seed: int, number: int) -> Result:
    with quietly():
        return _count("samples", sample(history, seed, number))


def _count(kind: str, cases: Iterator[Case]) -> Result:
    number = 0
    broken = []
    for case in cases:
        number += 1
        try:
            case.run()
        except AssertionError as error:
            broken.append(f"{case}: {error}")
    return kind, number, broken


if __name__ == "__main__":
    sys.exit(main())
