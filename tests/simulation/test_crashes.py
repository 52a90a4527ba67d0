"""Nothing is lost, whatever ends at whatever step.

What is not played in full here is by ``make simulate``.
"""

import shlex
import subprocess
from itertools import islice
from pathlib import Path
from subprocess import PIPE
from typing import Final

import pytest

from tests.kit.simulator import mutants
from tests.kit.simulator.__main__ import main
from tests.kit.simulator.explore import Case, quietly, sample, singles, stops
from tests.kit.simulator.histories import HISTORIES
from tests.kit.simulator.invariants import Violation
from tests.simulation.conftest import RunAll

ROOT: Final = Path(__file__).parents[2]
SAMPLES_OF_EACH_KIND: Final = 4
# What a key server does for one history it does for each, and it is the longest of all.
SAMPLES_WHERE_KEYS_ARE_ASKED_FOR: Final = 2
RACED: Final = (
    "a snapshot before its volume",
    "duplicates",
    "a conflict",
    "another encryption, and another node",
    "partition replicas",
    "two projects, and what nobody can read",
    "asked before its grant, and again",
    "asked for as it is detached",
    "asked for as its key is suspended",
    "asked for as its client is revoked",
)
STOPS_EACH: Final = 4


@pytest.mark.parametrize("history", HISTORIES)
def test_a_process_or_a_connection_may_end_before_and_after_each_step(
    history: str, run_all: RunAll, seed: int
) -> None:
    each = HISTORIES[history].tests_strike_each
    assert run_all(islice(singles(history), seed % each, None, each)) > 50 / each


@pytest.mark.parametrize("history", HISTORIES)
def test_faults_may_come_in_pairs_and_while_two_workers_race(
    history: str, run_all: RunAll, seed: int
) -> None:
    is_short = not HISTORIES[history].asks
    number = SAMPLES_OF_EACH_KIND if is_short else SAMPLES_WHERE_KEYS_ARE_ASKED_FOR
    assert run_all(sample(history, seed, number)) == 4 * number


@pytest.mark.parametrize("history", RACED)
def test_wherever_one_stands_still_another_comes_to_the_same(
    history: str, run_all: RunAll, seed: int
) -> None:
    assert run_all(islice(stops(history), seed % STOPS_EACH, None, STOPS_EACH)) > 40 / STOPS_EACH


def test_the_command_that_a_failure_names_plays_that_run_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = sample("a flood that waits for another project's volumes", seed=7, number=1)
    case = next(case for case in drawn if case.faults and case.schedule)
    mutants.acknowledge_before_confirm(monkeypatch)
    with quietly(), pytest.raises(Violation) as caught:
        case.run()
    (note,) = caught.value.__notes__
    command = shlex.split(note.removeprefix("again: "))
    dry = subprocess.run([*command, "--dry-run"], check=True, stdout=PIPE, text=True, cwd=ROOT)
    assert '-m tests.kit.simulator --case "$CASE"' in dry.stdout
    with quietly():
        assert main(["--case", command[-1].removeprefix("CASE=")]) == 1
    assert capsys.readouterr().err == f"{caught.value}\n"


@pytest.mark.parametrize("text", ["", "no such", "create; 0:1 no such", "create; 3", "create; "])
def test_what_no_failure_prints_is_no_case(text: str) -> None:
    with pytest.raises(ValueError, match=r"no history|not a valid|not enough|nothing between"):
        Case.read(text)
