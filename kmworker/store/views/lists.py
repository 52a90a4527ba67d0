"""All records of one kind, a page at a time: what there is may not fit into memory.

In the store's own order, which is none. What is written meanwhile may be given or not; what
was there before and is not taken away is given, and given twice if a table grows meanwhile.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Final

from kmworker.store.connection import store_errors
from kmworker.store.inspection import PAGE_SIZE, Views, pages

__all__ = ["SIZES", "Named", "ProjectSize", "count_in", "fields_of", "records_in", "sizes"]

SIZES: Final = ("items", "keys", "scopes", "waiting")
PROJECTS_AT_ONCE: Final = 100
FIELDS_AT_FIRST: Final = 100
"""So many of each of them are asked for together: most projects have no more."""


@dataclass(frozen=True, slots=True)
class Named:
    """A record of a project's."""

    project: str
    field: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class ProjectSize:
    """How many of each a project has."""

    project: str
    items: int
    keys: int
    scopes: int
    waiting: int


def sizes(views: Views, projects: Iterable[str]) -> Iterator[list[ProjectSize]]:
    """Give projects in pages."""
    for page in pages(projects):
        pipeline = views.client.pipeline(transaction=False)
        for project in page:
            for key in SIZES:
                pipeline.hlen(views.names.of(project, key))
        with store_errors():
            found = iter(pipeline.execute())
        yield [
            ProjectSize(project, *counts)
            for project, *counts in zip(page, found, found, found, found, strict=True)
        ]


def count_in(views: Views, projects: Iterable[str], key: str) -> int:
    """Return how many fields these projects' hashes have."""
    total = 0
    for page in pages(projects):
        pipeline = views.client.pipeline(transaction=False)
        for project in page:
            pipeline.hlen(views.names.of(project, key))
        with store_errors():
            total += sum(pipeline.execute())
    return total


def records_in(views: Views, projects: Iterable[str], key: str) -> Iterator[list[Named]]:
    """Give one of these projects' hashes in pages; most projects are small, some are not."""
    for page in pages(projects, PROJECTS_AT_ONCE):
        pipeline = views.client.pipeline(transaction=False)
        for project in page:
            pipeline.hscan(views.names.of(project, key), 0, count=FIELDS_AT_FIRST)
        with store_errors():
            replies = pipeline.execute()
        found = list(zip(page, replies, strict=True))
        together = [it for project, (_, fields) in found for it in _named(project, fields)]
        yield from pages(together)
        for project, (cursor, _) in found:
            yield from _rest(views, project, key, cursor)


def fields_of(views: Views, key: str, wanted: Sequence[tuple[str, str]]) -> list[bytes | None]:
    """Return fields (project, field) of one of the projects' hashes, None where there is none.

    Those of one project are asked for together if they are neighbours.
    """
    pipeline = views.client.pipeline(transaction=False)
    for project, named in groupby(wanted, key=lambda it: it[0]):
        pipeline.hmget(views.names.of(project, key), [field for _, field in named])
    with store_errors():
        replies = pipeline.execute() if wanted else []
    return [value for reply in replies for value in reply]


def _rest(views: Views, project: str, key: str, cursor: int) -> Iterator[list[Named]]:
    while cursor:
        with store_errors():
            cursor, fields = views.client.hscan(
                views.names.of(project, key), cursor, count=PAGE_SIZE
            )
        yield _named(project, fields)


def _named(project: str, fields: dict[bytes, bytes]) -> list[Named]:
    named = (Named(project, name.decode(errors="replace"), raw) for name, raw in fields.items())
    return sorted(named, key=attrgetter("field"))
