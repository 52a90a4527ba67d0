"""What the program says of itself."""

import pytest

from kmworker import __version__
from kmworker.cli.app import KMWorker
from tests.unit.cli.stand import run, said

WATCH = """\
Usage: kmworker watch [OPTIONS]

  Print assignments as they are announced, until Ctrl-C.

  One line each: time, project, item, disposition, key-id and the rule that
  decided. Says on standard error when it has begun to listen. Ctrl-C is its
  normal end: exit code 0.

Options:
  --project P  Only this project's assignments.
  --count N    End after so many.  [x>=1]
  --json       Print announcements as they are, one a line.
  --help       Show this message and exit.

  Examples:
    kmworker watch
    kmworker watch --project p1 --count 1 --json
    kmworker watch --json | jq -r .data.key_id
"""
SUBCOMMANDS = (
    "dead list", "dead show", "dead replay", "dead discard", "waiting list", "waiting expire",
    "key export", "keyring init", "keyring status",
)  # fmt: skip
GROUPS = {name.split()[0] for name in SUBCOMMANDS}


def test_the_help_of_a_command_is_a_transcript() -> None:
    assert said(run("watch", "--help")) == (0, WATCH, "")


def test_the_programs_help_lists_every_command_with_its_purpose() -> None:
    words = " ".join(run("--help").stdout.split())
    for name, purpose in KMWorker.purposes.items():
        assert f" {name} {purpose} " in words


@pytest.mark.parametrize("name", KMWorker.purposes)
def test_a_purpose_in_the_table_is_the_first_line_of_the_commands_help(name: str) -> None:
    help_text = run(name, "--help").stdout.splitlines()
    assert help_text[2].strip() == KMWorker.purposes[name]


@pytest.mark.parametrize(
    "name", [*(name for name in KMWorker.purposes if name not in GROUPS), *SUBCOMMANDS]
)
def test_every_command_has_examples_of_itself_and_fits_into_80_columns(name: str) -> None:
    help_text = run(*name.split(), "--help").stdout
    _, _, examples = help_text.partition("  Examples:\n")
    assert any(line.strip().startswith(f"kmworker {name}") for line in examples.splitlines())
    assert max(map(len, help_text.splitlines())) <= 80


def test_version_is_a_line_for_programs() -> None:
    assert said(run("--version")) == (0, f"kmworker {__version__}\n", "")


def test_who_names_no_command_gets_help_and_the_exit_code_of_wrong_usage() -> None:
    code, out, err = said(run())
    assert (code, out) == (2, "")
    assert err == run("--help").stdout
