"""A simulation of hours that was ended goes on where it was."""

from pathlib import Path

from tests.kit.simulator.journal import Journal

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
