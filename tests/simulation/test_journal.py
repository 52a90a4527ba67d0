"""A simulation of hours that was ended goes on where it was."""

import subprocess
import sys
from pathlib import Path

from tests.kit.simulator.journal import ROOT, Journal

PART = ("pairs", "create", 3)


def test_what_was_played_is_known_to_the_next_run(tmp_path: Path) -> None:
    Journal(tmp_path, "code").note(PART, (7, ["a run: a promise"]))
    assert Journal(tmp_path, "code").played == {PART: (7, ["a run: a promise"])}


def test_what_was_played_with_other_code_is_played_anew(tmp_path: Path) -> None:
    Journal(tmp_path, "code").note(PART, (7, []))
    assert Journal(tmp_path, "other code").played == {}


def test_a_part_that_was_half_noted_is_played_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "code")
    journal.note(PART, (7, []))
    journal.note(("races", "create", 0), (9, []))
    file = tmp_path / "code.jsonl"
    file.write_bytes(file.read_bytes()[:-5])
    again = Journal(tmp_path, "code")
    assert again.played == {PART: (7, [])}
    again.note(("races", "create", 0), (9, []))
    assert len(Journal(tmp_path, "code").played) == 2


def test_what_is_forgotten_is_played_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "code")
    journal.note(PART, (7, []))
    journal.forget()
    assert Journal(tmp_path, "code").played == {}


BEFORE_AND_AFTER = """
from tests.kit.simulator import __main__, journal
from tests.kit.simulator.explore import Case
from tests.kit.simulator.histories import HISTORIES

before = set(journal.played_files())
for name in HISTORIES:
    Case(name).run()
print(*set(journal.played_files()) - before)
print(*before)
"""


def test_the_code_that_is_played_is_known_before_it_is_played() -> None:
    command = [sys.executable, "-c", BEFORE_AND_AFTER]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    later, before = told.splitlines()[-2:]
    assert not later
    for file in ("kmworker/worker/stages.py", "kmworker/store/lua/commit.lua"):
        assert str(ROOT / file) in before.split()
    # Commands that nobody gives in a history are not among it.
    assert str(ROOT / "kmworker/cli/worker.py") not in before.split()
