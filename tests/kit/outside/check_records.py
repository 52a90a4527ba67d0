"""The store, held against what was expected and announced; and against itself, by the checker."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.kit.checker.contents import Contents
from tests.kit.checker.rules import differences, problems
from tests.kit.outside.oracle import Outlook
from tests.kit.outside.reader import Reader
from tests.kit.outside.words import Item

Data = dict[str, Any]


def room_problems(outlook: Outlook, reader: Reader) -> Iterator[str]:
    """Whose events wait, and must not, or the other way round; by the projects of their sources."""
    for project in outlook.projects:
        wanted = sorted(
            (event.item.ref, event.source.ref)
            for event in outlook.waiting
            if event.source is not None and event.source.project == project
        )
        room = reader.records(project, "waiting").values()
        if (found := sorted((entry["item"], entry["source"]) for entry in room)) != wanted:
            yield f"{project}: {found} are waiting, not {wanted}"


def record_problems(
    outlook: Outlook, announced: Mapping[Item, Data], reader: Reader
) -> Iterator[str]:
    """Everything that is wrong with the records of all projects."""
    store = reader.contents(outlook.projects)
    expected: dict[str, list[Item]] = {project: [] for project in store}
    for item in outlook.assigned:
        expected[item.project].append(item)
    for project, contents in store.items():
        yield from _item_problems(contents, expected[project], announced)
    yield from room_problems(outlook, reader)
    yield from problems(store)
    listed = reader.members("projects")
    yield from (f"{it} is not listed" for it in expected if expected[it] and it not in listed)


def _item_problems(
    contents: Contents, expected: list[Item], announced: Mapping[Item, Data]
) -> Iterator[str]:
    wanted = {item.ref: announced.get(item) for item in expected}
    for found in differences("items", contents.items, wanted):
        yield f"{contents.project}: {found}"
    for ref in contents.items.keys() & wanted.keys():
        told, recorded = wanted[ref], contents.items[ref]["data"]
        if told is not None and list(recorded.items()) != list(told.items()):
            yield f"{contents.project}/{ref}: the record is not what was announced"
