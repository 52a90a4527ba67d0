"""Keyrings as platforms hand them over: each layout as it is built there, read as another user.

As root the layouts are real and a child becomes the worker's user. Everybody can pretend: then
the system's answers about owners and about ourselves are replaced, and nothing else.
"""

import errno
import os
import shutil
import stat
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from kmworker.errors import SetupError
from kmworker.files import keyfile

CONTENT = b"a keyring"
USER, GROUP, FS_GROUP, STRANGER = 54_321, 54_322, 54_323, 54_324
ROOT = 0

Read = Callable[[Path], bytes | str]


class Platform:
    """Builds layouts of folders, files and links that belong to others."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, is_real: bool) -> None:
        self.folder = folder
        self._is_real = is_real
        self._owners: dict[int, tuple[int, int]] = {}
        self._groups = [GROUP]
        if not is_real:
            real = os.fstat
            monkeypatch.setattr(os, "fstat", lambda descriptor: self._pretended(real(descriptor)))

    def own(self, path: Path, user: int, group: int) -> Path:
        """Give something away, a link itself where it is one."""
        if self._is_real:
            os.chown(path, user, group, follow_symlinks=False)
        self._owners[path.lstat().st_ino] = (user, group)
        return path

    def directory(self, name: str, mode: int, user: int = ROOT, group: int = ROOT) -> Path:
        path = self.folder / name
        path.mkdir()
        return self._given(path, mode, user, group)

    def file(self, name: str, mode: int, user: int = ROOT, group: int = ROOT) -> Path:
        path = self.folder / name
        path.write_bytes(CONTENT)
        return self._given(path, mode, user, group)

    def _given(self, path: Path, mode: int, user: int, group: int) -> Path:
        self.own(path, user, group).chmod(mode)
        return path

    def link(self, name: str, target: str, user: int = ROOT, group: int = ROOT) -> Path:
        path = self.folder / name
        path.symlink_to(target)
        return self.own(path, user, group)

    def join(self, group: int) -> None:
        """Make the worker's user a member of a group."""
        self._groups.append(group)

    def read(self, path: Path, user: int = USER) -> bytes | str:
        """Return what the worker's user reads, or why nothing."""
        if self._is_real:
            return _in_child(lambda: self._become(user), path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "geteuid", lambda: user)
            patch.setattr(os, "getegid", lambda: GROUP)
            patch.setattr(os, "getgroups", lambda: list(self._groups))
            return _read(path)

    def allow(self, path: Path, user: int) -> None:
        """Let a user read by an ACL: the group's bits show its mask from then on."""
        acl = [(1, 4, -1), (2, 4, user), (4, 0, -1), (16, 4, -1), (32, 0, -1)]
        packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in acl)
        try:
            os.setxattr(path, "system.posix_acl_access", packed)
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
            # A file system without ACLs: the bits are the same, and root's group may read.
            path.chmod(0o440)
            self.join(ROOT)
        assert stat.S_IMODE(path.stat().st_mode) == 0o440

    def _become(self, user: int) -> None:
        os.setgroups(self._groups)
        os.setgid(GROUP)
        os.setuid(user)

    def _pretended(self, status: os.stat_result) -> os.stat_result:
        fields = list(status)
        fields[stat.ST_UID], fields[stat.ST_GID] = self._owners.get(status.st_ino, (ROOT, ROOT))
        return os.stat_result(fields)


def _read(path: Path) -> bytes | str:
    try:
        return keyfile.read(path)
    except SetupError as error:
        return str(error)


def _in_child(become: Callable[[], None], path: Path) -> bytes | str:
    out, inwards = os.pipe()
    child = os.fork()
    if not child:
        try:
            become()
            found = _read(path)
            os.write(inwards, b"b" + found if isinstance(found, bytes) else b"s" + found.encode())
        finally:
            os._exit(0)
    os.close(inwards)
    with os.fdopen(out, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told[1:] if told.startswith(b"b") else told[1:].decode()


@pytest.fixture(params=["real", "pretended"] if os.geteuid() == ROOT else ["pretended"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    # The tests' own folders are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="kmworker-platform-"))
    folder.chmod(0o755)
    yield Platform(folder, monkeypatch, is_real=request.param == "real")
    shutil.rmtree(folder)


def kubernetes(platform: Platform, mode: int, group: int = FS_GROUP) -> Path:
    """A volume of secrets: kubelet's AtomicWriter, `fsGroup`, `defaultMode`."""
    platform.directory("secret", 0o3777, group=group)
    platform.directory("secret/..2026_11_28_12_00_00.123", 0o2755, group=group)
    platform.file("secret/..2026_11_28_12_00_00.123/keyring.json", mode, group=group)
    platform.link("secret/..data", "..2026_11_28_12_00_00.123")
    return platform.link("secret/keyring.json", "..data/keyring.json")


def test_a_kubernetes_secret_is_taken_by_its_fs_group(platform: Platform) -> None:
    platform.join(FS_GROUP)
    assert platform.read(kubernetes(platform, 0o440)) == CONTENT


def test_a_kubernetes_secret_is_taken_by_root(platform: Platform) -> None:
    assert platform.read(kubernetes(platform, 0o400, group=ROOT), user=ROOT) == CONTENT


def test_a_kubernetes_secret_of_the_default_mode_is_open_to_others(platform: Platform) -> None:
    platform.join(FS_GROUP)
    assert str(platform.read(kubernetes(platform, 0o644))).endswith("open to group or others")


def test_a_credential_of_systemd_is_taken(platform: Platform) -> None:
    platform.directory("kmworker.service", 0o500, user=USER, group=GROUP)
    path = platform.file("kmworker.service/keyring.json", 0o400)
    platform.allow(path, USER)
    assert platform.read(path) == CONTENT


def test_a_swarm_secret_is_taken_with_a_mode_and_refused_without(platform: Platform) -> None:
    path = platform.file("keyring.json", 0o444)
    assert str(platform.read(path)).endswith("open to group or others")
    own = platform.file("own.json", 0o400, user=USER, group=GROUP)
    assert platform.read(own) == CONTENT


@pytest.mark.parametrize("mode", [0o460, 0o450, 0o660, 0o444, 0o442, 0o441, 0o404], ids=oct)
def test_nothing_but_reading_is_handed_over_and_to_nobody_else(
    platform: Platform, mode: int
) -> None:
    platform.join(FS_GROUP)
    path = platform.file("keyring.json", mode, group=FS_GROUP)
    assert str(platform.read(path, user=ROOT)).endswith("open to group or others")


def test_a_group_that_is_neither_ours_nor_roots_was_not_chosen_for_us(platform: Platform) -> None:
    path = platform.file("keyring.json", 0o440, group=FS_GROUP)
    assert str(platform.read(path, user=ROOT)).endswith("open to group or others")


def test_a_file_of_our_own_is_closed_to_our_group_too(platform: Platform) -> None:
    path = platform.file("keyring.json", 0o440, user=USER, group=GROUP)
    assert str(platform.read(path)).endswith("open to group or others")


@pytest.mark.parametrize("links", [["keyring.json"], ["..data"], ["..data", "keyring.json"]])
def test_each_link_on_the_way_is_roots_or_ours(platform: Platform, links: Sequence[str]) -> None:
    platform.join(FS_GROUP)
    path = kubernetes(platform, 0o440)
    for name in links:
        platform.own(path.with_name(name), USER, GROUP)
    assert platform.read(path) == CONTENT
    platform.own(path.with_name(links[0]), STRANGER, STRANGER)
    told = str(platform.read(path))
    assert told.endswith(f"a symbolic link on the way to it belongs to another user: {links[0]}")


def test_a_link_that_leads_by_anothers_folder_is_judged_there_too(platform: Platform) -> None:
    platform.directory("theirs", 0o755, user=STRANGER)
    platform.file("good.json", 0o400, user=USER)
    platform.link("theirs/next", "../good.json", user=STRANGER)
    absolute = platform.link("keyring.json", f"{platform.folder}/theirs/next", user=USER)
    assert str(platform.read(absolute)).endswith("belongs to another user: next")


def test_a_strangers_file_behind_a_good_link_is_refused(platform: Platform) -> None:
    platform.file("theirs.json", 0o444, user=STRANGER)
    path = platform.link("keyring.json", "theirs.json", user=USER)
    assert str(platform.read(path)).endswith("belongs to another user")
