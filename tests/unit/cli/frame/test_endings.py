"""How commands end: each kind of error has one exit code and one shape."""

import errno
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest
import typer
from typer.testing import CliRunner, Result

from kmworker.cli.frame.invocation import Invocation
from kmworker.cli.frame.program import Program, group
from kmworker.errors import (
    BrokerUnavailable,
    NotFound,
    PermanentError,
    Reason,
    SetupError,
    StoreUnavailable,
    UnknownKek,
)
from tests.kit.cli.stand import failed, run, said


def ends_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Run a command that does nothing but raise."""
    module = ModuleType("kmworker.cli.failing")
    module.app = group()  # type: ignore[attr-defined]

    def failing() -> None:
        secret = "the-dek"
        assert secret
        raise error

    module.app.command()(failing)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    app = typer.Typer(cls=Failing, rich_markup_mode=None, add_completion=False)

    @app.callback()
    def callback(context: typer.Context) -> None:
        context.obj = Invocation()

    return CliRunner().invoke(app, ["failing"], prog_name="kmworker")


class Failing(Program):
    purposes: ClassVar[Mapping[str, str]] = {"failing": "Fail."}


ENDINGS = {
    "not there": (NotFound("no item x", "look elsewhere"), 1, "no item x", "look elsewhere"),
    "not there, without a hint": (NotFound("no item x"), 1, "no item x", ""),
    "integrity": (
        PermanentError(Reason.INTEGRITY, "it is broken"),
        1,
        "integrity: it is broken",
        "find out who wrote to the store",
    ),
    "set up wrong": (SetupError("no store", "set one"), 2, "no store", "set one"),
    "another keyring": (
        UnknownKek("under KEK 1"),
        2,
        "under KEK 1",
        "use the keyring that the store was filled with",
    ),
    "no broker": (BrokerUnavailable("gone"), 3, "gone", "kmworker doctor"),
    "no store": (StoreUnavailable("gone"), 3, "gone", "kmworker doctor"),
}


@pytest.mark.parametrize(("error", "code", "message", "hint"), ENDINGS.values(), ids=ENDINGS)
def test_an_error_has_its_exit_code_a_message_and_a_hint(
    error: Exception, code: int, message: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = ends_with(error, monkeypatch)
    first, _, second = result.stderr.partition("\n")
    assert (result.exit_code, result.stdout, first) == (code, "", f"kmworker: {message}")
    assert second.startswith(f"hint: {hint}") if hint else second == ""


def test_a_fault_says_how_to_see_more_and_shows_none_of_its_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, out, err = said(ends_with(ValueError("with the-dek in it"), monkeypatch))
    assert (code, out) == (70, "")
    assert err.splitlines() == [
        "kmworker: internal error: ValueError",
        "hint: run it again with KMWORKER_LOG__LEVEL=debug for the traceback",
    ]


def test_a_fault_under_debug_has_a_traceback_without_local_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KMWORKER_LOG__LEVEL", "debug")
    code, out, err = said(ends_with(ZeroDivisionError(), monkeypatch))
    assert (code, out) == (70, "")
    assert "Traceback (most recent call last)" in err
    assert "in failing" in err
    assert "the-dek" not in err
    assert err.endswith("hint: please report it with the traceback above\n")


def test_the_log_level_of_the_configuration_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("kmworker.cli.status.read_status", fail)
    monkeypatch.setenv("KMWORKER_STORE__URL", "redis://127.0.0.1:1")
    (folder / "debug.toml").write_text('[log]\nlevel = "debug"')
    assert "Traceback" not in run("status").stderr
    assert "Traceback" in run("--config", "debug.toml", "status").stderr


def test_ctrl_c_ends_a_command_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(ends_with(KeyboardInterrupt(), monkeypatch)) == (130, "", "")


def test_a_reader_who_leaves_ends_a_command_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(ends_with(BrokenPipeError(), monkeypatch)) == (141, "", "")


def test_what_else_the_system_refuses_is_still_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = said(ends_with(OSError(errno.EBADF, "Bad file descriptor"), monkeypatch))
    assert code == 70
    assert err.startswith("kmworker: internal error: OSError\n")


def test_the_end_of_standard_input_where_an_answer_was_wanted_is_an_interruption(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ends_with(typer.Abort(), monkeypatch).exit_code == 130


WRONG_USAGE = {
    "a typo": (["pubilsh"], "no such command 'pubilsh'", "did you mean 'publish'?"),
    "nothing like it": (["frobnicate"], "no such command 'frobnicate'", "see kmworker --help"),
    "an option": (["watch", "--jso"], "no such option: --jso", "did you mean --json?"),
    "a global option": (["--frob"], "no such option: --frob", "see kmworker --help"),
    "a missing one": (
        ["waiting", "expire"],
        "missing option '--project'",
        "see kmworker waiting expire --help",
    ),
    "half a command": (["key"], "missing command", "see kmworker key --help"),
    "our own": (
        ["publish"],
        "name a TYPE with --project, or a --file",
        "see kmworker publish --help",
    ),
}


@pytest.mark.parametrize(("arguments", "message", "hint"), WRONG_USAGE.values(), ids=WRONG_USAGE)
def test_wrong_usage_is_a_message_and_a_hint(arguments: list[str], message: str, hint: str) -> None:
    assert said(run(*arguments)) == (2, "", f"kmworker: {message}\nhint: {hint}\n")


def test_a_value_of_the_wrong_kind_is_wrong_usage() -> None:
    err = failed(2, "watch", "--count", "many")
    assert err.startswith("kmworker: invalid value for '--count': ")
    assert err.endswith("\nhint: see kmworker watch --help\n")


@pytest.mark.parametrize("command", ["status", "publish volume-created --project p --set a=1"])
def test_who_has_configured_nothing_hears_of_all_in_one(folder: Path, command: str) -> None:
    del folder
    err = failed(2, *command.split(), *(["--no-check"] if "publish" in command else []))
    assert err.endswith("; or have all in one: kmworker up\n")


def test_a_configuration_that_is_not_there_is_wrong_usage() -> None:
    err = failed(2, "--config", "nowhere.toml", "status")
    assert err.startswith("kmworker: nowhere.toml: no such file\nhint: ")


def test_a_named_configuration_is_read() -> None:
    err = failed(2, "--config", "/dev/null", "status")
    assert err.startswith("kmworker: no store is configured\nhint: set store.url")


def test_without_servers_the_running_instance_is_used_and_said_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kmworker.settings.instance import Instance  # noqa: PLC0415

    instance = Instance(url="unix:///nowhere/valkey.sock", keyring="k", data_dir="/d", pid=1)
    monkeypatch.setattr("kmworker.cli.frame.access.running_instance", lambda _environ: instance)
    err = failed(3, "status")
    told = "kmworker: no broker or store is configured: using kmworker up in /d\n"
    assert err.startswith(told)


def test_an_explicit_store_wins_over_the_running_instance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kmworker.cli.frame.access.running_instance", pytest.fail)
    monkeypatch.setenv("KMWORKER_STORE__URL", "redis://127.0.0.1:1")
    assert "kmworker up" not in failed(3, "status")
