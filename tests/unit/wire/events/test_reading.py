"""Events in: whatever bytes come, the answer is an event or a refusal without content."""

import copy
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic_core import ErrorDetails

from kmworker.domain.event import UNENCRYPTED, Event, RequestedEncryption, Unreadable
from kmworker.domain.message import MAX_BODY_BYTES
from kmworker.domain.model import Cause, Disposition, Item, Kind, Transport
from kmworker.errors import Reason
from kmworker.wire.events import reading
from kmworker.wire.events.definition import EVENTS as CLASSES
from kmworker.wire.events.reading import parse
from kmworker.wire.events.wording import unknown_in

CONTENT_TYPE = "application/cloudevents+json"

# The contract's examples, with every optional field filled in.
DOCUMENTS: dict[str, dict[str, Any]] = {
    "volume-created": {
        "specversion": "1.0",
        "id": "6d1c",
        "source": "/cinder/blk01",
        "type": "volume-created",
        "time": "2026-11-23T16:00:00Z",
        "data": {
            "project_id": "2f1d",
            "volume_id": "1111",
            "source": {"kind": "snapshot", "id": "54af", "project_id": "2f1e"},
            "size_bytes": 10737418240,
            "volume_type": "luks-gold",
            "encryption": {"cipher": "aes-xts-plain64", "key_bits": 512},
            "disposition": "clone",
        },
    },
    "snapshot-taken": {
        "specversion": "1.0",
        "id": "77aa",
        "source": "/cinder/blk01",
        "type": "snapshot-taken",
        "time": "2026-11-23T16:00:00Z",
        "data": {
            "project_id": "2f1d",
            "snapshot_id": "54af",
            "volume_id": "1111",
            "size_bytes": 0,
            "disposition": "reuse",
        },
    },
    "replica-added": {
        "specversion": "1.0",
        "id": "9c0e",
        "source": "/swift/ring-builder",
        "type": "replica-added",
        "time": "2026-11-23T16:00:00Z",
        "data": {
            "project_id": "swift-eu1",
            "replica_id": "policy-0/18/4711@obj-07",
            "source": {"kind": "partition", "id": "policy-0/18/4711", "project_id": "swift-eu1"},
            "node": "obj-07",
            "transport": "file",
            "size_bytes": 2**63 - 1,
            "encryption": {"cipher": "aes-xts-plain64", "key_bits": 256},
            "disposition": "create",
        },
    },
}
EVENTS = {
    "volume-created": Event(
        cause=Cause("6d1c", "/cinder/blk01", "volume-created"),
        item=Item("2f1d", Kind.VOLUME, "1111"),
        derived_from=Item("2f1e", Kind.SNAPSHOT, "54af"),
        encryption=RequestedEncryption("aes-xts-plain64", 512),
        requested=Disposition.CLONE,
        volume_type="luks-gold",
        size_bytes=10737418240,
    ),
    "snapshot-taken": Event(
        cause=Cause("77aa", "/cinder/blk01", "snapshot-taken"),
        item=Item("2f1d", Kind.SNAPSHOT, "54af"),
        derived_from=Item("2f1d", Kind.VOLUME, "1111"),
        encryption=None,
        requested=Disposition.REUSE,
        size_bytes=0,
    ),
    "replica-added": Event(
        cause=Cause("9c0e", "/swift/ring-builder", "replica-added"),
        item=Item("swift-eu1", Kind.REPLICA, "policy-0/18/4711@obj-07"),
        derived_from=Item("swift-eu1", Kind.PARTITION, "policy-0/18/4711"),
        encryption=RequestedEncryption("aes-xts-plain64", 256),
        requested=Disposition.CREATE,
        node="obj-07",
        transport=Transport.FILE,
        size_bytes=2**63 - 1,
    ),
}
EACH_TYPE = pytest.mark.parametrize("event_type", DOCUMENTS)

OPTIONAL = {
    "volume-created": [
        "time", "data.source", "data.source.project_id", "data.size_bytes", "data.volume_type",
        "data.encryption.key_bits", "data.disposition",
    ],
    "snapshot-taken": ["time", "data.size_bytes", "data.disposition"],
    "replica-added": [
        "time", "data.source.project_id", "data.transport", "data.size_bytes",
        "data.encryption.key_bits", "data.disposition",
    ],
}  # fmt: skip


def document(event_type: str = "volume-created") -> dict[str, Any]:
    return copy.deepcopy(DOCUMENTS[event_type])


def changed(event_type: str, path: str, value: object) -> dict[str, Any]:
    """A document with another value at a dotted path."""
    whole = document(event_type)
    place, _, name = path.rpartition(".")
    within(whole, place)[name] = value
    return whole


def without(event_type: str, path: str) -> dict[str, Any]:
    whole = document(event_type)
    place, _, name = path.rpartition(".")
    del within(whole, place)[name]
    return whole


def within(whole: dict[str, Any], place: str) -> dict[str, Any]:
    for name in filter(None, place.split(".")):
        whole = whole[name]
    return whole


def read(whole: dict[str, Any], routing_key: str | None = None) -> Event | Unreadable:
    key = routing_key if routing_key is not None else str(whole.get("type"))
    return parse(json.dumps(whole).encode(), CONTENT_TYPE, key)


def taken(whole: dict[str, Any]) -> Event:
    event = read(whole)
    assert isinstance(event, Event), event
    return event


def refused(
    event: Event | Unreadable, reason: Reason = Reason.MALFORMED, value: object = None
) -> str:
    """The detail of a refusal; ``value`` is named if there is none."""
    assert isinstance(event, Unreadable), ascii(value or event)
    assert event.reason is reason
    return event.detail


def paths_of(value: object, path: str = "") -> Iterator[str]:
    """The dotted path of every field of a document."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{path}{name}"
            yield from paths_of(inner, f"{path}{name}.")


EVERY_FIELD = [
    (event_type, path) for event_type in DOCUMENTS for path in paths_of(DOCUMENTS[event_type])
]
REQUIRED = [
    (event_type, path)
    for event_type, path in EVERY_FIELD
    if path not in OPTIONAL[event_type] and path != "data.encryption"
]


# --- what is taken ----------------------------------------------------------------


@EACH_TYPE
def test_each_type_of_event_is_read_field_by_field(event_type: str) -> None:
    assert read(document(event_type)) == EVENTS[event_type]


def test_there_is_an_example_of_every_type() -> None:
    assert set(DOCUMENTS) == set(CLASSES)


@pytest.mark.parametrize(
    ("event_type", "path"), [(name, path) for name in OPTIONAL for path in OPTIONAL[name]]
)
def test_an_optional_field_may_be_absent_and_null_counts_as_absent(
    event_type: str, path: str
) -> None:
    assert taken(changed(event_type, path, None)) == taken(without(event_type, path))


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


@pytest.mark.parametrize("notes", ["text", 1, [], True], ids=repr)
def test_notes_are_an_object(notes: object) -> None:
    detail = refused(read(changed("volume-created", "data.extra", notes)))
    assert detail.startswith("data.extra: ")
    assert detail.endswith(", where an object is needed")


@pytest.mark.parametrize(("text", "number"), [("10737418240.0", 10 * 2**30), ("1e3", 1000)])
def test_a_whole_number_may_be_written_with_a_fraction_or_an_exponent(
    text: str, number: int
) -> None:
    body = GOOD_BODY.replace(b"10737418240", text.encode())
    event = parse(body, CONTENT_TYPE, "volume-created")
    assert isinstance(event, Event)
    assert event.size_bytes == number
    assert type(event.size_bytes) is int


GOOD_IDS = {
    "one letter": "a",
    "one digit": "0",
    "255 characters": "a" * 255,
    "every other character": "!#$%&'()*+,-./:;<=>?@[]^_`|~",
    "a letter of each end": "AZaz09",
    "looks like a path": "policy-0/../4711",
    "looks like an option": "--help",
    "looks like a number": "007",
    "Cinder's host": "v1@blk01@lvm#lvm",
    "Azure's": "/subscriptions/0/resourceGroups/rg/providers/Microsoft.Compute/disks/d1",
}


@pytest.mark.parametrize("name", GOOD_IDS.values(), ids=GOOD_IDS)
def test_an_item_id_may_be(name: str) -> None:
    assert taken(changed("volume-created", "data.volume_id", name)).item.id == name


@pytest.mark.parametrize("project", ["a", "9", "a" * 128, "._:@+~=-", "-", "."], ids=str)
def test_a_project_may_be(project: str) -> None:
    assert taken(changed("volume-created", "data.project_id", project)).item.project == project


@pytest.mark.parametrize("event_id", [" ", "a" * 255, "{}#*\"'\\~"], ids=repr)
def test_an_event_id_may_be_any_printable_ascii(event_id: str) -> None:
    assert taken(changed("volume-created", "id", event_id)).cause.id == event_id


@pytest.mark.parametrize("source", [" ", "é" * 255, "/a\nb"], ids=repr)
def test_an_event_source_may_be_any_text_of_255_characters(source: str) -> None:
    assert taken(changed("volume-created", "source", source)).cause.source == source


@pytest.mark.parametrize("name", ["é", "a b", "{}", "名" * 255], ids=repr)
def test_a_volume_type_and_a_node_may_be_any_printable_text(name: str) -> None:
    assert taken(changed("volume-created", "data.volume_type", name)).volume_type == name
    assert taken(changed("replica-added", "data.node", name)).node == name


@pytest.mark.parametrize("kind", ["volume", "snapshot", "replica", "image"])
def test_a_volume_may_come_from(kind: str) -> None:
    source = taken(changed("volume-created", "data.source.kind", kind)).derived_from
    assert source is not None
    assert source.kind is Kind(kind)


@pytest.mark.parametrize("kind", ["volume", "snapshot", "replica", "partition"])
def test_a_replica_may_be_of(kind: str) -> None:
    source = taken(changed("replica-added", "data.source.kind", kind)).derived_from
    assert source is not None
    assert source.kind is Kind(kind)


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


@EACH_TYPE
@pytest.mark.parametrize("requested", ["create", "clone", "reuse"])
def test_every_disposition_may_be_requested(event_type: str, requested: str) -> None:
    assert taken(changed(event_type, "data.disposition", requested)).requested is Disposition(
        requested
    )


@pytest.mark.parametrize("transport", ["block", "file", "reencrypt"])
def test_data_may_travel_by(transport: str) -> None:
    event = taken(changed("replica-added", "data.transport", transport))
    assert event.transport is Transport(transport)


# --- fields missing or wrong ------------------------------------------------------

TEXT_FIELDS = (
    "specversion", "id", "source", "type", "time", "data.project_id", "data.volume_id",
    "data.snapshot_id", "data.replica_id", "data.volume_type", "data.node", "data.transport",
    "data.disposition", "data.source.kind", "data.source.id", "data.source.project_id",
    "data.encryption.cipher",
)  # fmt: skip
NUMBER_FIELDS = ("data.size_bytes", "data.encryption.key_bits")
OBJECT_FIELDS = ("data", "data.source", "data.encryption")

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
    "",
    "\0",
    "a\n",
    "\n",
    "a\x1b[0m",
    "a\x7f",
    "\x85",
    "a\u2028b",
    "\u2029",
    "a" * 256,
]
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
    "data.volume_id": [*BAD_NAMES, "a" * 256],
    "data.snapshot_id": [*BAD_NAMES, "a" * 256],
    "data.replica_id": [*BAD_NAMES, "a" * 256],
    "data.source.id": [*BAD_NAMES, "a" * 256],
    "data.source.project_id": BAD_PROJECTS,
    "data.source": [{}, {"kind": "volume"}, {"id": "a"}],
    "data.source.kind": ["", "Volume", "volume ", "key", "item", *SURROGATES],
    "data.volume_type": [*NOT_PRINTABLE, *SURROGATES],
    "data.node": [*NOT_PRINTABLE, *SURROGATES],
    "data.size_bytes": [-1, 2**63, -(2**63), 10**4000],
    "data.encryption": [{}, {"key_bits": 512}],
    "data.encryption.cipher": ["", " ", "aes xts", "é", "aes\n", "a" * 129, *SURROGATES],
    "data.encryption.key_bits": [0, -512, 65_537, 2**63, 10**4000],
    "data.transport": ["", "none", "Block", "rsync", *SURROGATES],
    "data.disposition": ["", "none", "deny", "Clone", "share", *SURROGATES],
    "data": [],
}


def wrong_values(path: str) -> list[object]:
    if path in TEXT_FIELDS:
        return [*NOT_TEXT, *WRONG[path]]
    if path in NUMBER_FIELDS:
        return [*NOT_A_NUMBER, *WRONG[path]]
    assert path in OBJECT_FIELDS
    return [*NOT_AN_OBJECT, *WRONG[path]]


@pytest.mark.parametrize(("event_type", "path"), EVERY_FIELD)
def test_a_wrong_value_is_malformed_and_the_detail_names_its_field(
    event_type: str, path: str
) -> None:
    for value in wrong_values(path):
        detail = refused(read(changed(event_type, path, value), event_type), value=value)
        assert detail.startswith(path), ascii(value)
        assert_fit_for_a_header(detail)


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


@pytest.mark.parametrize(("event_type", "path"), REQUIRED)
def test_a_required_field_may_be_neither_absent_nor_null(event_type: str, path: str) -> None:
    detail = refused(read(without(event_type, path), event_type))
    assert detail.startswith(f"{path}: missing")
    assert refused(read(changed(event_type, path, None), event_type)).startswith(path)


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-23T16:00:00Z", "2026-11-23t16:00:00z", "2026-11-23T16:00:00.123456789Z",
        "2026-11-23T23:59:60Z", "2026-11-23T16:00:00+00:00", "2026-11-23T16:00:00-23:59",
        "2024-02-29T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9+14:00",
    ],
)  # fmt: skip
def test_a_time_of_rfc_3339_is_taken(time: str) -> None:
    assert taken(changed("volume-created", "time", time)) == EVENTS["volume-created"]


def test_an_item_may_not_name_itself_as_its_source() -> None:
    whole = document()
    whole["data"]["source"] = {"kind": "volume", "id": "1111"}
    assert refused(read(whole)) == "the item names itself as its source"
    whole["data"]["source"]["project_id"] = "2f1d"
    assert refused(read(whole)) == "the item names itself as its source"


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


# --- types ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event_type", ["volume-deleted", "key-adopted", "key-assigned", "Volume-Created", "a.b", "#"]
)
def test_a_type_that_this_version_does_not_know_is_unsupported(event_type: str) -> None:
    whole = document()
    whole |= {"type": event_type, "data": "whatever a newer version says"}
    refusal = read(whole)
    assert refused(refusal, Reason.UNSUPPORTED_TYPE)
    assert isinstance(refusal, Unreadable)
    assert (refusal.event_id, refusal.event_type) == ("6d1c", event_type)
    assert refusal.may_be_newer


@pytest.mark.parametrize(
    ("event_type", "meant"),
    [
        ("volume-create", "volume-created"),
        ("volume.created", "volume-created"),
        ("Volume_Created", "volume-created"),
        ("snapshot-token", "snapshot-taken"),
        ("replica-add", "replica-added"),
    ],
)
def test_a_misspelt_type_is_told_the_nearest(event_type: str, meant: str) -> None:
    detail = refused(read(document() | {"type": event_type}), Reason.UNSUPPORTED_TYPE)
    assert detail == f"this version does not know the event's type; did you mean {meant}?"


@pytest.mark.parametrize(
    "event_type", ["volume-deleted", "snapshot-deleted", "replica-removed", "key-assigned", "#"]
)
def test_a_type_of_its_own_is_not_taken_for_a_misspelt_one(event_type: str) -> None:
    detail = refused(read(document() | {"type": event_type}), Reason.UNSUPPORTED_TYPE)
    assert detail == "this version does not know the event's type"


def test_an_unknown_type_in_a_broken_envelope_is_malformed() -> None:
    whole = document() | {"type": "volume-deleted", "specversion": "2.0"}
    assert refused(read(whole)).startswith("specversion: ")


@pytest.mark.parametrize(
    "key", ["", "snapshot-taken", "volume-created ", "volume-created.p1", "Volume-Created", "#"]
)
def test_a_routing_key_that_differs_from_the_type_is_malformed(key: str) -> None:
    assert refused(read(document(), key)) == "the routing key differs from the event's type"


def test_a_routing_key_that_lies_about_an_unknown_type_is_malformed() -> None:
    assert refused(read(document() | {"type": "volume-deleted"}, "volume-created"))


# --- content types ----------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        None, "", "application/cloudevents+json", "application/json", "Application/JSON",
        "application/json; charset=utf-8", "application/cloudevents+json;charset=utf-8;a=b",
        "application/json ;", " application/json",
    ],
    ids=repr,
)  # fmt: skip
def test_a_content_type_that_is_taken(content_type: object) -> None:
    body = json.dumps(document()).encode()
    assert isinstance(parse(body, content_type, "volume-created"), Event)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain", "application/octet-stream", "application/xml", "json", "application/jsonx",
        "application/cloudevents", ";application/json", ";",
        "text/plain; application/json", b"application/json", 7, ["application/json"], {}, False,
    ],
    ids=repr,
)  # fmt: skip
def test_a_content_type_that_is_not_taken(content_type: object) -> None:
    body = json.dumps(document()).encode()
    detail = refused(parse(body, content_type, "volume-created"))
    expected = "the content type is neither application/cloudevents+json nor application/json"
    assert detail == expected


# --- bodies -----------------------------------------------------------------------

GOOD_BODY = json.dumps(DOCUMENTS["volume-created"]).encode()
NOT_JSON = "the body is not JSON"
NO_OBJECT = "the body is not a JSON object"
NOT_UTF_8 = "the body is not UTF-8"
UTF_16 = "the body is UTF-16 or UTF-32: send it as UTF-8"
NOT_NUMBERS = "the body has NaN or Infinity, which are not JSON"
TOO_DEEP = "the body is nested too deeply"
TOO_LARGE = "the body is larger than 65536 bytes"

BAD_BODIES = {
    "nothing": (b"", "the body is empty"),
    "white space": (b" \n", "the body is empty"),
    "a word": (b"hello", NOT_JSON),
    "cut short": (GOOD_BODY[:-1], NOT_JSON),
    "more after the end": (GOOD_BODY + b"{}", NOT_JSON),
    "a comma too many": (b'{"a": 1,}', NOT_JSON),
    "single quotes": (b"{'a': 1}", NOT_JSON),
    "a comment": (b"{} // why", NOT_JSON),
    "a line break in a text": (b'{"a": "\n"}', NOT_JSON),
    "a NUL": (b"\0", NOT_JSON),
    "a byte order mark": (
        b"\xef\xbb\xbf" + GOOD_BODY, "the body begins with a byte order mark: leave it out",
    ),
    "an integer of 5000 digits": (b'{"a": ' + b"9" * 5000 + b"}", NOT_JSON),
    "a negative integer of 5000 digits": (b'{"a": -' + b"9" * 5000 + b"}", NOT_JSON),
    "an array": (b"[" + GOOD_BODY + b"]", "the body is an array: publish each event by itself"),
    "a text": (b'"{}"', "the body is text in JSON, not an object: is it encoded twice?"),
    "a number": (b"1", NO_OBJECT),
    "true": (b"true", NO_OBJECT),
    "null": (b"null", NO_OBJECT),
    "Latin-1": (b'{"a": "\xe9"}', NOT_UTF_8),
    "a lone byte": (b"\xff", NOT_UTF_8),
    "UTF-16": (GOOD_BODY.decode().encode("utf-16"), UTF_16),
    "UTF-16 without a mark": (GOOD_BODY.decode().encode("utf-16-be"), UTF_16),
    "UTF-32": (GOOD_BODY.decode().encode("utf-32-le"), UTF_16),
    "gzip": (gzip.compress(GOOD_BODY), "the body is compressed (gzip): send it as plain UTF-8"),
    "zlib": (zlib.compress(GOOD_BODY), "the body is compressed (zlib): send it as plain UTF-8"),
    "an encoded surrogate": (b'{"a": "\xed\xa0\x80"}', NOT_UTF_8),
    "an overlong encoding": (b'{"a": "\xc0\xaf"}', NOT_UTF_8),
    "NaN": (b'{"a": NaN}', NOT_NUMBERS),
    "Infinity": (b'{"a": [Infinity]}', NOT_NUMBERS),
    "-Infinity": (b'{"a": -Infinity}', NOT_NUMBERS),
}  # fmt: skip


@pytest.mark.parametrize(("body", "detail"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_body_that_is_no_event_is_malformed_and_leaves_its_name_unknown(
    body: bytes, detail: str
) -> None:
    refusal = parse(body, CONTENT_TYPE, "volume-created")
    assert refusal == Unreadable(Reason.MALFORMED, detail, event_id="", event_type="unknown")


NESTED = {
    "60000 open brackets": b"[" * 60_000,
    "60000 brackets": b"[" * 30_000 + b"]" * 30_000,
    "100000 brackets": b"[" * 50_000 + b"]" * 50_000,
    "10000 nested objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "brackets in an attribute": b'{"specversion":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
}


@pytest.mark.parametrize("body", NESTED.values(), ids=NESTED)
def test_brackets_without_end_are_malformed(body: bytes) -> None:
    # Which sentence depends on how deep this version of Python reads.
    refused(parse(body, CONTENT_TYPE, "volume-created"))


DUPLICATES = {
    "an attribute": GOOD_BODY.replace(b'"id":', b'"id": "other", "id":', 1),
    "the data": GOOD_BODY[:-1] + b', "data": {}}',
    "a field of the data": GOOD_BODY.replace(b'"volume_id":', b'"volume_id": "2", "volume_id":'),
    "with the same value": GOOD_BODY.replace(b'"id": "6d1c"', b'"id": "6d1c", "id": "6d1c"'),
    "a field of the source": GOOD_BODY.replace(b'"kind":', b'"kind": "volume", "kind":'),
    "a field nobody reads": GOOD_BODY[:-1] + b', "x": [{"a": 1, "a": 2}]}',
    "written differently": GOOD_BODY[:-1] + rb', "\u0069d": "other"}',
}


@pytest.mark.parametrize("body", DUPLICATES.values(), ids=DUPLICATES)
def test_a_name_that_is_there_twice_is_malformed(body: bytes) -> None:
    detail = refused(parse(body, CONTENT_TYPE, "volume-created"))
    assert detail == "an object of the body has the same name twice"


@pytest.mark.parametrize("filler", ["x", "é"], ids=["ASCII", "two bytes a letter"])
def test_a_body_of_64_kib_is_taken_and_one_byte_more_is_not(filler: str) -> None:
    whole = document() | {"x": ""}
    spare = MAX_BODY_BYTES - len(json.dumps(whole).encode())
    whole["x"] = filler * (spare // len(filler.encode())) + "x" * (spare % len(filler.encode()))
    body = json.dumps(whole, ensure_ascii=False).encode()
    assert len(body) == 64 * 1024
    assert isinstance(parse(body, CONTENT_TYPE, "volume-created"), Event)
    assert refused(parse(body + b" ", CONTENT_TYPE, "volume-created")) == TOO_LARGE


def test_the_size_is_looked_at_before_anything_is_parsed() -> None:
    assert refused(parse(b"\xff" * (MAX_BODY_BYTES + 1), CONTENT_TYPE, "x")) == TOO_LARGE


@pytest.mark.parametrize(("event_type", "path"), EVERY_FIELD)
def test_nesting_of_any_depth_in_any_field_is_refused(event_type: str, path: str) -> None:
    text = json.dumps(changed(event_type, path, "HERE"))
    # Around a thousand, where the interpreter's own limit is.
    for depth in (*range(1, 10), *range(900, 1100, 3), 10_000):
        body = text.replace('"HERE"', "[" * depth + "]" * depth).encode()
        detail = refused(parse(body, CONTENT_TYPE, event_type))
        assert detail == TOO_DEEP or detail.startswith(path)


def test_notes_of_any_depth_are_ignored_or_refused() -> None:
    text = json.dumps(changed("volume-created", "data.extra", {"a": "HERE"}))
    for depth in (*range(900, 1100), 1900):
        body = text.replace('"HERE"', "[" * depth + "]" * depth).encode()
        read_ = parse(body, CONTENT_TYPE, "volume-created")
        assert isinstance(read_, Event) or read_.detail.endswith("nested too deeply")


def test_nesting_in_a_field_nobody_reads_is_ignored_up_to_a_depth() -> None:
    deep: Any = []
    for level in range(400):
        deep = [deep] if level % 2 else {"a": deep}
    assert read(document() | {"x": deep}) == EVENTS["volume-created"]


def test_a_number_beyond_every_float_is_no_size() -> None:
    body = GOOD_BODY.replace(b"10737418240", b"1e400")
    assert refused(parse(body, CONTENT_TYPE, "volume-created")).startswith("data.size_bytes: ")


# --- what a refusal says ----------------------------------------------------------


def test_a_refusal_names_the_event_as_far_as_it_can_be_read() -> None:
    refusal = read(without("volume-created", "data.volume_id"))
    assert refusal == Unreadable(
        Reason.MALFORMED, "data.volume_id: missing", "6d1c", "volume-created"
    )


@pytest.mark.parametrize(
    "name",
    ["", "é", "a\nb", "a\0", "a\x1b", "a" * 256, "\ud800", 7, None, ["a"], {"a": "b"}],
    ids=ascii,
)
def test_a_name_that_does_not_fit_into_a_header_counts_as_unread(name: object) -> None:
    refusal = read(document() | {"id": name, "type": name}, "volume-created")
    assert isinstance(refusal, Unreadable)
    assert (refusal.event_id, refusal.event_type) == ("", "unknown")


MARKER = "MARKER-xyzzy"
MARKED: list[object] = [
    MARKER, f"{MARKER}\n", f"{MARKER}\0", MARKER * 30, [MARKER], {MARKER: MARKER},
    {MARKER: {MARKER: 1}}, {"kind": MARKER, "id": MARKER, "cipher": MARKER},
    {"kind": "volume", "id": f" {MARKER}"}, {"cipher": f"{MARKER} "},
]  # fmt: skip


@pytest.mark.parametrize(("event_type", "path"), EVERY_FIELD)
def test_what_a_field_held_is_not_in_the_refusals_detail(event_type: str, path: str) -> None:
    for value in MARKED:
        event = read(changed(event_type, path, value), event_type)
        # An unknown field has no other name than its own.
        if isinstance(event, Unreadable) and not event.may_be_newer:
            assert MARKER not in event.detail


@pytest.mark.parametrize(
    "body",
    [
        MARKER.encode(), MARKER.encode() + b"\xff", f'["{MARKER}"]'.encode(),
        f'{{"{MARKER}": 1, "{MARKER}": 2}}'.encode(), f'{{"{MARKER}": NaN}}'.encode(),
        f'{{"id": "{MARKER}", "type": "{MARKER}"}}'.encode(), MARKER.encode() * 10_000,
    ],
    ids=range(7),
)  # fmt: skip
def test_what_a_body_held_is_not_in_the_refusals_detail(body: bytes) -> None:
    assert MARKER not in refused(parse(body, CONTENT_TYPE, MARKER))


def test_neither_are_the_routing_key_and_the_content_type() -> None:
    assert MARKER not in refused(parse(GOOD_BODY, CONTENT_TYPE, MARKER))
    assert MARKER not in refused(parse(GOOD_BODY, MARKER, "volume-created"))


# --- any input at all -------------------------------------------------------------

LETTERS = st.characters()  # lone surrogates included
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(LETTERS, max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(LETTERS, max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)
NAMES = sorted({path.rpartition(".")[2] for _event_type, path in EVERY_FIELD})
PLAUSIBLE: st.SearchStrategy[Any] = st.sampled_from([
    "volume", "snapshot", "partition", "1.0", "volume-created", "a", "", 0, 1, None, {}, [],
])  # fmt: skip


def assert_fit_for_a_header(detail: str) -> None:
    assert re.fullmatch(r"[ -~]{1,255}", detail)


def assert_total(body: bytes, content_type: object, routing_key: str) -> None:
    event = parse(body, content_type, routing_key)
    assert event == parse(body, content_type, routing_key)
    if isinstance(event, Event):
        assert isinstance(event.item, Item)
        return
    assert isinstance(event, Unreadable)
    assert event.reason in {Reason.MALFORMED, Reason.UNSUPPORTED_TYPE}
    assert_fit_for_a_header(event.detail)
    assert_fit_for_a_header(event.event_type)
    assert_fit_for_a_header(event.event_id or "-")


@given(st.binary(), st.none() | st.text() | st.integers(), st.text(LETTERS))
@example(b"{}", None, "")
def test_any_bytes_give_an_event_or_a_refusal(
    body: bytes, content_type: object, routing_key: str
) -> None:
    assert_total(body, content_type, routing_key)


@given(JSON_VALUES)
def test_any_json_gives_an_event_or_a_refusal(value: object) -> None:
    assert_total(json.dumps(value).encode(), CONTENT_TYPE, "volume-created")


@st.composite
def mutated_documents(draw: st.DrawFn) -> dict[str, Any]:
    """A valid event with a few fields gone, replaced or added, anywhere."""
    whole = document(draw(st.sampled_from(sorted(DOCUMENTS))))
    for _ in range(draw(st.integers(1, 3))):
        target = draw(st.sampled_from(list(objects_in(whole))))
        name = draw(st.sampled_from(NAMES) | st.text(LETTERS, max_size=5))
        if name in target and draw(st.booleans()):
            del target[name]
        else:
            # A copy: what is sampled is one object each time, and may be changed below.
            target[name] = copy.deepcopy(draw(PLAUSIBLE | JSON_VALUES))
    return whole


def objects_in(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from objects_in(inner)


@given(mutated_documents())
def test_an_event_changed_anywhere_gives_an_event_or_a_refusal(whole: dict[str, Any]) -> None:
    key = whole.get("type")
    assert_total(json.dumps(whole).encode(), CONTENT_TYPE, key if isinstance(key, str) else "")


@given(st.sampled_from(sorted(DOCUMENTS)), st.data())
def test_an_event_with_bytes_changed_gives_an_event_or_a_refusal(
    event_type: str, data: st.DataObject
) -> None:
    body = bytearray(json.dumps(DOCUMENTS[event_type]).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    assert_total(bytes(body), CONTENT_TYPE, event_type)


@pytest.mark.parametrize("where", [None, "source", "encryption"])
def test_of_thousands_of_unknown_fields_one_is_told_and_few_are_looked_at(
    where: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def looked_at(errors: Sequence[ErrorDetails]) -> ErrorDetails | None:
        sizes.append(len(errors))
        return unknown_in(errors)

    monkeypatch.setattr(reading, "unknown_in", looked_at)
    many = {f"f{number}": 1 for number in range(3000)}
    whole = document()
    whole["data"] |= many if where is None else {where: many}
    path = "data" if where is None else f"data.{where}"
    assert refused(read(whole)).startswith(f"{path}.f0 is unknown; ")
    assert max(sizes) <= reading.MAX_ERRORS
