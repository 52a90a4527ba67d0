"""The long run: faults drawn from a seed, one at a time and two at once, leg after leg.

Prints what it does, and at the end the tables of docs/reliability.md. Ends with an error,
and with the seed in it, at the first promise that is broken.
"""

import argparse
import platform
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

from tests.chaos.account import Account
from tests.chaos.fault import Fault
from tests.chaos.faults import FAULTS
from tests.chaos.ground import ROOM, Servers, ground
from tests.chaos.leg import Leg, Round
from tests.chaos.lives_leg import LivesLeg, blank_volumes, settings_in
from tests.kit.outside.history import Shape, compose
from tests.kit.servers import locate

KINDS: Final = ("rabbitmq", "lives", "streams", "valkey")
# Of these legs, the history itself is small.
BLANK: Final = 400
ROUNDS: Final = 8
PAIR_SHARE: Final = 0.3
SHAPE: Final = Shape(
    grown=2500, partitions=60, orphans=40, denied=10, repeats=500,
    seconds=200, bad=35, conflicts=40, later_repeats=40, later_seconds=40,
)  # fmt: skip


def main() -> None:
    """Run legs until the time is over."""
    given = _arguments()
    # However this is ended, servers are to go with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    kinds = _kinds(given.only, given.kinds or KINDS)
    minutes = given.minutes if given.minutes is not None else 0.0 if given.only else 10.0
    _say(f"seed {given.seed}, {minutes:g} minutes")
    account = Account()
    began = time.monotonic()
    legs = 0
    with (
        TemporaryDirectory(prefix="kmworker-chaos-") as folder,
        closing(Servers(Path(folder))) as servers,
    ):
        decks: dict[str, Iterator[Fault]] = {}
        while not legs or time.monotonic() < began + 60 * minutes:
            kind = kinds[legs % len(kinds)]
            legs += 1
            draw = Random(f"{given.seed} {legs}")
            _say(f"leg {legs}, {kind}")
            deck = decks.setdefault(kind, _deck(kind, given.only, Random(f"{given.seed} {kind}")))
            rounds = _rounds(deck, draw, given.only)
            into = Path(folder) / f"leg{legs}"
            into.mkdir()
            _play(servers, kind, rounds, draw, account, folder=into)
        took = (time.monotonic() - began) / 60
        _say(f"\n{datetime.now(UTC):%Y-%m-%d}, seed {given.seed}, {took:.0f} minutes, {legs} legs")
        _say(f"({', '.join(_versions(servers))}):\n")
        _say("\n".join([*account.lines(), account.summary()]))


def _play(
    servers: Servers,
    kind: str,
    rounds: list[Round],
    draw: Random,
    account: Account,
    *,
    folder: Path,
) -> None:
    if kind == "lives":
        keeping = settings_in(folder, "rabbitmq")
        with ground(servers, folder, kind="rabbitmq", draw=draw, keeping=keeping) as it:
            history = blank_volumes(BLANK)
            LivesLeg(it, history, rounds, draw, account, kind, hasty=False, say=_say).run(keys=True)
        return
    with ground(servers, folder, kind=kind, draw=draw, room=ROOM) as it:
        history = compose(draw.randrange(2**32), SHAPE)
        Leg(it, history, rounds, draw, account, kind, hasty=False, say=_say).run(keys=True)


def _kinds(only: list[str] | None, kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds of installation that can have all these faults."""
    chosen = [FAULTS[name] for name in only or ()]
    return tuple(
        kind for kind in kinds
        if not (kind == "streams" and any(it.needs_broker for it in chosen))
        and not (kind == "lives" and any(it.is_party for it in chosen))
    )  # fmt: skip


def _deck(kind: str, only: list[str] | None, draw: Random) -> Iterator[Fault]:
    """Deal all faults that this kind of installation can have, or those given, again and again."""
    chosen = [FAULTS[name] for name in only or FAULTS]
    while True:
        faults = [it for it in chosen if kind != "streams" or not it.needs_broker]
        # Theirs wait for long, which is no good where the deadline is small.
        faults = [it for it in faults if kind != "lives" or not it.is_party]
        draw.shuffle(faults)
        yield from faults


def _rounds(deck: Iterator[Fault], draw: Random, only: list[str] | None) -> list[Round]:
    if only:
        return [[next(deck)] for _ in only]
    rounds: list[Round] = []
    for _ in range(ROUNDS):
        faults = [next(deck)]
        other = next(deck) if draw.random() < PAIR_SHARE else faults[0]
        if other.on != faults[0].on:
            faults.append(other)
        elif other is not faults[0]:
            # Not at the same time, so one after the other.
            rounds.append([other])
        rounds.append(faults)
    return rounds


def _arguments() -> argparse.Namespace:
    width = max(map(len, FAULTS)) + 2
    faults = "\n".join(f"  {name:<{width}}{fault.says}" for name, fault in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        epilog=f"faults and parties:\n{faults}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--minutes", type=float, help="default: 10, or with --party one leg")
    parser.add_argument(
        "--party", "--fault", dest="only", metavar="NAME", action="append", choices=FAULTS,
        help="play this one and no other; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--kind", dest="kinds", action="append", choices=KINDS,
        help="legs on this installation and no other; may be given several times",
    )  # fmt: skip
    return parser.parse_args()


def _versions(servers: Servers) -> Iterator[str]:
    """Ask each server's program; their words for it differ."""
    for program in (locate.redis_server(), locate.valkey_server()):
        told = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
        name, _, rest = told.stdout.partition(" server v=")
        yield f"{name} {rest.split()[0]}"
    yield f"RabbitMQ {servers.broker().ctl('version').strip()}"
    yield f"Python {platform.python_version()}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
