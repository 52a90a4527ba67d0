"""Reading a trail while an auditor writes it: whole lines, in their order, over all its files."""

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from kmworker.audit.files import segments_of

__all__ = ["Following", "last_lines", "size_of", "whole_lines"]


def whole_lines(paths: Sequence[Path]) -> Iterator[bytes]:
    """Give the lines of some files without their breaks; what is being written is left out."""
    for path in paths:
        with path.open("rb") as file:
            yield from _whole(file)


def last_lines(paths: Sequence[Path], number: int) -> list[bytes]:
    """Return the last lines of a trail, at most so many."""
    found: deque[bytes] = deque()
    for path in reversed(paths):
        missing = number - len(found)
        if missing <= 0:
            break
        found.extendleft(reversed(deque(whole_lines([path]), maxlen=missing)))
    return list(found)


def size_of(paths: Sequence[Path]) -> int:
    """Return how many bytes files have."""
    return sum(path.stat().st_size for path in paths)


class Following:
    """Gives what is added to a trail from now on, file by file."""

    def __init__(self, directory: Path) -> None:
        """Begin at the end of what is there."""
        self._directory = directory
        segments = segments_of(directory)
        self._path = segments[-1] if segments else None
        self._at = _end_of_lines(self._path) if self._path else 0

    def more(self) -> Iterator[bytes]:
        """Give the lines that have been added since the last call."""
        while True:
            if self._path is not None:
                with self._path.open("rb") as file:
                    file.seek(self._at)
                    for text in _whole(file):
                        self._at += len(text) + 1
                        yield text
            after = [it for it in segments_of(self._directory) if not self._is_behind(it)]
            if not after:
                return
            self._path, self._at = after[0], 0

    def _is_behind(self, path: Path) -> bool:
        return self._path is not None and path <= self._path


def _whole(file: BinaryIO) -> Iterator[bytes]:
    for text in file:
        if text.endswith(b"\n"):
            yield text[:-1]


def _end_of_lines(path: Path) -> int:
    return sum(len(text) + 1 for text in whole_lines([path]))
