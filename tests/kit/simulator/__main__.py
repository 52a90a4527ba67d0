"""``make simulate``: every run there is, with its progress, and how many there were.

Singles, other faults, pairs and races of each history, in as many processes as there are
processors. Ends with exit code 1 if a promise was broken, and names for each run that broke it
the command that plays it again, and nothing else, with all that its workers log. What was ended
goes on where it was, as long as the code is the same.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Final

from tests.kit.simulator.explore import Case, every_single, others, pairs, quietly, races, sample
from tests.kit.simulator.histories import HISTORIES
from tests.kit.simulator.journal import Journal, Part, Played

KINDS: Final[dict[str, Callable[[str, int, int], Iterator[Case]]]] = {
    "singles": every_single,
    "others": others,
    "pairs": pairs,
    "races": races,
}
PARTS: Final = 8
TELL_EVERY: Final = 4
SHOWN: Final = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Play all runs that were asked for; return the exit code."""
    options = _options(arguments)
    if options.case is not None:
        return _again(options.case)
    began = time.monotonic()
    journal = Journal()
    if options.anew:
        journal.forget()
    asked = list(_asked(options))
    missing = [part for part in asked if part not in journal.played]
    if len(missing) < len(asked):
        print(f"going on: {len(asked) - len(missing)} of {len(asked)} parts were played before")
    for part, played in _play_all(missing, options.jobs):
        journal.note(part, played)
        _tell(played[1])
        _say_how_far([journal.played[it] for it in asked if it in journal.played], len(asked))
    return _conclude([(part, journal.played[part]) for part in asked], began)


def _conclude(played: Sequence[tuple[Part, Played]], began: float) -> int:
    made: Counter[str] = Counter()
    broken = 0
    for (kind, _history, _number), (number, found) in played:
        made[kind.partition(" ")[0]] += number
        broken += len(found)
    runs = ", ".join(f"{number:,} {kind}" for kind, number in made.items() if number)
    minutes = (time.monotonic() - began) / 60
    print(f"simulated runs: {made.total():,} ({runs})")
    print(f"{minutes:.1f} minutes, {broken:,} broke a promise")
    return 1 if broken else 0


def _again(case: Case) -> int:
    try:
        case.run()
    except AssertionError as error:
        print(error, file=sys.stderr)
        return 1
    print("it broke no promise")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make simulate", description="Play every run there is.")
    parser.add_argument("--case", type=Case.read, help="only this run, as a failure named it")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this kind")
    parser.add_argument("--history", action="append", choices=list(HISTORIES), help="only this")
    parser.add_argument("--seed", type=int, default=1, help="what samples are drawn from")
    parser.add_argument("--samples", type=int, default=100, help="of each kind and history")
    parser.add_argument("--anew", action="store_true", help="also what was played before")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    options = parser.parse_args(arguments)
    options.kind = options.kind or list(KINDS)
    options.history = options.history or list(HISTORIES)
    return options


def _asked(options: argparse.Namespace) -> Iterator[Part]:
    for kind in options.kind:
        for history in options.history:
            yield from ((kind, history, number) for number in range(PARTS))
    samples = f"samples {options.samples}"
    yield from ((samples, history, options.seed) for history in options.history)


def _play_all(parts: Sequence[Part], jobs: int) -> Iterator[tuple[Part, Played]]:
    """Play parts in so many processes; give each as soon as it is done."""
    with ProcessPoolExecutor(jobs) as pool:
        playing = {pool.submit(_play, part): part for part in parts}
        try:
            for future in as_completed(playing):
                yield playing[future], future.result()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _play(part: Part) -> Played:
    """Play a part: every so manieth run of a kind, or what is drawn from a seed."""
    kind, history, number = part
    if kind in KINDS:
        cases = KINDS[kind](history, number, PARTS)
    else:
        cases = sample(history, number, int(kind.removeprefix("samples ")))
    with quietly():
        return _count(cases)


def _count(cases: Iterator[Case]) -> Played:
    number = 0
    broken = []
    for case in cases:
        number += 1
        try:
            case.run()
        except AssertionError as error:
            broken.append(f"{case.command}\n{error}")
    return number, broken


def _tell(broken: Sequence[str]) -> None:
    for line in broken[:SHOWN]:
        print(line, file=sys.stderr, flush=True)


def _say_how_far(played: Sequence[Played], parts: int) -> None:
    if len(played) % TELL_EVERY == 0:
        runs = sum(number for number, _broken in played)
        print(f"{len(played)} of {parts} parts, {runs:,} runs", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("ended; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
