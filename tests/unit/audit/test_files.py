"""The trail's files: whole lines or none, whatever ends the writing, and one auditor at a time."""

import errno
import os
from pathlib import Path

import pytest

from kmworker.audit.files import TrailFiles, lines_of, segments_of
from kmworker.audit.lines import read_line
from kmworker.audit.reading import Following, last_lines
from kmworker.audit.verification import verify
from kmworker.audit.writers import TrailPlace
from kmworker.crypto.audit_key import signature_holds
from kmworker.errors import NoRoom, SetupError
from tests.kit.trails import KEY, WRITER, body

NOW_S = 1_796_000_000.0


def opened(folder: Path) -> TrailFiles:
    files = TrailFiles(folder, KEY)
    files.open(NOW_S)
    return files


def write(files: TrailFiles, *numbers: int) -> None:
    files.append([("record", body(number), "worker") for number in numbers], NOW_S)
    for number in numbers:
        files.writers.note(WRITER, number, b"", TrailPlace(files.tip.number, NOW_S))


def lines(folder: Path) -> list[bytes]:
    return [line for path in segments_of(folder) for line in lines_of(path)]


def is_good(folder: Path, number: int) -> bool:
    found = verify(lines(folder), (), signature_holds, key=KEY.public, from_start=True)
    return found.is_good and found.tip.number == number


def test_it_goes_on_where_it_ended(tmp_path: Path) -> None:
    first = opened(tmp_path / "trail")
    write(first, 1, 2)
    first.close()
    second = opened(tmp_path / "trail")
    assert (second.tip, second.trail, second.unsigned) == (first.tip, first.trail, 3)
    write(second, 3)
    second.checkpoint(NOW_S)
    second.close()
    third = opened(tmp_path / "trail")
    assert third.unsigned == 0
    assert is_good(tmp_path / "trail", 5)


def test_its_group_may_read_the_files_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        opened(tmp_path / "trail")
    finally:
        os.umask(before)
    (path,) = segments_of(tmp_path / "trail")
    assert path.stat().st_mode & 0o777 == 0o640


def test_the_folder_is_its_users_alone(tmp_path: Path) -> None:
    opened(tmp_path / "trail")
    assert (tmp_path / "trail").stat().st_mode & 0o777 == 0o700


def test_a_second_auditor_is_refused(tmp_path: Path) -> None:
    files = opened(tmp_path / "trail")
    with pytest.raises(SetupError, match="another auditor writes to"):
        opened(tmp_path / "trail")
    files.close()
    opened(tmp_path / "trail")


@pytest.mark.parametrize("left", range(1, 900, 97))
def test_a_torn_end_is_cut_off_and_all_before_it_stays(tmp_path: Path, left: int) -> None:
    files = opened(tmp_path / "trail")
    write(files, 1)
    tip = files.tip
    (path,) = segments_of(tmp_path / "trail")
    whole = path.stat().st_size
    write(files, 2)
    files.close()
    os.truncate(path, min(whole + left, path.stat().st_size - 1))
    again = opened(tmp_path / "trail")
    assert again.tip == tip
    write(again, 2)
    assert is_good(tmp_path / "trail", 3)


@pytest.mark.parametrize("number", [0, 1])
def test_a_file_that_was_just_begun_is_begun_again(tmp_path: Path, number: int) -> None:
    files = opened(tmp_path / "trail")
    if number:
        write(files, 1)
        files.begin_segment(NOW_S)
    last = segments_of(tmp_path / "trail")[-1]
    files.close()
    os.truncate(last, 20)
    again = opened(tmp_path / "trail")
    write(again, 2)
    assert is_good(tmp_path / "trail", 2 + number)


def test_a_damaged_line_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    files = opened(tmp_path / "trail")
    write(files, 1, 2)
    files.close()
    (path,) = segments_of(tmp_path / "trail")
    spoilt = path.read_bytes().replace(b"compute-17", b"compute-18", 1)
    path.write_bytes(spoilt)
    with pytest.raises(SetupError, match="line 2 is not what an auditor wrote") as refused:
        opened(tmp_path / "trail")
    assert "audit verify" in refused.value.hint
    assert path.read_bytes() == spoilt


def test_a_line_of_another_place_is_refused(tmp_path: Path) -> None:
    files = opened(tmp_path / "trail")
    write(files, 1, 2)
    files.close()
    (path,) = segments_of(tmp_path / "trail")
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + third + second)
    with pytest.raises(SetupError, match="does not follow the line before"):
        opened(tmp_path / "trail")


def test_a_new_file_knows_which_records_there_were(tmp_path: Path) -> None:
    files = opened(tmp_path / "trail")
    write(files, 1, 2, 5)
    files.begin_segment(NOW_S)
    files.close()
    again = opened(tmp_path / "trail")
    assert again.writers.as_fields() == {WRITER: [5, [3, 4, 4, NOW_S]]}
    assert len(segments_of(tmp_path / "trail")) == 2
    assert is_good(tmp_path / "trail", 5)


class FullDisk:
    """A disk that takes so many bytes more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int, number: int) -> None:
        """Take effect at once."""
        self.room = room
        write_ = os.write

        def limited(descriptor: int, data: bytes) -> int:
            if not self.room:
                raise OSError(number, os.strerror(number))
            written = write_(descriptor, data[: self.room])
            self.room -= written
            return written

        monkeypatch.setattr("kmworker.audit.files.os.write", limited)


@pytest.mark.parametrize("room", [0, 1, 700, 1500])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_takes_all_lines_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, number: int
) -> None:
    files = opened(tmp_path / "trail")
    write(files, 1)
    before, tip = lines(tmp_path / "trail"), files.tip
    disk = FullDisk(monkeypatch, room, number)
    for _ in range(2):
        with pytest.raises(NoRoom):
            files.append([("record", body(it), None) for it in range(2, 9)], NOW_S)
        assert (lines(tmp_path / "trail"), files.tip) == (before, tip)
        disk.room = room
    disk.room = 10**9
    write(files, 2, 3)
    assert is_good(tmp_path / "trail", 4)


def test_a_full_disk_begins_no_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = opened(tmp_path / "trail")
    write(files, 1)
    disk = FullDisk(monkeypatch, 10, errno.ENOSPC)
    with pytest.raises(NoRoom):
        files.begin_segment(NOW_S)
    assert len(segments_of(tmp_path / "trail")) == 1
    disk.room = 10**9
    write(files, 2)
    assert is_good(tmp_path / "trail", 3)


def test_what_a_failed_sync_was_of_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second sync of the same pages may say that all is well when they are gone."""
    files = opened(tmp_path / "trail")
    before = lines(tmp_path / "trail")

    def fails(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no room after all")

    with monkeypatch.context() as patched:
        patched.setattr("kmworker.audit.files.os.fdatasync", fails)
        with pytest.raises(NoRoom):
            write(files, 1)
    assert lines(tmp_path / "trail") == before
    write(files, 1)
    assert is_good(tmp_path / "trail", 2)


def test_a_disk_that_fails_is_no_full_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = opened(tmp_path / "trail")
    FullDisk(monkeypatch, 0, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        write(files, 1)


def test_lines_are_on_disk_when_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    for name in ("write", "fdatasync"):
        real = getattr(os, name)

        def noted(*given: object, name: str = name, real: object = real) -> object:
            happened.append(name)
            return real(*given)  # type: ignore[operator]  # a function of os

        monkeypatch.setattr(f"kmworker.audit.files.os.{name}", noted)
    files = opened(tmp_path / "trail")
    happened.clear()
    write(files, 1, 2, 3)
    assert happened == ["write", "fdatasync"]


def test_whoever_follows_sees_each_line_once_over_files(tmp_path: Path) -> None:
    files = opened(tmp_path / "trail")
    write(files, 1)
    following = Following(tmp_path / "trail")
    assert list(following.more()) == []
    write(files, 2)
    files.begin_segment(NOW_S)
    write(files, 3)
    assert [read_line(it).number for it in following.more()] == [3, 4, 5]
    assert list(following.more()) == []
    segments = segments_of(tmp_path / "trail")
    assert [read_line(it).number for it in last_lines(segments, 4)] == [2, 3, 4, 5]
    assert last_lines(segments, 0) == []
