"""A stage goes over one key of a project, page by page.

What a page's records name is read after them. A commit writes a record and all that
it names in one step, so what is missing then was not merely not yet written. What is
suspected all the same is looked at again, at one moment: a rewrap or a release may have come
between.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from kmworker.store.reading import Fetched, Named, StoreReader, text
from kmworker.verify.rules.findings import Finding

__all__ = ["CheckedPage", "Judged", "ScanStage", "Stage", "fetched"]


class CheckedPage(NamedTuple):
    """What one page came to."""

    cursor: int
    """Where the next begins; 0 at the end."""
    looked_at: int
    findings: list[Finding]


class Stage(Protocol):
    """One part of checking a project."""

    @property
    def name(self) -> str:
        """Its name in positions."""
        ...

    @property
    def keys(self) -> Sequence[str]:
        """What it reads of the project; it cannot run if one is of the wrong type."""
        ...

    def run(self, project: str, cursor: int) -> Iterator[CheckedPage]:
        """Check, from a cursor on."""
        ...


Judged = dict[bytes, list[Finding]]
"""What was found, by the name in whose turn it was found."""


class Judge(Protocol):
    """Reads what a page's records name, and judges them."""

    def __call__(self, project: str, page: Sequence[Named], *, atomic: bool) -> Judged:
        """Judge; ``atomic``: read it all at one moment."""
        ...


@dataclass(frozen=True, slots=True)
class ScanStage:
    """Goes over the fields of a hash or the members of a sorted set."""

    reader: StoreReader
    name: str
    keys: Sequence[str]
    judge: Judge

    def run(self, project: str, cursor: int) -> Iterator[CheckedPage]:
        """Check, from a cursor on."""
        while True:
            cursor, page = self.reader.scan(project, self.name, cursor)
            suspects = [
                name for name, found in self.judge(project, page, atomic=False).items() if found
            ]
            findings: list[Finding] = []
            if suspects:
                again = self.reader.again(project, self.name, suspects)
                judged = self.judge(project, again, atomic=True)
                findings = [finding for found in judged.values() for finding in found]
            yield CheckedPage(cursor, len(page), findings)
            if cursor == 0:
                return


def fetched(  # noqa: PLR0913  # a page, and what it names
    reader: StoreReader,
    project: str,
    key: str,
    page: Sequence[Named],
    wanted: Mapping[str, Iterable[str]],
    *,
    atomic: bool,
) -> tuple[Sequence[Named], Fetched]:
    """Read what a page of a key names; of the page, return what is as it was.

    If it is read at one moment, what has changed since the page was read is left out: whoever
    changed it has brought along what it names now.
    """
    if not atomic:
        return page, reader.fetch(project, wanted)
    # No worker has written a name that is not UTF-8, and none changes it.
    names = [text(name) for name, _value in page if text(name).encode() == name]
    together = {**wanted, key: [*names, *wanted.get(key, ())]}
    found = reader.fetch(project, together, atomic=True)
    return [(n, v) for n, v in page if found[key].get(text(n), v) == v], found
