"""A short run of every fault: nothing is lost, nothing is doubled, and work goes on.

`make chaos` is the long one. Each case is one installation that goes through its faults,
some of them at once, and is then held to the contract from outside.
"""

import sys
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.chaos.account import Account
from tests.chaos.faults import FAULTS
from tests.chaos.ground import Servers, ground
from tests.chaos.leg import Leg
from tests.integration.outside.history import Shape, compose
from tests.integration.outside.stage import reproducible, seeds

SHAPE: Final = Shape(
    grown=700,
    partitions=15,
    orphans=10,
    denied=4,
    repeats=120,
    seconds=60,
    bad=30,
    conflicts=20,
    later_repeats=20,
    later_seconds=20,
)
RABBITMQ: Final = {
    "workers-and-store": [
        ["worker-stopped", "store-killed"],
        ["store-out-of-memory"],
        ["store-refuses-writes"],
        ["store-disk-full"],
        ["scripts-flushed"],
        ["workers-killed"],
    ],
    "broker": [
        ["worker-killed", "broker-killed"],
        ["broker-memory-alarm"],
        ["broker-closes-connections"],
    ],
    "lines": [
        [f"{server}-{fault}"]
        for fault in ("cut-off", "reset", "stalled", "sliced", "cut-mid-message")
        for server in ("broker", "store")
    ],
}
STREAMS: Final = {
    "servers": [
        ["worker-stopped", "store-killed"],
        ["store-out-of-memory"],
        ["store-refuses-writes"],
        ["store-disk-full"],
        ["scripts-flushed"],
    ],
    "lines": [
        ["worker-killed", "broker-reset"],
        ["broker-cut-off", "store-cut-off"],
        ["broker-stalled"],
        ["broker-sliced", "store-sliced"],
        ["broker-cut-mid-message"],
        ["store-cut-mid-message"],
    ],
}
CASES: Final = [
    pytest.param(kind, rounds, id=f"{kind}-{name}")
    for kind, groups in (("rabbitmq", RABBITMQ), ("streams", STREAMS))
    for name, rounds in groups.items()
]


def test_every_fault_has_its_turn() -> None:
    named = {name for rounds in RABBITMQ.values() for names in rounds for name in names}
    assert named == set(FAULTS)


@pytest.mark.parametrize("seed", seeds(1), ids=lambda seed: f"seed-{seed}")
@pytest.mark.parametrize(("kind", "rounds"), CASES)
def test_nothing_is_lost_and_nothing_doubled(
    chaos_servers: Servers, tmp_path: Path, kind: str, rounds: list[list[str]], seed: int
) -> None:
    draw = Random(f"{seed} {kind} {rounds}")
    faults = [[FAULTS[name] for name in names] for names in rounds]
    account = Account()
    with (
        reproducible(seed),
        ground(chaos_servers, tmp_path, streams=kind == "streams", draw=draw) as it,
    ):
        leg = Leg(it, compose(draw.randrange(2**32), SHAPE), faults, draw, account, kind)
        leg.run(keys=(kind, rounds) == ("rabbitmq", RABBITMQ["lines"]))
    sys.stdout.write("\n".join([*account.lines(), account.summary()]))
