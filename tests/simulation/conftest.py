"""Runs are counted, and drawn from a seed that the summary names."""

import os
import secrets
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.kit.simulator.explore import Case, quietly
from tests.kit.unmeasured import unmeasured

# One seed for all tests of a process. A build tries the same each time; see tests/conftest.py.
SEED: Final = int(
    os.environ.get("KMWORKER_SIMULATION_SEED")
    or ("1" if os.environ.get("CI") else secrets.randbelow(1_000_000))
)

RunAll = Callable[[Iterator[Case]], int]


@pytest.fixture
def seed(record_property: Callable[[str, object], None]) -> int:
    """Return the seed; set KMWORKER_SIMULATION_SEED to draw the same again."""
    record_property("simulation seed", SEED)
    return SEED


@pytest.fixture
def run_all(record_property: Callable[[str, object], None]) -> RunAll:
    """Play cases, count them, and return how many there were."""

    def run(cases: Iterator[Case]) -> int:
        number = 0
        with quietly(), unmeasured():
            for case in cases:
                # As whoever plays it again would.
                again = Case.read(str(case))
                assert str(again) == str(case)
                again.run()
                number += 1
        record_property("simulated runs", number)
        return number

    return run
