"""A removed KEK is in the keyring file or in its archive, whatever stops the move."""

import stat
from pathlib import Path

import pytest

from kmworker.crypto import Keyring
from kmworker.crypto.keyring_archive import archive_kek, move_archive, restore_kek
from kmworker.crypto.roots import open_root
from kmworker.crypto.roots.root import Root
from kmworker.errors import NotFound, SetupError
from kmworker.files import keyfile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keyring.json"
    Keyring.generate(path)
    Keyring.grow(path)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "keyring.archive.json"


@pytest.fixture
def root(tmp_path: Path) -> Root:
    words = tmp_path / "passphrase"
    words.write_text("correct horse battery staple\n")
    words.chmod(0o600)
    opened = open_root(f"file:?passphrase-file={words}")
    assert opened is not None
    return opened


def ids(path: Path, root: Root | None = None) -> set[str]:
    return set(Keyring.load(path, root).keks)


def oldest(path: Path) -> str:
    return next(iter(Keyring.load(path).keks))


def test_a_kek_goes_from_the_file_to_the_archive_and_back(path: Path, archive: Path) -> None:
    old, both = oldest(path), ids(path)
    before = Keyring.load(path).keks[old].export()
    archive_kek(path, archive, old)
    assert (ids(path), ids(archive)) == (both - {old}, {old})
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    restore_kek(path, archive, old)
    assert (ids(path), ids(archive)) == (both, {old})
    assert Keyring.load(path).keks[old].export() == before


def test_a_kek_put_back_is_not_the_newest(path: Path, archive: Path) -> None:
    old, newest = oldest(path), Keyring.load(path).newest
    archive_kek(path, archive, old)
    restore_kek(path, archive, old)
    assert Keyring.load(path).newest == newest != old


def test_the_archive_keeps_what_it_has(path: Path, archive: Path) -> None:
    first = oldest(path)
    Keyring.grow(path)
    archive_kek(path, archive, first)
    second = oldest(path)
    archive_kek(path, archive, second)
    assert ids(archive) == {first, second}


@pytest.mark.parametrize("at", [0, 1, 2])
def test_stopped_at_each_write_it_has_lost_nothing_and_is_run_again(
    path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    old, both = oldest(path), ids(path)
    writes = iter(range(at))

    def stopping(write: object) -> object:
        def stopped(*arguments: object) -> object:
            if next(writes, None) is None:
                raise KeyboardInterrupt
            return write(*arguments)  # type: ignore[operator]

        return stopped

    with monkeypatch.context() as patch:
        patch.setattr(keyfile, "create", stopping(keyfile.create))
        try:
            archive_kek(path, archive, old)
            assert at == 2  # one write for each file
        except KeyboardInterrupt:
            assert at < 2
    assert ids(path) | (ids(archive) if archive.exists() else set()) == both
    archive_kek(path, archive, old)
    archive_kek(path, archive, old)
    assert (ids(path), ids(archive)) == (both - {old}, {old})


def test_the_only_kek_is_not_taken_out(path: Path, archive: Path) -> None:
    archive_kek(path, archive, oldest(path))
    with pytest.raises(SetupError, match="is all it has"):
        archive_kek(path, archive, oldest(path))
    assert len(ids(path)) == 1


def test_an_archive_that_others_can_read_is_refused_before_the_file_loses_anything(
    path: Path, archive: Path
) -> None:
    first = oldest(path)
    Keyring.grow(path)
    archive_kek(path, archive, first)
    archive.chmod(0o644)
    before = ids(path)
    with pytest.raises(SetupError, match="open to group or others"):
        archive_kek(path, archive, oldest(path))
    assert ids(path) == before


def test_what_is_in_neither_is_said_with_where_it_may_be(path: Path, archive: Path) -> None:
    with pytest.raises(NotFound, match="no archive of removed KEKs"):
        restore_kek(path, archive, "f" * 16)
    archive_kek(path, archive, oldest(path))
    with pytest.raises(NotFound, match=f"has no KEK {'f' * 16}"):
        restore_kek(path, archive, "f" * 16)


def test_nothing_is_restored_into_a_keyring_file_that_is_not_there(
    path: Path, archive: Path
) -> None:
    old = oldest(path)
    archive_kek(path, archive, old)
    path.unlink()
    with pytest.raises(SetupError, match="no such file"):
        restore_kek(path, archive, old)
    assert not path.exists()


def test_the_archive_is_under_the_same_root_and_moves_with_it(
    path: Path, archive: Path, root: Root
) -> None:
    old = oldest(path)
    Keyring.move(path, None, root)
    archive_kek(path, archive, old, root)
    assert ids(archive, root) == {old}
    with pytest.raises(SetupError, match=r"keyring\.root names none"):
        Keyring.load(archive)
    move_archive(archive, root, None)
    assert ids(archive) == {old}
    # A run before this was stopped between archive and keyring file.
    move_archive(archive, root, None)
    assert ids(archive) == {old}


def test_an_archive_of_a_third_root_is_not_moved(path: Path, archive: Path, root: Root) -> None:
    archive_kek(path, archive, oldest(path))
    archive.chmod(0o644)
    with pytest.raises(SetupError, match="open to group or others"):
        move_archive(archive, None, root)


def test_no_archive_is_none_to_be_moved(archive: Path, root: Root) -> None:
    move_archive(archive, None, root)
    assert not archive.exists()
