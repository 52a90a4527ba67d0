"""What reaches a terminal, and what a program reads."""

import json
import sys
import unicodedata

import pytest

from kmworker.cli.terminal import output


@pytest.mark.parametrize("control", ["\x1b[2J", "\x07", "\n", "\r", "\x85", "\x9b31m", "\u2028"])
def test_text_from_outside_cannot_steer_a_terminal(control: str) -> None:
    shown = output.visible(f"volume:{control}x")
    assert shown.isprintable()
    assert shown.startswith(f"volume:\\u{ord(control[0]):04x}")


def test_no_character_that_steers_hides_or_breaks_reaches_a_terminal() -> None:
    steering = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    for point in range(sys.maxunicode + 1):
        character = chr(point)
        if unicodedata.category(character) in steering:
            shown = output.visible(character)
            assert shown.isascii(), hex(point)
            assert json.loads(f'"{shown}"') == character, hex(point)


@pytest.mark.parametrize("text", ["volume:ü", "日本語", "é", "a b", "💾", "עברית", "ـ"])
def test_what_people_write_is_shown_as_it_is(text: str) -> None:
    assert output.visible(text) == text


def test_what_is_made_visible_in_json_still_means_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    document = {"id": "a\x1b[2J\x9b\u2028ü"}
    output.line(output.one_json(document))
    output.print_json(document)
    one, *many = capsys.readouterr().out.splitlines()
    assert json.loads(one) == json.loads("\n".join(many)) == document
    assert "\x9b" not in one


def test_a_table_for_a_program_is_neither_wrapped_nor_cut_nor_padded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    output.display(output.column_table(("id", "why"), [("x" * 300, "word " * 100), ("y", "")]))
    assert capsys.readouterr().out.splitlines() == [
        "id" + " " * 300 + "why",
        "x" * 300 + "  " + ("word " * 100).strip(),
        "y",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s ago"), (-3, "0 s ago"), (119, "119 s ago"), (120, "2 min ago"),
     (7_199, "120 min ago"), (7_200, "2 h ago"), (172_800, "2 d ago")],
)  # fmt: skip
def test_times_are_told_as_a_person_would(seconds: float, text: str) -> None:
    assert output.ago(1_000_000, 1_000_000 + seconds) == text


def test_the_beginning_of_time_is_never() -> None:
    assert output.ago(0, 1_000_000) == "never"


@pytest.mark.parametrize(("number", "text"), [(0, "0 items"), (1, "1 item"), (1234, "1,234 items")])
def test_numbers_come_with_what_they_count(number: int, text: str) -> None:
    assert output.plural(number, "item") == text


def test_without_a_terminal_progress_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress("publishing", 10) as advance:
        advance(5)
    assert capsys.readouterr() == ("", "")
