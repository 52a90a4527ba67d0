"""One project's keys in Redis, held against what was expected and announced."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from tests.kit.outside.oracle import Expected, Outlook
from tests.kit.outside.reader import Reader
from tests.kit.outside.words import DISPOSITIONS, Item

Data = dict[str, Any]

SEALED: Final = re.compile(r',\s*"seal":\s*"v2\.(?P<kek_id>[^".]+)\.[0-9a-f]{32,64}"\s*\}\Z')
FIELDS: Final = {
    "items": {"data", "state", "seal"},
    "keys": {"scope_id", "dek_id", "state", "cloned_from", "created_at", "version", "seal"},
    "scopes": {
        "root",
        "dek_id",
        "cipher",
        "key_bits",
        "kek_id",
        "derived_from",
        "created_at",
        "seal",
    },
}


@dataclass(frozen=True, slots=True)
class Books:
    """Everything the checks of one project look at."""

    reader: Reader
    project: str
    expected: Mapping[Item, Expected]
    """Of this project."""
    announced: Mapping[Item, Data]
    """The announced data, of all projects."""

    @property
    def keyed(self) -> dict[Item, Data]:
        return {
            item: self.announced[item]
            for item, it in self.expected.items()
            if it.has_key and item in self.announced
        }


def room_problems(outlook: Outlook, reader: Reader) -> Iterator[str]:
    """What is wrong with the waiting rooms, in the projects of the sources that do not come."""
    for project in outlook.projects:
        wanted = sorted(
            (event.item.ref, event.source.ref)
            for event in outlook.waiting
            if event.source is not None and event.source.project == project
        )
        room = reader.records(project, "waiting")
        found = sorted((entry["item"], entry["source"]) for entry in room.values())
        if found != wanted:
            yield f"{project}: {found} are waiting, not {wanted}"
        yield from _same_names(
            "deadlines", set(reader.sorted_in(project, "waiting:deadlines")), {*room}
        )
        yield from _same_names("parked events", set(reader.secret(project, "parked")), {*room})
        if (count := int(reader.table(project, "stats").get("waiting", 0))) != len(wanted):
            yield f"{project}: stats say that {count} wait, not {len(wanted)}"


def record_problems(
    outlook: Outlook, announced: Mapping[Item, Data], reader: Reader
) -> Iterator[str]:
    """Everything that is wrong with the records of all projects."""
    for project in sorted({item.project for item in outlook.assigned}):
        expected = {item: it for item, it in outlook.assigned.items() if item.project == project}
        books = Books(reader, project, expected, announced)
        for check in (_items, _keys, _scopes, _indexes, _numbers, _seals):
            yield from (f"{project}: {problem}" for problem in check(books))
    yield from _project_problems(outlook, reader)


def _items(books: Books) -> Iterator[str]:
    records = books.reader.records(books.project, "items")
    yield from _same_names("items", set(records), {item.ref for item in books.expected})
    for item in books.expected:
        record = records.get(item.ref)
        if record is None:
            continue
        if record["state"] != "active":
            yield f"{item.ref} is {record['state']}"
        if item in books.announced and not _verbatim(record["data"], books.announced[item]):
            yield f"{item.ref}: the record is not what was announced"


def _verbatim(recorded_data: Data, announced: Data) -> bool:
    return list(recorded_data.items()) == list(announced.items())


def _keys(books: Books) -> Iterator[str]:
    records = books.reader.records(books.project, "keys")
    scopes = books.reader.records(books.project, "scopes")
    owned = {item: data for item, data in books.keyed.items() if _owns_key(books, item)}
    yield from _same_names("keys", set(records), {data["key_id"] for data in owned.values()})
    for item, data in owned.items():
        record = records.get(data["key_id"])
        if record is None:
            continue
        source = books.expected[item].cloned_from
        wanted = {
            "scope_id": data["scope_id"],
            "dek_id": scopes.get(data["scope_id"], {}).get("dek_id"),
            "state": "active",
            "cloned_from": books.announced[source]["key_id"] if source is not None else None,
        }
        yield from _wrong_fields(f"key of {item.ref}", record, wanted)
        yield from _not_a_time(f"key of {item.ref}", record["created_at"])
        if not isinstance(record["version"], int):
            yield f"key of {item.ref}: version is {record['version']!r}"


def _scopes(books: Books) -> Iterator[str]:
    records = books.reader.records(books.project, "scopes")
    roots = {i: data for i, data in books.keyed.items() if books.expected[i].scope_owner == i}
    scope_ids = {data["scope_id"] for data in roots.values()}
    yield from _same_names("scopes", set(records), scope_ids)
    deks = books.reader.secret(books.project, "deks")
    yield from _same_names("wrapped DEKs", set(deks), scope_ids)
    for root, data in roots.items():
        if (record := records.get(data["scope_id"])) is not None:
            yield from _scope_problems(books, root, data, record)


def _scope_problems(books: Books, root: Item, data: Data, record: Data) -> Iterator[str]:
    wanted = {"root": root.ref, **data["encryption"]}
    yield from _wrong_fields(f"scope of {root.ref}", record, wanted)
    yield from _not_a_time(f"scope of {root.ref}", record["created_at"])
    source = books.expected[root].reencrypt_from
    derived_from = record["derived_from"]
    if source is None and derived_from is not None:
        yield f"scope of {root.ref} is derived from {derived_from}, but has no encrypted source"
    if source is not None and books.announced[source]["scope_id"] not in str(derived_from):
        yield f"scope of {root.ref} is derived from {derived_from}, not from {source.subject}'s"
    if UUID(data["scope_id"]).version != 5:
        yield f"scope of {root.ref}: {data['scope_id']} is no UUIDv5"


def _indexes(books: Books) -> Iterator[str]:
    keyed = books.keyed
    members = books.reader.sorted_in(books.project, "lineage")
    wanted = {f"{data['scope_id']} {item.ref}" for item, data in keyed.items()}
    yield from _same_names("lineage", set(members), wanted)
    if any(score != 0 for score in members.values()):
        yield "a member of the lineage has a score other than 0"
    for scope_id in {data["scope_id"] for data in keyed.values()}:
        refs = {item.ref for item, data in keyed.items() if data["scope_id"] == scope_id}
        listed = books.reader.lineage(books.project, scope_id)
        yield from _same_names(f"lineage of {scope_id}", set(listed), refs)


def _numbers(books: Books) -> Iterator[str]:
    holders = books.reader.table(books.project, "holders")
    counted = Counter(str(data["key_id"]) for data in books.keyed.values())
    if {key_id: int(count) for key_id, count in holders.items() if int(count)} != counted:
        yield f"holders are {holders}, not {dict(counted)}"
    stats = books.reader.table(books.project, "stats")
    came = Counter(it.disposition for it in books.expected.values())
    for disposition in DISPOSITIONS:
        if int(stats.get(disposition, 0)) != came[disposition]:
            yield f"stats count {stats.get(disposition)} of {disposition}, not {came[disposition]}"


def _seals(books: Books) -> Iterator[str]:
    for table, fields in FIELDS.items():
        records = books.reader.records(books.project, table)
        for name, text in books.reader.table(books.project, table).items():
            if set(records[name]) != fields:
                yield f"{table} {name} has the fields {sorted(records[name])}"
            if (seal := SEALED.search(text)) is None:
                yield f"{table} {name} does not end in a seal"
            elif table == "scopes" and records[name]["kek_id"] != seal["kek_id"]:
                yield f"{table} {name} is wrapped and sealed by different keys"


def _project_problems(outlook: Outlook, reader: Reader) -> Iterator[str]:
    listed = reader.members("projects")
    for project in sorted({item.project for item in outlook.assigned} - listed):
        yield f"{project} is not among the projects"
    yield from room_problems(outlook, reader)


def _owns_key(books: Books, item: Item) -> bool:
    return books.expected[item].key_owner == item


def _same_names(what: str, found: set[str], wanted: set[str]) -> Iterator[str]:
    if found != wanted:
        yield f"{what}: {sorted(wanted - found)} missing, {sorted(found - wanted)} too many"


def _wrong_fields(what: str, record: Data, wanted: Data) -> Iterator[str]:
    for name, value in wanted.items():
        if record.get(name) != value:
            yield f"{what}: {name} is {record.get(name)!r}, not {value!r}"


def _not_a_time(what: str, text: object) -> Iterator[str]:
    try:
        datetime.fromisoformat(str(text))
    except ValueError:
        yield f"{what}: {text!r} is not a time"
