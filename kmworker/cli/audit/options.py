"""What the commands on the trail have in common: which records, and where they are."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from kmworker.audit.files import segments_of
from kmworker.audit.reading import size_of
from kmworker.errors import NotFound, SetupError

__all__ = ["ClientOption", "KeyIdOption", "OfWhatOption", "by_pages", "pages", "segments_at"]

PAGE_BYTES: Final = 4096
"""What progress is counted in: some lines."""

ClientOption = Annotated[
    str | None, typer.Option("--client", metavar="NAME", help="Only of this client.")
]
KeyIdOption = Annotated[
    str | None, typer.Option("--key-id", metavar="ID", help="Only of this key-id.")
]
OfWhatOption = Annotated[
    str | None, typer.Option("--what", metavar="ACT", help="Only these, as key-delivered.")
]


def segments_at(directory: Path) -> list[Path]:
    """Return the files of the trail in a directory.

    Raises:
        NotFound: there is none.
        SetupError: this user may not look.
    """
    try:
        found = segments_of(directory)
        # Where nothing may be seen, nothing is found: so it is asked for.
        directory.stat()
        next(iter(directory.iterdir()), None)
    except FileNotFoundError:
        found = []
    except OSError as error:
        said = f"audit.directory {directory}: {error.strerror}"
        raise SetupError(said, "reading the trail is a right of its own: docs/audit.md") from None
    if not found:
        hint = "kmworker auditor writes it; is audit.directory set to where it does?"
        raise NotFound(f"no audit trail in {directory}", hint)
    return found


def pages(paths: Sequence[Path]) -> int:
    """Return how much there is to read, in pages."""
    return size_of(paths) // PAGE_BYTES


def by_pages(lines: Iterable[bytes], advance: Callable[[int], None]) -> Iterator[bytes]:
    """Pass lines on, and say of each page that it was read."""
    read = 0
    for text in lines:
        read += len(text) + 1
        if read >= PAGE_BYTES:
            advance(read // PAGE_BYTES)
            read %= PAGE_BYTES
        yield text
