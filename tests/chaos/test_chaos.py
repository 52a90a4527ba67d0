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
from tests.chaos.lives_leg import LivesLeg, blank_volumes, settings_in
from tests.kit.outside.history import Shape, compose
from tests.kit.outside.stage import reproducible, seeds

SHAPE: Final = Shape(
    grown=300,
    partitions=15,
    orphans=10,
    denied=4,
    repeats=60,
    seconds=30,
    bad=30,
    conflicts=20,
    later_repeats=20,
    later_seconds=20,
)
LINES: Final = [
    [f"broker-{what}", f"store-{what}"]
    for what in ("cut-off", "reset", "stalled", "sliced", "cut-mid-message")
]
STORE: Final = [
    ["worker-stopped", "store-killed"],
    ["store-out-of-memory"],
    ["store-refuses-writes"],
    ["store-disk-full"],
    ["scripts-flushed"],
]
RESTARTS: Final = [
    ["store-terminated"],
    ["store-rewritten"],
    ["worker-killed", "replica-promoted"],
    ["store-killed"],
]
PARTIES: Final = [
    ["flood"],
    ["foreign-flood", "poison"],
    ["hot-source"],
    ["many-projects", "large-bodies"],
    ["full-subscriber", "unread-replies"],
    ["catch-all-policy", "worker-ahead"],
    ["dead-letters-full"],
    ["primary-hands-over"],
    ["exchange-deleted"],
]
CASES: Final = {
    "rabbitmq-parties": PARTIES,
    "rabbitmq-restarts": RESTARTS,
    "valkey-restarts": RESTARTS,
    "rabbitmq-servers": [
        *STORE,
        ["worker-killed", "broker-killed"],
        ["broker-memory-alarm"],
        ["broker-closes-connections"],
        ["workers-killed"],
    ],
    "rabbitmq-lines": LINES,
    "streams": [*STORE, *LINES, ["store-unknown-error"], ["worker-killed"]],
}


# Beside deletions, janitors and a person. What stops a worker for long is the long run's.
BESIDE_LIVES: Final = [
    ["worker-killed", "store-killed"],
    ["store-cut-mid-message"],
    ["workers-killed", "broker-closes-connections"],
    ["exchange-deleted"],
    ["store-refuses-writes"],
]


def test_every_fault_has_its_turn() -> None:
    named = {name for rounds in CASES.values() for names in rounds for name in names}
    assert named == set(FAULTS)


@pytest.mark.parametrize("seed", seeds(1), ids=lambda seed: f"seed-{seed}")
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_lost_and_nothing_doubled(
    chaos_servers: Servers, tmp_path: Path, case: str, seed: int
) -> None:
    draw = Random(f"{seed} {case}")
    rounds = [[FAULTS[name] for name in names] for names in CASES[case]]
    kind = case.partition("-")[0]
    account = Account()
    with (
        reproducible(seed),
        ground(chaos_servers, tmp_path, kind=kind, draw=draw) as it,
    ):
        leg = Leg(it, compose(draw.randrange(2**32), SHAPE), rounds, draw, account, kind)
        leg.run(keys=case == "rabbitmq-lines")
    sys.stdout.write("\n".join([*account.lines(), account.summary()]))


@pytest.mark.parametrize("seed", seeds(1), ids=lambda seed: f"seed-{seed}")
@pytest.mark.parametrize("kind", ["rabbitmq", "streams"])
def test_no_key_ends_that_somebody_holds_and_every_other_does(
    chaos_servers: Servers, tmp_path: Path, kind: str, seed: int
) -> None:
    draw = Random(f"{seed} {kind} lives")
    rounds = [
        [FAULTS[name] for name in names if kind != "streams" or not FAULTS[name].needs_broker]
        for names in BESIDE_LIVES
    ]
    account = Account()
    with (
        reproducible(seed),
        ground(
            chaos_servers, tmp_path, kind=kind, draw=draw, keeping=settings_in(tmp_path, kind)
        ) as it,
    ):
        leg = LivesLeg(it, blank_volumes(60), [it for it in rounds if it], draw, account, kind)
        leg.run(keys=True)
    sys.stdout.write("\n".join([*account.lines(), account.summary()]))
