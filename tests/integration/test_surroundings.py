"""Where people run it: any folder, closed streams, other locales, nobody at home."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from kmworker.embedded.server import EmbeddedServer
from kmworker.store.bounds import unbounded
from kmworker.store.client import connect_to
from tests.kit.polling import until

NOTORIOUS = "a b#c@d?e%41fü鍵;g\"h\\i'j:k$l[m]n*"
# Everything but what is set up here: no home, no setting, no locale.
BARE = {
    name: value
    for name, value in os.environ.items()
    if name not in {"HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "TMPDIR"}
    and not name.startswith(("KMWORKER_", "LC_", "LANG"))
}
COMMAND = [sys.executable, "-m", "kmworker"]


def run(
    *arguments: str,
    cwd: Path,
    environ: Mapping[str, str] | None = None,
    closed: tuple[int, ...] = (),
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end, some of its streams closed."""
    closing = " ".join(f"{number}>&-" for number in closed)
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {closing}', "sh", *COMMAND, *arguments],
        cwd=cwd, env={**BARE, **(environ or {})}, stdin=subprocess.DEVNULL, capture_output=True,
        timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1"}], ids=str)
def test_the_demonstration_runs_in_any_folder_and_draws_its_tree_in_any_locale(
    tmp_path: Path, locale: dict[str, str]
) -> None:
    folder = tmp_path / NOTORIOUS
    folder.mkdir()
    done = run("demo", cwd=folder, environ={**locale, "TMPDIR": str(folder)})
    assert done.returncode == 0, done.stderr.decode()
    assert "├──" in done.stdout.decode()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_up_runs_in_any_folder_without_a_home_and_ends_in_order(
    tmp_path: Path, number: signal.Signals
) -> None:
    folder, runtime = tmp_path / NOTORIOUS, tmp_path / "run"
    runtime.mkdir(mode=0o700)
    environ = {**BARE, "XDG_RUNTIME_DIR": str(runtime)}
    command = [*COMMAND, "up", "--data-dir", str(folder)]
    # Whoever runs the tests may have it ignored (nohup), and that is inherited.
    before = signal.signal(number, signal.SIG_DFL)
    process = subprocess.Popen(command, env=environ, cwd=tmp_path, stderr=subprocess.DEVNULL)
    signal.signal(number, before)
    try:
        found: Callable[[], bool] = (runtime / "kmworker" / "up.json").exists
        until(found, "it is up")
        told = run("status", "--json", cwd=tmp_path, environ={"XDG_RUNTIME_DIR": str(runtime)})
        assert told.returncode == 0, told.stderr.decode()
        assert "workers" in json.loads(told.stdout)
    finally:
        process.send_signal(number)
    assert process.wait(60) == 0
    assert not found()


def test_a_folder_of_any_name_holds_a_server_that_answers(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / NOTORIOUS)
    try:
        server.start()
        with connect_to(server.url, 5.0) as client:
            assert unbounded(client) == []
            assert client.config_get("dir")["dir"] == str(tmp_path / NOTORIOUS)
    finally:
        server.stop()


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2), (0, 1, 2)], ids=str)
def test_closed_streams_get_nothing_and_hold_nothing_up(
    tmp_path: Path, closed: tuple[int, ...]
) -> None:
    keyring = tmp_path / "keyring.json"
    done = run("keyring", "init", "--path", str(keyring), cwd=tmp_path, closed=closed)
    assert done.returncode == 0
    assert json.loads(keyring.read_text())["version"] == 2
    assert run("worker", cwd=tmp_path, closed=closed).returncode == 2


def test_a_disk_that_takes_no_output_is_no_fault_of_the_program(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "schemas"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True,
            check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("kmworker: cannot write: No space left on device\nhint: ")
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("status",), 2, "no store is configured"),
        (("keyring", "status"), 2, "no such file"),
        (("up", "--data-dir", "data"), 2, "cannot use data"),
    ],
    ids=str,
)
def test_a_working_folder_that_was_deleted_is_one_without_settings(
    tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", f'cd {gone} && rmdir {gone} && exec "$@"', "sh", *COMMAND, *arguments],
        cwd=tmp_path, env=BARE, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert words in done.stderr


def test_a_settings_file_that_is_found_is_named_and_a_strangers_is_not_used(
    tmp_path: Path,
) -> None:
    file = tmp_path / "config" / "kmworker.toml"
    file.parent.mkdir()
    file.write_text("[log]\nlevel = 'info'\n")
    assert f"settings from {file}" in run("status", cwd=tmp_path).stderr.decode()
    file.chmod(0o666)
    assert f"not used: {file}" in run("status", cwd=tmp_path).stderr.decode()
    named = run("--config", str(file), "status", cwd=tmp_path).stderr.decode()
    assert "settings from" not in named
    assert "not used" not in named
