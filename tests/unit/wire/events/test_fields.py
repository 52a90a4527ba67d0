"""The fields of events: what each may be, what it may not, and which may be left out."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kmworker.domain.event import UNENCRYPTED, Event, RequestedEncryption, Unreadable
from kmworker.domain.model import Disposition, Item, Kind, Transport
from kmworker.wire.events.definition import CREATING_TYPES, EVENT_TYPES
from tests.unit.wire.events.documents import (
    DOCUMENTS,
    EACH_TYPE,
    EVENTS,
    EVERY_FIELD,
    GOOD_BODY,
    changed,
    document,
    parsed,
    read,
    refused,
    taken,
    without,
)

OPTIONAL = {
    "volume-created": [
        "time", "data.source", "data.source.project_id", "data.size_bytes", "data.volume_type",
        "data.encryption.key_bits", "data.disposition", "data.generation",
    ],
    "snapshot-taken": ["time", "data.size_bytes", "data.disposition", "data.source_generation"],
    "replica-added": [
        "time", "data.source.project_id", "data.transport", "data.size_bytes",
        "data.encryption.key_bits", "data.disposition",
    ],
    "volume-deleted": ["time", "data.generation"],
    "snapshot-deleted": ["time"],
    "replica-removed": ["time", "data.generation"],
    "volume-attached": ["time", "data.mode", "data.expires_at", "data.generation"],
    "volume-detached": [
        "time", "data.node", "data.mode", "data.expires_at", "data.generation",
    ],
}  # fmt: skip
REQUIRED = [
    (event_type, path)
    for event_type, path in EVERY_FIELD
    if path not in OPTIONAL[event_type] and path != "data.encryption"
]


# --- what is taken ----------------------------------------------------------------


def test_every_type_is_read_here_or_in_a_module_of_its_own() -> None:
    modules = {path.stem for path in Path(__file__).parent.glob("test_*.py")}
    elsewhere = {name for name in EVENT_TYPES if f"test_{name.replace('-', '_')}" in modules}
    assert {*DOCUMENTS, *elsewhere} == set(EVENT_TYPES)


@EACH_TYPE
def test_each_type_of_event_is_read_field_by_field(event_type: str) -> None:
    assert read(document(event_type)) == EVENTS[event_type]


@pytest.mark.parametrize(
    ("event_type", "path"), [(name, path) for name in OPTIONAL for path in OPTIONAL[name]]
)
def test_an_optional_field_may_be_absent_and_null_counts_as_absent(
    event_type: str, path: str
) -> None:
    absent = read(without(event_type, path))
    assert read(changed(event_type, path, None)) == absent
    assert not isinstance(absent, Unreadable)


def test_a_volume_without_a_source_is_blank() -> None:
    assert taken(without("volume-created", "data.source")).derived_from is None


def test_a_source_is_of_the_items_own_project_unless_it_names_another() -> None:
    event = taken(without("volume-created", "data.source.project_id"))
    assert event.derived_from == Item("2f1d", Kind.SNAPSHOT, "54af")


@pytest.mark.parametrize("event_type", ["volume-created", "replica-added"])
def test_encryption_null_says_not_encrypted_and_absent_says_nothing(event_type: str) -> None:
    assert taken(changed(event_type, "data.encryption", None)).encryption is UNENCRYPTED
    assert taken(without(event_type, "data.encryption")).encryption is None


def test_a_cipher_without_key_bits_is_left_to_be_completed() -> None:
    event = taken(without("volume-created", "data.encryption.key_bits"))
    assert event.encryption == RequestedEncryption("aes-xts-plain64", None)


@EACH_TYPE
def test_extension_attributes_are_anybodys_and_ignored(event_type: str) -> None:
    extended = document(event_type) | {"x-new": {"a": [1, {"b": None}], "\ud800": 10**4000}}
    assert read(extended) == EVENTS[event_type]


@EACH_TYPE
def test_a_producers_own_notes_are_ignored(event_type: str) -> None:
    for notes in (None, {}, {"sorce": [1, {"b": None}], "\ud800": 10**3000, "": 1e300}):
        assert read(changed(event_type, "data.extra", notes)) == EVENTS[event_type]


def test_notes_have_4_kib_as_compact_json_in_utf_8() -> None:
    # {"é":"…"} has 9 bytes beside its text.
    most = changed("volume-created", "data.extra", {"é": "x" * 4087})
    assert taken(most) == EVENTS["volume-created"]
    detail = refused(read(changed("volume-created", "data.extra", {"é": "x" * 4088})))
    assert detail == "data.extra: 4,097 bytes as compact JSON in UTF-8; at most 4,096 are taken"
    assert refused(read(changed("volume-created", "data.extra", {"\ud800": "é" * 2100})))


@pytest.mark.parametrize(("text", "number"), [("10737418240.0", 10 * 2**30), ("1e3", 1000)])
def test_a_whole_number_may_be_written_with_a_fraction_or_an_exponent(
    text: str, number: int
) -> None:
    event = parsed(GOOD_BODY.replace(b"10737418240", text.encode()))
    assert isinstance(event, Event)
    assert event.size_bytes == number
    assert type(event.size_bytes) is int


GOOD_IDS = [
    "a", "0", "a" * 255, "!#$%&'()*+,-./:;<=>?@[]^_`|~", "AZaz09", "policy-0/../4711", "--help",
    "007", "v1@blk01@lvm#lvm",
    "/subscriptions/0/resourceGroups/rg/providers/Microsoft.Compute/disks/d1",
]  # fmt: skip
GOOD_TIMES = [
    "2026-11-23T16:00:00Z", "2026-11-23t16:00:00z", "2026-11-23T16:00:00.123456789Z",
    "2026-11-23T23:59:60Z", "2026-11-23T16:00:00+00:00", "2026-11-23T16:00:00-23:59",
    "2024-02-29T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9+14:00",
]  # fmt: skip
PRINTABLE = ["é", "a b", "{}", "名" * 255]
VOLUMES, REPLICAS = "volume-created", "replica-added"
# What a field may be, and where it is in what is read.
MAY_BE: list[tuple[str, str, list[str], Callable[[Event], object]]] = [
    (VOLUMES, "data.volume_id", GOOD_IDS, lambda event: event.item.id),
    (VOLUMES, "data.project_id", ["a", "9", "a" * 128, "._:@+~=-", "-", "."],
     lambda event: event.item.project),
    (VOLUMES, "id", [" ", "a" * 255, "{}#*\"'\\~"], lambda event: event.cause.id),
    (VOLUMES, "source", [" ", "é" * 255, "/a\nb"], lambda event: event.cause.source),
    (VOLUMES, "data.volume_type", PRINTABLE, lambda event: event.volume_type),
    (REPLICAS, "data.node", PRINTABLE, lambda event: event.node),
    (VOLUMES, "data.source.kind", ["volume", "snapshot", "replica", "image"],
     lambda event: event.derived_from and event.derived_from.kind),
    (REPLICAS, "data.source.kind", ["volume", "snapshot", "replica", "partition"],
     lambda event: event.derived_from and event.derived_from.kind),
    (REPLICAS, "data.transport", [*Transport], lambda event: event.transport),
    *((name, "data.disposition", ["create", "clone", "reuse"], lambda event: event.requested)
      for name in CREATING_TYPES),
]  # fmt: skip


@pytest.mark.parametrize(
    ("event_type", "path", "value", "seen"),
    [
        pytest.param(event_type, path, value, seen, id=f"{event_type} {path} {ascii(value)[:32]}")
        for event_type, path, values, seen in MAY_BE
        for value in values
    ],
)
def test_a_field_may_be(
    event_type: str, path: str, value: str, seen: Callable[[Event], object]
) -> None:
    found = seen(taken(changed(event_type, path, value)))
    assert found == value
    if path in {"data.source.kind", "data.transport", "data.disposition"}:
        assert type(found) in {Kind, Transport, Disposition}


@pytest.mark.parametrize("time", GOOD_TIMES)
def test_a_time_of_rfc_3339_is_taken(time: str) -> None:
    assert taken(changed("volume-created", "time", time)) == EVENTS["volume-created"]


# --- sources ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["volume", "replica"])
def test_a_snapshot_may_name_its_source_by_kind(kind: str) -> None:
    whole = without("snapshot-taken", "data.volume_id")
    whole["data"]["source"] = {"kind": kind, "id": "db@oslo", "project_id": None}
    assert taken(whole).derived_from == Item("2f1d", Kind(kind), "db@oslo")
    whole["data"]["source"]["project_id"] = "2f1d"
    whole["data"]["volume_id"] = None
    assert taken(whole).derived_from == Item("2f1d", Kind(kind), "db@oslo")


def test_a_snapshot_names_one_source_in_one_way() -> None:
    whole = document("snapshot-taken")
    whole["data"]["source"] = {"kind": "volume", "id": "1111"}
    assert refused(read(whole)).startswith("data.source: there beside data.volume_id")
    del whole["data"]["volume_id"], whole["data"]["source"]
    assert refused(read(whole)) == "data.volume_id: missing, and so is data.source"


def test_a_snapshot_is_of_its_sources_own_project() -> None:
    whole = without("snapshot-taken", "data.volume_id")
    whole["data"]["source"] = {"kind": "replica", "id": "db@oslo", "project_id": "other"}
    detail = refused(read(whole))
    assert detail == "data.source.project_id: a snapshot is of its source's own project"


@pytest.mark.parametrize(
    ("event_type", "kind"),
    [
        ("volume-created", "partition"),
        ("replica-added", "image"),
        ("snapshot-taken", "snapshot"),
    ],
)
def test_a_kind_of_source_belongs_to_certain_events(event_type: str, kind: str) -> None:
    source = {"kind": kind, "id": "a"}
    detail = refused(read(changed(event_type, "data.source", source)))
    assert detail.startswith("data.source.kind: none of volume, ")


@pytest.mark.parametrize("project", [{}, {"project_id": "2f1d"}], ids=["silent", "named"])
def test_an_item_may_not_name_itself_as_its_source(project: dict[str, str]) -> None:
    itself = {"kind": "volume", "id": "1111", **project}
    detail = refused(read(changed("volume-created", "data.source", itself)))
    assert detail == "the item names itself as its source"


@pytest.mark.parametrize(
    "source",
    [{"kind": "volume", "id": "1111", "project_id": "other"}, {"kind": "snapshot", "id": "1111"}],
    ids=["in another project", "of another kind"],
)
def test_an_item_of_the_same_id_is_another_item(source: dict[str, str]) -> None:
    item = Item(source.get("project_id", "2f1d"), Kind(source["kind"]), "1111")
    assert taken(changed("volume-created", "data.source", source)).derived_from == item


def test_a_partition_is_of_the_replicas_own_project() -> None:
    whole = changed("replica-added", "data.source.project_id", "swift-us1")
    detail = refused(read(whole))
    assert detail == "data.source.project_id: a partition is of the replica's own project"


# --- what is missing or wrong -----------------------------------------------------


@pytest.mark.parametrize(("event_type", "path"), REQUIRED)
def test_a_required_field_may_be_neither_absent_nor_null(event_type: str, path: str) -> None:
    detail = refused(read(without(event_type, path), event_type))
    assert detail.startswith(f"{path}: missing")
    assert refused(read(changed(event_type, path, None), event_type)).startswith(path)


NOT_TEXT: list[object] = [True, 0, 1.5, [], {}, ["x"], {"a": "b"}]
NOT_A_NUMBER: list[object] = [True, False, 1.5, 1e308, "1", "", [], {}, [1]]
NOT_AN_OBJECT: list[object] = [True, 0, 1.5, "", "{}", [], [{}]]
SURROGATES = ["\ud800", "a\udfff", "\udc00\ud800"]
# Beside what a field's own kind of id may not be: what would break out of a place.
BAD_NAMES = [
    "", " ", "a b", "{a}", "a{b", "a}", "a\0", "\0", "a\n", "\na", "a\nb", "a\r", "a\x7f", "a\x80",
    "a\tb", "a\u2028", "\u202ea", "é", "\u0430", "a\\", 'a"', *SURROGATES,
]  # fmt: skip
BAD_PROJECTS = [*BAD_NAMES, *(f"a{mark}b" for mark in "/!#$%&'()*,;<>?[]^`|"), "a" * 129]
NOT_PRINTABLE = [
    "", "\0", "a\n", "\n", "a\x1b[0m", "a\x7f", "\x85", "a\u2028b", "\u2029", "a" * 256,
    *SURROGATES,
]  # fmt: skip
BAD_TIMES = [
    "", "now", "2026-11-23", "2026-11-23T16:00Z", "2026-11-23T16:00:00", "2026-11-23 16:00:00Z",
    "2026-02-30T16:00:00Z", "2026-13-01T16:00:00Z", "2026-00-01T16:00:00Z", "2025-02-29T00:00:00Z",
    "2026-11-23T24:00:00Z", "2026-11-23T16:60:00Z", "2026-11-23T16:00:61Z", "2026-11-23T16:00:99Z",
    "2026-11-23T16:00:00.Z", "2026-11-23T16:00:00+24:00", "2026-11-23T16:00:00+01:60",
    "2026-11-23T16:00:00+0100", "2026-11-23T16:00:00Z\n", "\n2026-11-23T16:00:00Z",
    "20261123T160000Z", "\u0662026-11-23T16:00:00Z", "2026-11-23T16:00:00." + "0" * 64 + "Z",
    *SURROGATES,
]  # fmt: skip
# What a field of the right type may still not be.
WRONG: dict[str, list[Any]] = {
    "specversion": ["", "1", "0.3", "1.0.0", "1.1", "1.0\n", *SURROGATES],
    "id": ["", "é", "a\n", "a\0", "a\t", "a\x7f", "a" * 256, *SURROGATES],
    "source": ["", "a" * 256, *SURROGATES],
    "type": ["", *SURROGATES],
    "time": BAD_TIMES,
    "data.project_id": BAD_PROJECTS,
    **{f"data.{name}": [*BAD_NAMES, "a" * 256]
       for name in ("volume_id", "snapshot_id", "replica_id", "attachment_id", "source.id")},
    "data.source.project_id": BAD_PROJECTS,
    "data.source": [{}, {"kind": "volume"}, {"id": "a"}],
    "data.source.kind": ["", "Volume", "volume ", "key", "item", *SURROGATES],
    "data.volume_type": NOT_PRINTABLE,
    "data.node": NOT_PRINTABLE,
    "data.generation": [-1, 2**53 + 1, -(2**63), 10**4000],
    "data.source_generation": [-1, 2**53 + 1, -(2**63), 10**4000],
    "data.size_bytes": [-1, 2**63, -(2**63), 10**4000],
    "data.encryption": [{}, {"key_bits": 512}],
    "data.encryption.cipher": ["", " ", "aes xts", "é", "aes\n", "a" * 129, *SURROGATES],
    "data.encryption.key_bits": [0, -512, 65_537, 2**63, 10**4000],
    "data.transport": ["", "none", "Block", "rsync", *SURROGATES],
    "data.mode": ["", "RW", "w", "readonly", *SURROGATES],
    "data.expires_at": BAD_TIMES,
    "data.disposition": ["", "none", "deny", "Clone", "share", *SURROGATES],
    "data": [],
}  # fmt: skip
NUMBERS = (
    "data.size_bytes", "data.encryption.key_bits", "data.generation", "data.source_generation",
)  # fmt: skip
NOT_OF_THE_TYPE = {
    **dict.fromkeys(
        (
            "data.size_bytes",
            "data.encryption.key_bits",
            "data.generation",
            "data.source_generation",
        ),
        NOT_A_NUMBER,
    ),
    **dict.fromkeys(("data", "data.source", "data.encryption"), NOT_AN_OBJECT),
}


@pytest.mark.parametrize(("event_type", "path"), EVERY_FIELD)
def test_a_wrong_value_is_malformed_and_the_detail_names_its_field(
    event_type: str, path: str
) -> None:
    for value in (*NOT_OF_THE_TYPE.get(path, NOT_TEXT), *WRONG[path]):
        detail = refused(read(changed(event_type, path, value), event_type), value=value)
        assert detail.startswith(path), ascii(value)
        assert re.fullmatch(r"[ -~]{1,255}", detail)
