"""Slices of what is counted, so that memory is bounded, whatever a project's size."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final
from zlib import crc32

__all__ = ["SLICE_RECORDS", "passes_over", "slices"]

SLICE_RECORDS: Final = 250_000
"""About 100 MB."""


def passes_over(records: int) -> int:
    """Return in how many slices so many records are counted."""
    return max(1, -(-records // SLICE_RECORDS))


def slices(records: int) -> Iterator[Callable[[bytes], bool]]:
    """Give for each slice what says of a name whether it is in it."""
    number = passes_over(records)
    for each in range(number):
        yield partial(_is_in, each, number)


def _is_in(number: int, slices: int, name: bytes) -> bool:
    return slices == 1 or crc32(name) % slices == number
