"""How commands end: each kind of error has one exit code and one shape."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import Result

from kmworker.errors import (
    BrokerUnavailable,
    NotFound,
    PermanentError,
    Reason,
    ScriptFailed,
    SetupError,
    StoreUnavailable,
    UnknownKek,
)
from tests.kit.cli.stand import failed, run, said

EndsWith = Callable[[BaseException], Result]


@pytest.fixture
def ends_with(monkeypatch: pytest.MonkeyPatch) -> EndsWith:
    """Run a command that does nothing but raise."""

    def ends_with(error: BaseException) -> Result:
        def failing() -> None:
            secret = "the-dek"
            assert secret
            raise error

        monkeypatch.setattr("kmworker.cli.schemas.texts", failing)
        return run("schemas")

    return ends_with


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
    "a script's own fault": (ScriptFailed("no luck"), 1, "no luck", "kmworker doctor"),
    "no broker": (BrokerUnavailable("gone"), 3, "gone", "kmworker doctor"),
    "no store": (StoreUnavailable("gone"), 3, "gone", "kmworker doctor"),
}


@pytest.mark.parametrize(("error", "code", "message", "hint"), ENDINGS.values(), ids=ENDINGS)
def test_an_error_has_its_exit_code_a_message_and_a_hint(
    error: Exception, code: int, message: str, hint: str, ends_with: EndsWith
) -> None:
    result = ends_with(error)
    first, _, second = result.stderr.partition("\n")
    assert (result.exit_code, result.stdout, first) == (code, "", f"kmworker: {message}")
    assert second.startswith(f"hint: {hint}") if hint else second == ""


def test_a_fault_says_how_to_see_more_and_shows_none_of_its_text(ends_with: EndsWith) -> None:
    code, out, err = said(ends_with(ValueError("with the-dek in it")))
    assert (code, out) == (70, "")
    assert err.splitlines() == [
        "kmworker: internal error: ValueError",
        "hint: run it again with KMWORKER_LOG__LEVEL=debug for the traceback",
    ]


def test_a_fault_under_debug_has_a_traceback_without_local_variables(
    ends_with: EndsWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KMWORKER_LOG__LEVEL", "debug")
    code, out, err = said(ends_with(ZeroDivisionError()))
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


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (BrokenPipeError(), 141), (typer.Abort(), 130)],
    ids=["Ctrl-C", "a reader who leaves", "the end of input where an answer was wanted"],
)
def test_what_a_person_does_ends_a_command_quietly(
    ends_with: EndsWith, error: BaseException, code: int
) -> None:
    assert said(ends_with(error)) == (code, "", "")


def test_what_else_the_system_refuses_is_still_a_fault(ends_with: EndsWith) -> None:
    code, _, err = said(ends_with(OSError(errno.EBADF, "Bad file descriptor")))
    assert code == 70
    assert err.startswith("kmworker: internal error: OSError\n")


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


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [("nowhere.toml", "nowhere.toml: no such file", ""),
     ("/dev/null", "no store is configured", "set store.url")],
)  # fmt: skip
def test_a_named_configuration_is_read_and_has_to_be_there(
    config: str, message: str, hint: str
) -> None:
    err = failed(2, "--config", config, "status")
    assert err.startswith(f"kmworker: {message}\nhint: {hint}")


def test_without_servers_the_running_instance_is_used_and_said_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kmworker.settings.instance import Instance  # noqa: PLC0415

    instance = Instance(url="unix:///nowhere/valkey.sock", keyring="k", data_dir="/d", pid=1)
    monkeypatch.setattr("kmworker.cli.frame.configured.running_instance", lambda _environ: instance)
    err = failed(3, "status")
    assert err.startswith("kmworker: no broker or store is configured: using kmworker up in /d\n")


def test_an_explicit_store_wins_over_the_running_instance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kmworker.cli.frame.configured.running_instance", pytest.fail)
    assert "kmworker up" not in failed(3, "status", store__url="redis://127.0.0.1:1")
