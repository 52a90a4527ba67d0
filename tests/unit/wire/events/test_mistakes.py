"""What a refused event is told: which field, and in words what to write instead."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kmworker.domain.event import Unreadable
from kmworker.errors import Reason
from kmworker.wire.events.reading import parse

DATA: dict[str, dict[str, Any]] = {
    "volume-created": {"project_id": "p", "volume_id": "v"},
    "snapshot-taken": {"project_id": "p", "snapshot_id": "s", "volume_id": "v"},
    "replica-added": {
        "project_id": "p",
        "replica_id": "r",
        "source": {"kind": "volume", "id": "v"},
        "node": "n",
    },
}


def event(event_type: str, **data: object) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "e1",
        "source": "/tests",
        "type": event_type,
        "data": DATA[event_type] | data,
    }


def told(document: object, event_type: str = "volume-created", **properties: object) -> str:
    refusal = parse(json.dumps(document).encode(), None, event_type, properties)
    assert isinstance(refusal, Unreadable), refusal
    assert refusal.reason is Reason.MALFORMED
    # It stands in a header, a log and a terminal.
    assert re.fullmatch("[ -~]{1,255}", refusal.detail)
    return refusal.detail


# --- fields that nobody knows -------------------------------------------------------------

MEANT = [
    ("volume-created", "sorce", "source"),
    ("volume-created", "volumeId", "volume_id"),
    ("volume-created", "Encryption", "encryption"),
    ("volume-created", "tenant_id", "project_id"),
    ("volume-created", "size", "size_bytes"),
    ("volume-created", "snapshot_id", 'source: {"kind": "snapshot", "id": "..."}'),
    ("volume-created", "source_volid", 'source: {"kind": "volume", "id": "..."}'),
    ("volume-created", "replica_id", 'source: {"kind": "replica", "id": "..."}'),
    ("volume-created", "imageRef", 'source: {"kind": "image", "id": "..."}'),
    ("volume-created", "cipher", 'encryption: {"cipher": "aes-xts-plain64", "key_bits": 512}'),
    ("volume-created", "metadata", "extra"),
    ("snapshot-taken", "source_volume_id", "volume_id"),
    ("snapshot-taken", "replica_id", 'source: {"kind": "replica", "id": "..."}'),
    ("replica-added", "volume_id", 'source: {"kind": "volume", "id": "..."}'),
    ("replica-added", "partition_id", 'source: {"kind": "partition", "id": "..."}'),
    ("replica-added", "host", "node"),
]


@pytest.mark.parametrize(("event_type", "name", "meant"), MEANT)
def test_an_unknown_field_is_told_the_nearest_known_name(
    event_type: str, name: str, meant: str
) -> None:
    detail = told(event(event_type, **{name: "x"}), event_type)
    assert detail == f"data.{name} is unknown; did you mean {meant}?"


@pytest.mark.parametrize("value", [None, {}, "x"], ids=repr)
def test_an_unknown_field_is_refused_whatever_is_in_it(value: object) -> None:
    assert told(event("volume-created", sorce=value)).startswith("data.sorce is unknown")


def test_a_field_of_another_type_of_event_is_sent_there() -> None:
    detail = told(event("volume-created", node="n"))
    assert detail.startswith("data.node is unknown in volume-created; it belongs to replica-added")
    assert detail.endswith(", volume-attached and volume-detached")
    detail = told(event("snapshot-taken", encryption=None), "snapshot-taken")
    assert detail.endswith("it belongs to volume-created and replica-added")


def test_what_resembles_nothing_is_sent_to_the_notes() -> None:
    detail = told(event("volume-created", flavour=7))
    assert detail == "data.flavour is unknown; notes of your own go into data.extra"


NESTED = [
    ({"source": {"type": "volume", "id": "a"}}, "data.source.type", "kind"),
    ({"source": {"kind": "volume", "volume_id": "a"}}, "data.source.volume_id", "id"),
    ({"source": {"kind": "volume", "id": "a", "tenant": "b"}}, "data.source.tenant", "project_id"),
    ({"encryption": {"cipher": "a", "key_size": 1}}, "data.encryption.key_size", "key_bits"),
    ({"encryption": {"cypher": "a"}}, "data.encryption.cypher", "cipher"),
]


@pytest.mark.parametrize(("data", "path", "meant"), NESTED)
def test_the_objects_in_data_have_no_other_fields_either(
    data: dict[str, Any], path: str, meant: str
) -> None:
    assert told(event("volume-created", **data)) == f"{path} is unknown; did you mean {meant}?"


def test_a_misspelt_field_is_told_before_the_one_that_is_missing() -> None:
    whole = event("volume-created", volum_id="v")
    del whole["data"]["volume_id"]
    assert told(whole) == "data.volum_id is unknown; did you mean volume_id?"


@pytest.mark.parametrize("event_type", DATA)
def test_only_what_a_newer_version_may_know_counts_as_newer(event_type: str) -> None:
    def is_newer(document: dict[str, Any]) -> bool:
        refusal = parse(json.dumps(document).encode(), None, document["type"])
        assert isinstance(refusal, Unreadable)
        return refusal.may_be_newer

    assert is_newer(event(event_type, flavour=7))
    assert is_newer(event(event_type) | {"type": "volume-exploded"})
    assert not is_newer(event(event_type, size_bytes=-1))
    assert not is_newer(event(event_type) | {"specversion": "2.0"})


@given(st.text(st.characters(), max_size=300), st.sampled_from(["", "source", "encryption"]))
@example("\u202edetsurt", "")
@example("a\x1b[2J\n", "")
@example('"' * 300, "source")
@example("\ud800", "")
@example("\ud800", "source")
def test_a_strangers_name_is_cut_and_ascii_alone(name: str, place: str) -> None:
    whole = event(
        "volume-created", source={"kind": "volume", "id": "a"}, encryption={"cipher": "a"}
    )
    target = whole["data"][place] if place else whole["data"]
    if name in {*whole["data"], *target, "project_id", "key_bits", "size_bytes", "volume_type",
                "disposition", "extra"}:  # fmt: skip
        return
    target[name] = 1
    detail = told(whole)
    start = f"data.{place}." if place else "data."
    shown = detail.removeprefix(start).partition(" is unknown")[0]
    assert len(shown) <= 64 + len("...")


# --- ids ----------------------------------------------------------------------------------

ENCODED = {
    "tank/My Data": "a space as %20",
    "tank/M\u00fcller": "U+00FC as %C3%BC",
    "\u5377-1": "U+5377 as %E5%8D%B7",
    "{6F9619FF}": "{ as %7B",
    'a"b': "a double quote as %22",
    "a\\b": "a backslash as %5C",
    "a\nb": "U+000A as %0A",
}


@pytest.mark.parametrize(("name", "how"), ENCODED.items())
def test_an_id_that_is_refused_is_told_how_to_be_encoded(name: str, how: str) -> None:
    assert told(event("volume-created", volume_id=name)) == (
        'data.volume_id: ids of items are printable ASCII without space, ", \\, { and }; '
        f"percent-encode {how}, as in tank/My%20Data"
    )


@pytest.mark.parametrize(
    ("project", "how"), [("a b", "a space as =20"), ("a%", "% as =25"), ("a*", "* as =2A")]
)
def test_a_project_that_is_refused_is_told_how_to_be_encoded(project: str, how: str) -> None:
    assert told(event("volume-created", project_id=project)) == (
        "data.project_id: projects are A-Z a-z 0-9 . _ : @ + ~ = -; use the project's id, "
        f"or encode {how}, as in My=20Project"
    )


# --- small mistakes -----------------------------------------------------------------------

FIELDS: list[tuple[str, object, str]] = [
    ("volume_id", "", "empty"),
    ("volume_id", "a" * 256, "longer than 255 characters"),
    ("project_id", "a" * 129, "longer than 128 characters"),
    ("volume_id", 7, "a number, where text is needed; write it in quotes"),
    ("volume_id", True, "true or false, where text is needed"),
    ("volume_id", None, "null, which counts as missing"),
    ("volume_type", "", "empty"),
    ("volume_type", "a" * 256, "longer than 255 characters"),
    ("volume_type", "a\x1b", "has a control character or a line separator"),
    ("volume_type", "\ud800", "has half a surrogate pair"),
    ("size_bytes", "10", "text, where a number is needed; write it without quotes"),
    ("size_bytes", "10G", "text, where a number is needed"),
    ("size_bytes", 1.5, "not a whole number"),
    ("size_bytes", 1e300, "too large or too small"),
    ("size_bytes", -1, "less than 0"),
    ("size_bytes", 2**63, "more than 9223372036854775807"),
    ("encryption", False, "true or false, where an object is needed"),
    ("encryption", "aes", "text, where an object is needed"),
    ("source", [], "an array, where an object is needed"),
    ("extra", "x", "text, where an object is needed"),
    ("extra", 1, "a number, where an object is needed"),
    ("extra", [], "an array, where an object is needed"),
    ("extra", True, "true or false, where an object is needed"),
    ("disposition", "share", "none of create, clone, reuse"),
    ("disposition", {}, "an object, where text is needed"),
]


@pytest.mark.parametrize(("name", "value", "words"), FIELDS)
def test_a_wrong_value_is_told_in_words(name: str, value: object, words: str) -> None:
    assert told(event("volume-created", **{name: value})) == f"data.{name}: {words}"


def test_a_backup_is_told_to_be_a_replica() -> None:
    detail = told(event("volume-created", source={"kind": "backup", "id": "b1"}))
    assert detail.endswith("image; announce a backup as a replica")


ATTRIBUTES: list[tuple[str, object, str]] = [
    ("specversion", "1.0.1", 'not "1.0"'),
    ("specversion", 1.0, "a number, where text is needed; write it in quotes"),
    ("id", "\u00e9", "has a character that is not printable ASCII"),
    ("id", "a" * 256, "longer than 255 characters"),
    ("source", "", "empty"),
    ("time", 1700000000, "a number, where text is needed; write it in quotes"),
    ("time", "2026-02-30T00:00:00Z", "no real date or time"),
    ("time", "yesterday", "not RFC 3339, as in 2026-11-23T16:00:00Z"),
    (
        "time",
        "2026-11-23T16:24:00.418804",
        "not RFC 3339, as in 2026-11-23T16:00:00Z: the time zone is missing, Z or like +01:00",
    ),
    (
        "time",
        "2026-11-23 16:24:00Z",
        "not RFC 3339, as in 2026-11-23T16:00:00Z: a T stands between date and time",
    ),
    (
        "time",
        "2026-11-23T16:24:00+0000",
        "not RFC 3339, as in 2026-11-23T16:00:00Z: an offset has a colon, like +01:00",
    ),
    ("data", "{}", "text, where an object is needed; is it encoded twice?"),
    ("data", [], "not an object"),
]


@pytest.mark.parametrize(("name", "value", "words"), ATTRIBUTES)
def test_a_wrong_attribute_is_told_in_words(name: str, value: object, words: str) -> None:
    assert told(event("volume-created") | {name: value}) == f"{name}: {words}"


def test_a_cipher_is_told_how_dm_crypt_writes_it() -> None:
    detail = told(event("volume-created", encryption={"cipher": "AES 256"}))
    assert detail.endswith("as dm-crypt writes it, e.g. aes-xts-plain64")


BARE = DATA["volume-created"]
NO_EVENTS: list[tuple[object, str]] = [
    (BARE, "the body is data alone: it goes into data of a CloudEvent"),
    (
        {"oslo.version": "2.0", "oslo.message": "{}"},
        "the body is an oslo.messaging envelope, not a CloudEvent",
    ),
    (
        {"event_type": "volume.create.end", "payload": {}, "publisher_id": "x"},
        "the body is an oslo.messaging notification, not a CloudEvent",
    ),
    ({}, "specversion: missing"),
]


@pytest.mark.parametrize(("document", "words"), NO_EVENTS)
def test_an_object_that_is_no_event_is_named(document: object, words: str) -> None:
    assert told(document) == words


@pytest.mark.parametrize(
    "header", ["cloudEvents:specversion", "cloudEvents_type", "ce-id", "ce_id"]
)
def test_binary_mode_is_named(header: str) -> None:
    headers = {header: "1.0", b"\xff": 1}
    assert told(BARE, application_headers=headers).startswith("CloudEvents' binary mode is not")
    # What a bridge left beside a whole event is no matter.
    body = json.dumps(event("volume-created")).encode()
    assert not isinstance(
        parse(body, None, "volume-created", {"application_headers": headers}), Unreadable
    )


def test_binary_data_is_named() -> None:
    whole = event("volume-created")
    del whole["data"]
    assert told(whole | {"data_base64": "e30="}) == "data: missing; data_base64 is not taken"


def test_a_batch_is_named() -> None:
    refusal = parse(b"[]", "application/cloudevents-batch+json", "volume-created")
    assert isinstance(refusal, Unreadable)
    assert refusal.detail == "the content type is a batch's: publish each event by itself"
