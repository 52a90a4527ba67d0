"""The embedded mode's audit trail: what it has taken is on disk, and what it has not is not."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from kmworker.audit.files import TrailFiles, lines_of, segments_of
from kmworker.audit.lines import read_line
from kmworker.audit.verification import verify
from kmworker.crypto.audit_key import AuditKey, signature_holds
from kmworker.domain.audit import Act, Actor, ActorKind, AuditRecord
from kmworker.embedded.audit_stream import StreamAuditTrail
from kmworker.embedded.file_trail import FileAuditTrail
from kmworker.errors import BrokerUnavailable, NotRecorded
from kmworker.settings import AuditSettings
from tests.kit.simulator.clock import SettableClock

AT = "2026-11-30T16:00:00.000Z"
DAY_S = 86_400.0
RECORD = AuditRecord(Act.KEY_DELIVERED, Actor(ActorKind.CLIENT, "blk-1"), AT, item="volume:v1")

Make = Callable[[], FileAuditTrail]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def make(tmp_path: Path, directory: Path, clock: SettableClock) -> Iterator[Make]:
    """What makes a trail as a key server has it; all are closed at the end."""
    key = AuditKey.generate(tmp_path / "audit-key.json")
    made: list[FileAuditTrail] = []

    def make() -> FileAuditTrail:
        settings = AuditSettings(directory=directory)
        made.append(FileAuditTrail(lambda: TrailFiles(directory, key), clock, settings, "/km"))
        return made[-1]

    yield make
    for trail in made:
        trail.close()


def kinds(directory: Path) -> list[str]:
    return [read_line(text).kind for path in segments_of(directory) for text in lines_of(path)]


def checked(directory: Path) -> Any:
    """What `kmworker audit verify` finds."""
    texts = (text for path in segments_of(directory) for text in lines_of(path))
    return verify(texts, [], signature_holds, key=None, from_start=True)


def test_what_is_recorded_is_in_the_trail_when_it_says_so(make: Make, directory: Path) -> None:
    trail = make()
    trail.record([RECORD, RECORD]).result()
    assert kinds(directory) == ["segment", "record", "record"]
    trail.record([RECORD]).result()
    found = checked(directory)
    assert (found.is_good, found.records) == (True, 3)


def test_a_disk_that_fails_takes_no_number(
    make: Make, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = make()
    trail.record([RECORD])

    def failing(_descriptor: int) -> NoReturn:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing)
        with pytest.raises(NotRecorded, match="Input/output error"):
            trail.record([RECORD, RECORD])
    trail.record([RECORD])
    found = checked(directory)
    assert (found.is_good, found.records, found.missing, found.awaited) == (True, 2, [], [])


def test_while_another_key_server_has_the_files_nothing_is_recorded(make: Make) -> None:
    other, trail = make(), make()
    other.record([RECORD])
    with pytest.raises(NotRecorded, match="another auditor writes"):
        trail.record([RECORD])
    other.close()
    trail.record([RECORD])


def test_it_goes_on_where_the_one_before_has_ended(make: Make, directory: Path) -> None:
    for _ in range(2):
        trail = make()
        trail.record([RECORD])
        trail.close()
    assert kinds(directory) == ["segment", "record", "checkpoint", "record", "checkpoint"]
    assert checked(directory).is_good


def test_it_signs_what_is_old(make: Make, directory: Path, clock: SettableClock) -> None:
    trail = make()
    trail.tick()
    trail.record([RECORD])
    trail.tick()
    assert "checkpoint" not in kinds(directory)
    clock.advance(AuditSettings().checkpoint_s)
    trail.tick()
    trail.tick()
    assert kinds(directory) == ["segment", "record", "checkpoint"]


def test_a_day_begins_a_file_and_the_one_before_ends_signed(
    make: Make, directory: Path, clock: SettableClock
) -> None:
    trail = make()
    trail.record([RECORD])
    clock.advance(DAY_S)
    trail.record([RECORD])
    assert len(segments_of(directory)) == 2
    assert kinds(directory) == ["segment", "record", "checkpoint", "segment", "record"]
    assert checked(directory).is_good
    head = read_line(next(lines_of(segments_of(directory)[1])))
    segment: Any = head.fields["segment"]
    assert segment["writers"] == {trail.writer: [1]}


# --- what other processes record ------------------------------------------------------


class Stream:
    """Records on their way, in memory."""

    def __init__(self) -> None:
        self.left: dict[bytes, bytes] = {}
        self.is_away = False
        self.keeps = False
        """Whether what is dropped stays, as where a key server ends in between."""

    def put(self, bodies: Sequence[bytes]) -> bool:
        if self.is_away:
            raise BrokerUnavailable("gone")
        self.left |= {b"%d" % (len(self.left) + at): body for at, body in enumerate(bodies)}
        return True

    def waiting(self) -> list[tuple[bytes, bytes]]:
        if self.is_away:
            raise BrokerUnavailable("gone")
        return list(self.left.items())

    def drop(self, names: Sequence[bytes]) -> None:
        if self.keeps:
            raise BrokerUnavailable("gone")
        for name in names:
            del self.left[name]

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def taking(directory: Path, tmp_path: Path, clock: SettableClock, stream: Any) -> Iterator[Make]:
    """What makes a key server's trail that takes over what others record."""
    key = AuditKey.generate(tmp_path / "taking-key.json")
    made: list[FileAuditTrail] = []

    def make() -> FileAuditTrail:
        settings = AuditSettings(directory=directory)
        files = lambda: TrailFiles(directory, key)  # noqa: E731  # as above
        made.append(FileAuditTrail(files, clock, settings, "/km", stream))
        return made[-1]

    yield make
    for trail in made:
        trail.close()


def test_what_others_record_is_taken_over(taking: Make, directory: Path, stream: Any) -> None:
    others, trail = StreamAuditTrail(stream, "operator", "/km"), taking()
    others.record([RECORD, RECORD]).result()
    trail.record([RECORD]).result()
    trail.tick()
    assert kinds(directory) == ["segment", "record", "record", "record"]
    assert stream.left == {}
    found = checked(directory)
    assert (found.is_good, found.records, found.missing) == (True, 3, [])


def test_what_was_taken_over_and_not_dropped_is_there_once(
    taking: Make, directory: Path, stream: Any, clock: SettableClock
) -> None:
    others, trail = StreamAuditTrail(stream, "operator", "/km"), taking()
    others.record([RECORD]).result()
    stream.keeps = True
    trail.tick()
    trail.close()
    stream.keeps = False
    again = taking()
    clock.sleep(1)
    again.tick()
    assert kinds(directory).count("record") == 1
    assert stream.left == {}


def test_a_full_disk_leaves_others_records_where_they_are(
    taking: Make, stream: Any, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    others, trail = StreamAuditTrail(stream, "operator", "/km"), taking()
    others.record([RECORD]).result()

    def failing(_descriptor: int) -> NoReturn:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        patch.setattr(os, "fdatasync", failing)
        trail.tick()
    assert len(stream.left) == 1
    clock.sleep(1)
    trail.tick()
    assert stream.left == {}


def test_what_is_no_record_is_not_taken_over(taking: Make, directory: Path, stream: Any) -> None:
    stream.left[b"1"] = b"{}"
    taking().tick()
    assert stream.left == {}
    assert "record" not in kinds(directory)


def test_a_stream_that_is_away_is_asked_again(
    taking: Make, directory: Path, stream: Any, clock: SettableClock
) -> None:
    others, trail = StreamAuditTrail(stream, "operator", "/km"), taking()
    others.record([RECORD]).result()
    stream.is_away = True
    first = others.writer
    with pytest.raises(NotRecorded):
        others.record([RECORD])
    # Nobody knows whether it is there, so no other record gets its number.
    assert others.writer != first
    trail.tick()
    stream.is_away = False
    clock.sleep(1)
    trail.tick()
    assert kinds(directory).count("record") == 1
