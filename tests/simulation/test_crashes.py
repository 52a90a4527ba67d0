"""Nothing is lost, whatever ends at whatever step.

What is not played in full here is by ``make simulate``.
"""

import pytest

from tests.simulation.conftest import RunAll
from tests.simulation.explore import sample, singles
from tests.simulation.histories import HISTORIES

SAMPLES_OF_EACH_KIND = 6


@pytest.mark.parametrize("history", HISTORIES)
def test_a_process_or_a_connection_may_end_before_and_after_each_step(
    history: str, run_all: RunAll
) -> None:
    assert run_all(singles(history)) > 50


@pytest.mark.parametrize("history", HISTORIES)
def test_faults_may_come_in_pairs_and_while_two_workers_race(
    history: str, run_all: RunAll, seed: int
) -> None:
    assert run_all(sample(history, seed, SAMPLES_OF_EACH_KIND)) == 4 * SAMPLES_OF_EACH_KIND


def test_a_run_can_be_played_again_from_its_description() -> None:
    (case, *_others) = sample("duplicates", seed=7, number=1)
    first, again = ([step.name for step in case.run().steps[0]] for _ in range(2))
    assert first == again
    assert repr(case) == repr(next(sample("duplicates", seed=7, number=1)))
