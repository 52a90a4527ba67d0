"""What the program says of itself."""

import re
from pathlib import Path
from pkgutil import iter_modules

import pytest

from kmworker import __version__, cli
from kmworker.cli.app import KMWorker
from kmworker.cli.frame.accounts import NEEDED, Accounts, named_in_help
from tests.kit.cli.stand import failed, run, said
from tests.kit.outside.roles import COMMANDS, roles_for

CONFIG = Path(__file__).resolve().parents[3] / "config"

WATCH = """\
Usage: kmworker watch [OPTIONS]

  Print what is announced of items and of key-ids, until Ctrl-C.

  One line each: time, project, item, disposition (or `released`), key-id (-
  where there is none) and the rule that decided. Of a key-id: time, project, -,
  what has become of it, the key-id, and its state since then. Says on standard
  error when it has begun to listen. Ctrl-C is its normal end: exit code 0.

Options:
  --project P  Only this project's.
  --count N    End after so many.  [x>=1]
  --json       Print announcements as they are, one a line.
  --help       Show this message and exit.

  Accounts:
    store: none
    broker: operator

  Examples:
    kmworker watch
    kmworker watch --project p1 --count 1 --json
    kmworker watch --json | jq -r .data.key_id
"""
ALL = [name for name in NEEDED if " --" not in name]


def test_what_stands_in_the_package_is_a_command_or_what_commands_share() -> None:
    there = {module.name for module in iter_modules(cli.__path__)}
    assert there == {*KMWorker.purposes, "app", "arguments", "frame", "installation", "terminal"}


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


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_examples_of_itself_and_fits_into_80_columns(name: str) -> None:
    help_text = run(*name.split(), "--help").stdout
    _, _, examples = help_text.partition("  Examples:\n")
    assert any(line.strip().startswith(f"kmworker {name}") for line in examples.splitlines())
    assert max(map(len, help_text.splitlines())) <= 80


def test_version_is_a_line_for_programs() -> None:
    assert said(run("--version")) == (0, f"kmworker {__version__}\n", "")


def test_who_names_no_command_gets_help_and_the_exit_code_of_wrong_usage() -> None:
    err = failed(2)
    assert err == run("--help").stdout


@pytest.mark.parametrize("name", ALL)
def test_a_commands_help_names_the_accounts_that_it_needs(name: str) -> None:
    help_text = run(*name.split(), "--help").stdout
    named = named_in_help(name).replace("\b\n", "").replace("\n", "\n  ")
    assert f"\n  {named}\n" in help_text


def test_options_that_ask_for_another_account_say_which() -> None:
    assert "store: key-operator (with --repair: repairer)" in run("verify", "--help").stdout
    assert "broker: producer (with --no-check: operator)" in run("publish", "--help").stdout


@pytest.mark.parametrize("name", NEEDED)
def test_accounts_in_help_are_those_that_tests_run_the_command_with(name: str) -> None:
    roles = roles_for(name.split())
    assert NEEDED[name] == Accounts(roles.store or "", roles.broker or "")


def test_no_account_that_tests_give_a_command_is_left_out_of_help() -> None:
    said = {word for name in NEEDED for word in (name, name.split()[0])}
    assert {*COMMANDS, *KMWorker.purposes} <= said


@pytest.mark.parametrize("server", ["store", "broker"])
def test_the_tables_of_accounts_list_the_commands_that_need_each(server: str) -> None:
    listed = _listed({"store": "redis", "broker": "rabbitmq"}[server])
    for name, accounts in NEEDED.items():
        account = getattr(accounts, server)
        if account:
            assert listed[account] & {name, name.split()[0]}, (name, account)


def _listed(folder: str) -> dict[str, set[str]]:
    """Commands by account, from the row `for` of a table."""
    rows = [line.split("|") for line in (CONFIG / folder / "README.md").read_text().splitlines()]
    row = next(it for it in rows if len(it) > 1 and it[1].strip() == "for")
    head = rows[rows.index(row) - 2]
    return {
        account.strip(" `"): set(re.findall(r"`(?:kmworker )?([^`]+)`", cell))
        for account, cell in zip(head, row, strict=True)
    }
