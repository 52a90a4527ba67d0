"""What others do to somebody honest: one of them at a time, beside a constant load.

    python -m bench.others [--before FOLDER] [--party NAME]... [--seconds 12]

``--before`` is a checkout of another commit, to be measured in the same run. Prints a table for
docs/reliability.md. Each of the others is as in `tests.chaos`, with the account that such a one
would have, but says what it says at a rate that a worker can handle: what is measured is who has
to wait for whom, not how long a queue gets.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from secrets import token_hex

import redis

from bench.servers import Servers, private_servers
from tests.kit.outside.reader import Reader
from tests.kit.parties.amqp_end import AmqpEnd
from tests.kit.parties.party import Party
from tests.kit.parties.producers import (
    Flood,
    ForeignFlood,
    HotSource,
    LargeBodies,
    ManyProjects,
    Poison,
)
from tests.kit.parties.readers import FullSubscriber, UnreadReplies
from tests.kit.parties.steady import Steady
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, StoreServer

HONEST_PER_S = 50
SECONDS = 12
PER_S = 300
BAD_PER_S = 20
ROOM = 1_000
WARM_S = 2.0
PAGE_SIZE = 1_000
START_S = 60.0
PREPARED_S = 120.0
# Without a key for so long in the end: it will not come any more.
STILL_S = 4.0
# Shared by those that are no broker of kmworker's alone.
BROKER_OPTIONS = {"max_message_size": "134217728"}
PROJECTS = 50_000
FEED = 10_000
FULL = {"max-length": 1, "overflow": "reject-publish"}
ABOVE_OURS = 101
WORKER = [sys.executable, "-m", "kmworker", "worker"]


@dataclass(frozen=True, slots=True)
class Installation:
    """One that is measured; parties know it as a place."""

    servers: Servers
    namespace: str
    reader: Reader
    room: int
    prefix: str = "km"
    foreign_room: int = 1_000
    victim: str = "honest"

    @property
    def broker(self) -> RabbitMQ:
        """Return where producers and subscribers go."""
        return self.servers.broker

    @property
    def store(self) -> StoreServer:
        """Return where dashboards look."""
        return self.servers.store


Harm = Callable[[Installation], AbstractContextManager[Callable[[], None]]]
"""Enters when it could be felt, with what is to be called now and then while it lasts."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that others do."""

    says: str
    harm: Harm
    room: int = ROOM


@contextmanager
def _nothing(_it: Installation) -> Iterator[Callable[[], None]]:
    yield lambda: None


def _saying(kind: type[Party], per_s: float = PER_S, *, once: bool = False) -> Harm:
    """Let one after the other of this kind say what it has to say."""

    @contextmanager
    def harm(it: Installation) -> Iterator[Callable[[], None]]:
        party = _started(kind, it, per_s)
        until(party.is_felt.is_set, f"{kind.__name__} is felt", within_s=PREPARED_S)

        def go_on() -> None:
            nonlocal party
            if party.is_done() and not once:
                party.close()
                party = _started(kind, it, per_s)

        try:
            yield go_on
        finally:
            party.close()

    return harm


def _started(kind: type[Party], it: Installation, per_s: float) -> Party:
    party = kind(it, Random())
    party.per_s = per_s
    party.start()
    return party


@contextmanager
def _many_projects(it: Installation) -> Iterator[Callable[[], None]]:
    with it.servers.client() as store:
        for start in range(0, PROJECTS, PAGE_SIZE):
            store.sadd("km:projects", *(f"p{n}" for n in range(start, start + PAGE_SIZE)))
    with _saying(ManyProjects)(it) as go_on:
        yield go_on


@contextmanager
def _there(
    kind: type[FullSubscriber | UnreadReplies], it: Installation
) -> Iterator[Callable[[], None]]:
    """Have one there that does its harm by being there."""
    party = kind(it, Random())
    party.start()
    try:
        yield lambda: None
    finally:
        party.finish()


@contextmanager
def _unread_replies(it: Installation) -> Iterator[Callable[[], None]]:
    with it.servers.client() as store, store.pipeline(transaction=False) as pipe:
        for number in range(FEED):
            pipe.xadd("km:feed", {"kind": "assigned", "item": f"volume:{number:0200}"})
        pipe.execute()
    with _there(UnreadReplies, it) as go_on:
        yield go_on


@contextmanager
def _full_dead_letters(it: Installation) -> Iterator[Callable[[], None]]:
    pattern = f"^{it.namespace}\\.dead$"
    with (
        it.broker.policy(it.namespace, pattern, FULL, priority=ABOVE_OURS),
        _saying(Poison, BAD_PER_S)(it) as go_on,
    ):
        yield go_on


CASES = {
    "nothing": Case("nothing else", _nothing),
    "flood": Case("a flood beyond its own project's room", _saying(Flood)),
    "foreign-flood": Case("a flood that waits for another tenant's volumes", _saying(ForeignFlood)),
    "hot-source": Case("9,000 events that waited for one volume, which comes",
                       _saying(HotSource, once=True), 10_000),
    "many-projects": Case(f"{PROJECTS:,} projects, and new ones all the while", _many_projects),
    "poison": Case("headers of 62 KB that grow", _saying(Poison, BAD_PER_S)),
    "large-bodies": Case("bodies of 16 MiB and 128 KiB", _saying(LargeBodies, BAD_PER_S)),
    "full-subscriber": Case("a subscriber's full queue", partial(_there, FullSubscriber)),
    "unread-replies": Case("a dashboard's unread replies", _unread_replies),
    "dead-letters-full": Case("a full queue of dead letters", _full_dead_letters),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figures:
    """What somebody honest had."""

    per_s: float
    p50_ms: float
    p99_ms: float
    is_still: bool

    def cells(self) -> str:
        """Write them for a table."""
        if self.is_still:
            return "stands still | | "
        return f"{self.per_s:.0f} | {self.p50_ms:,.0f} | {self.p99_ms:,.0f}"


def measure(servers: Servers, case: Case, seconds: float, code: Path) -> Figures:
    """Start a worker of this checkout in an empty store, and measure with one thing beside it."""
    with servers.client() as store:
        store.flushall()
    namespace = f"others{token_hex(4)}"
    dashboard = redis.Redis.from_url(servers.store.url_of("dashboard"))
    it = Installation(
        servers, namespace, Reader(dashboard, servers.client(decode=False), "km"), case.room
    )
    # Nobody else's: what others announce to a subscriber is no wait of ours.
    hears = f"key-assigned.*.{it.victim}"
    end = AmqpEnd(partial(servers.broker.url_of, names=namespace), namespace, hears)
    with _worker(it, code), closing(end):
        end.open()
        steady = end.steady(it.victim, 1 / HONEST_PER_S)
        steady.start()
        try:
            until(lambda: end.heard.news, "the first key comes", within_s=START_S)
            time.sleep(WARM_S)
            return _figures(it, steady, case, seconds)
        finally:
            steady.close()
            servers.broker.forget(namespace)


def _figures(it: Installation, steady: Steady, case: Case, seconds: float) -> Figures:
    with case.harm(it) as go_on:
        start = time.time()
        while (now := time.time()) < start + seconds:
            go_on()
            time.sleep(0.1)
        seen, last = steady.between(start, now), steady.between(now - STILL_S, now)
    return Figures(
        seen.served / (now - start),
        1000 * seen.took(0.5),
        1000 * seen.took(0.99),
        is_still=not last.served,
    )


@contextmanager
def _worker(it: Installation, code: Path) -> Iterator[None]:
    own = {"KMWORKER_WAITING__MAX": str(it.room), "PYTHONPATH": str(code)}
    environ = {**os.environ, **it.servers.environment(it.namespace), **own}
    with (it.servers.folder / f"{it.namespace}.log").open("wb") as log:
        worker = subprocess.Popen(WORKER, env=environ, cwd=code, stdout=log, stderr=log)
        try:
            yield
        finally:
            worker.kill()
            worker.wait()


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.others", description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout of another commit")
    parser.add_argument("--party", action="append", choices=CASES, help="this one; default: all")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    codes = [*filter(None, [options.before]), Path.cwd()]
    before = " before: keys/s | p50 ms | p99 ms |" if options.before else ""
    _say(f"| {HONEST_PER_S} a second, beside |{before} keys/s | p50 ms | p99 ms |")
    _say("|---" * (1 + 3 * len(codes)) + "|")
    with private_servers(BROKER_OPTIONS) as servers:
        for name in options.party or CASES:
            found = [measure(servers, CASES[name], options.seconds, code) for code in codes]
            _say(f"| {CASES[name].says} | {' | '.join(it.cells() for it in found)} |")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
