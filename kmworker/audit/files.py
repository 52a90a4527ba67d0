"""The trail's files: lines are added, on disk before anyone is told, and nothing is taken away.

A file's name is the number of its first line, so that their order is that of the names. What is
torn by a crash is the end of the last file: it was not acknowledged, so it is cut off and comes
again.
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, Final

from kmworker.audit.checkpoints import Checkpoint, Signer, sign
from kmworker.audit.lines import GENESIS, Line, append, content_of, read_line
from kmworker.audit.records import identity_in
from kmworker.audit.writers import TrailPlace, Writers
from kmworker.clock import rfc3339, unix_s
from kmworker.errors import NoRoom, SetupError

__all__ = ["TrailFiles", "lines_of", "segments_of"]

DIRECTORY_MODE: Final = 0o700
# Closed by the directory: whoever may read is let in there, for instance as its group.
FILE_MODE: Final = 0o640
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
NAME: Final = "audit-{:019}.jsonl"
PATTERN: Final = "audit-*.jsonl"
HINT: Final = (
    "kmworker audit verify names the line; keep the files as they are, and set audit.directory to"
    " a new one: docs/audit.md"
)


def segments_of(directory: Path) -> list[Path]:
    """Return a trail's files in their order."""
    return sorted(directory.glob(PATTERN))


def lines_of(path: Path) -> Iterator[bytes]:
    """Give a file's lines without their breaks; what has none at the end is one, too."""
    with path.open("rb") as file:
        for text in file:
            yield text.removesuffix(b"\n")


class TrailFiles:
    """A trail that is written to; nobody else writes meanwhile.

    Attributes:
        tip: the last line that is on disk.
        trail: the trail's own number.
        writers: which records there are.
        unsigned: how many lines came after the last checkpoint.
    """

    def __init__(self, directory: Path, signer: Signer) -> None:
        self.tip = GENESIS
        self.trail = ""
        self.writers = Writers()
        self.unsigned = 0
        self._directory = directory
        self._signer = signer
        self._lock: int | None = None
        self._file: int | None = None
        self._segment = ""
        self._size = 0
        self._began_at_s = 0.0

    @property
    def segment(self) -> str:
        """Return the name of the file that is written to."""
        return self._segment

    @property
    def size_bytes(self) -> int:
        """Return how large it is."""
        return self._size

    @property
    def began_at_s(self) -> float:
        """Return when it was begun, Unix seconds."""
        return self._began_at_s

    def open(self, now_s: float) -> None:
        """Take the directory, and go on where it ends.

        Raises:
            SetupError: another auditor has it, or its last lines are not what an auditor wrote.
            NoRoom: a new trail has no room to begin.
        """
        self._take_directory()
        try:
            self._go_on_or_begin(now_s)
        except BaseException:
            self.close()
            raise

    def _go_on_or_begin(self, now_s: float) -> None:
        segments = segments_of(self._directory)
        # One that was begun just before a crash may hold nothing yet.
        while len(segments) > 1 and not self._cut(segments[-1]):
            segments.pop().unlink()
        if segments and self._cut(segments[-1]):
            self._go_on(segments[-1])
            return
        for empty in segments:
            empty.unlink()
        self.trail = token_hex(16)
        self.begin_segment(now_s)

    def append(self, contents: Sequence[tuple[str, bytes, str | None]], now_s: float) -> None:
        """Add lines (kind, body, user), on disk when this returns; all of them or none.

        Raises:
            NoRoom: the disk is full; all is as it was.
            OSError: the disk fails.
        """
        assert self._file is not None  # noqa: S101  # opened before
        tip, at, lines = self.tip, rfc3339(now_s), []
        for kind, body, user in contents:
            line, tip = append(tip, content_of(tip.number + 1, at, kind, body, user))
            lines.append(line + b"\n")
        self._write(b"".join(lines))
        self.tip = tip
        self.unsigned += len(lines)

    def checkpoint(self, now_s: float) -> Checkpoint:
        """Sign what is there, and add that as a line.

        Raises:
            NoRoom: as `append` does.
            OSError: as `append` does.
        """
        signed = sign(self._signer, self.trail, self._segment, self.tip, rfc3339(now_s))
        self.append([("checkpoint", signed.body, None)], now_s)
        self.unsigned = 0
        return signed

    def begin_segment(self, now_s: float) -> None:
        """Go on in a new file.

        Raises:
            NoRoom: as `append` does; it goes on in the one before.
            OSError: as `append` does.
        """
        path = self._directory / NAME.format(self.tip.number + 1)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        before = self._file, self._segment, self._size, self._began_at_s
        said = {
            "trail": self.trail, "key": self._signer.public, "writers": self.writers.as_fields()
        }  # fmt: skip
        try:
            self._file = os.open(path, flags, FILE_MODE)
            # Whatever the umask: its readers are a group.
            os.fchmod(self._file, FILE_MODE)
            self._segment, self._size, self._began_at_s = path.name, 0, now_s
            body = json.dumps(said, separators=(",", ":")).encode()
            self.append([("segment", body, None)], now_s)
            os.fsync(self._directory_lock)
        except (OSError, NoRoom) as error:
            if self._file is not None and self._file != before[0]:
                os.close(self._file)
                path.unlink(missing_ok=True)
            self._file, self._segment, self._size, self._began_at_s = before
            raise _room_or(error) from error
        if before[0] is not None:
            os.close(before[0])

    def close(self) -> None:
        """Let others have the directory."""
        for descriptor in (self._file, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._lock = None

    # --- the beginning -----------------------------------------------------------------

    @property
    def _directory_lock(self) -> int:
        assert self._lock is not None  # noqa: S101  # taken before
        return self._lock

    def _take_directory(self) -> None:
        try:
            self._directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            self._lock = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            said = f"audit.directory {self._directory}: {error.strerror}"
            raise SetupError(said, "make its parent, and give it to this user") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            said = f"another auditor writes to {self._directory}"
            raise SetupError(said, "stop it, or set audit.directory to another one") from None

    def _cut(self, path: Path) -> int:
        """Cut off what a crash has left without an end; return how much is left."""
        with path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            # Nothing was acknowledged behind the last line break.
            left = end - len(_behind_last_break(file, end))
            if left != end:
                file.truncate(left)
                os.fsync(file.fileno())
        return left

    def _go_on(self, path: Path) -> None:
        """Read the last file: it says where the chain ends, and which records there are."""
        first: Line | None = None
        for text in lines_of(path):
            try:
                line = read_line(text)
            except ValueError as broken:
                raise self._damaged(path, self.tip.number + 1, str(broken)) from None
            if first is None:
                first = line
                self._begin_from(path, line)
            elif (line.number, line.previous) != (self.tip.number + 1, self.tip.digest):
                raise self._damaged(path, line.number, "it does not follow the line before")
            self.tip = line.tip
            self._recall(line)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._segment, self._size = path.name, path.stat().st_size

    def _begin_from(self, path: Path, line: Line) -> None:
        fields = line.fields.get("segment")
        try:
            self.trail = fields["trail"]  # type: ignore[index]  # as any other fault
            self.writers.restore(fields["writers"])  # type: ignore[index]
            self._began_at_s = unix_s(line.at)
        except (KeyError, TypeError, ValueError):
            raise self._damaged(path, line.number, "it does not begin a file") from None

    def _recall(self, line: Line) -> None:
        self.unsigned = 0 if line.kind == "checkpoint" else self.unsigned + 1
        if (
            line.kind == "record"
            and (known := identity_in(line.fields["record"], line.body)) is not None
        ):
            with suppress(ValueError):
                self.writers.note(*known, TrailPlace(line.number, unix_s(line.at)))

    def _damaged(self, path: Path, number: int, why: str) -> SetupError:
        return SetupError(f"{path}: line {number} is not what an auditor wrote: {why}", HINT)

    # --- writing -----------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        assert self._file is not None  # noqa: S101  # opened before
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
            os.fdatasync(self._file)
        except OSError as error:
            # Also after a sync that failed: what it was of may be gone from the cache, and the next
            # sync would say that all is well. So it is written anew.
            os.ftruncate(self._file, self._size)
            raise _room_or(error) from error
        self._size += len(data)


def _room_or(error: OSError | NoRoom) -> OSError | NoRoom:
    """Tell a full disk from one that fails."""
    if isinstance(error, OSError) and error.errno in FULL:
        return NoRoom(f"the disk of the audit trail has no room: {error.strerror}")
    return error


def _behind_last_break(file: BinaryIO, end: int) -> bytes:
    """Return what stands behind the last line break."""
    step, kept = 65_536, b""
    at = end
    while at:
        size = min(step, at)
        at -= size
        file.seek(at)
        kept = file.read(size) + kept
        _before, broken, behind = kept.rpartition(b"\n")
        if broken:
            return behind
    return kept
