"""Events in: whatever bytes come, the answer is an event or a refusal without content."""

import json
import re
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic_core import ErrorDetails

from kmworker.domain.event import Unreadable
from kmworker.domain.model import Item
from kmworker.errors import Reason
from kmworker.wire.events import reading
from kmworker.wire.events.reading import parse
from kmworker.wire.events.wording import unknown_in
from tests.unit.wire.events.documents import (
    CONTENT_TYPE,
    DOCUMENTS,
    EVERY_FIELD,
    GOOD_BODY,
    changed,
    document,
    parsed,
    read,
    refused,
    without,
)

# --- types ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event_type", ["volume-exploded", "key-adopted", "key-assigned", "Volume-Created", "a.b", "#"]
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
    "event_type", ["backup-verified", "snapshot-restored", "partition-removed", "key-assigned", "#"]
)
def test_a_type_of_its_own_is_not_taken_for_a_misspelt_one(event_type: str) -> None:
    detail = refused(read(document() | {"type": event_type}), Reason.UNSUPPORTED_TYPE)
    assert detail == "this version does not know the event's type"


def test_an_unknown_type_in_a_broken_envelope_is_malformed() -> None:
    whole = document() | {"type": "volume-exploded", "specversion": "2.0"}
    assert refused(read(whole)).startswith("specversion: ")


@pytest.mark.parametrize(
    "key", ["", "snapshot-taken", "volume-created ", "volume-created.p1", "Volume-Created", "#"]
)
def test_a_routing_key_that_differs_from_the_type_is_malformed(key: str) -> None:
    assert refused(read(document(), key)) == "the routing key differs from the event's type"


def test_a_routing_key_that_lies_about_an_unknown_type_is_malformed() -> None:
    assert refused(read(document() | {"type": "volume-exploded"}, "volume-created"))


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
    assert MARKER not in refused(parsed(body, MARKER))


def test_neither_are_the_routing_key_and_the_content_type() -> None:
    assert MARKER not in refused(parsed(GOOD_BODY, MARKER))
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


def assert_fit_for_a_header(detail: str) -> None:
    assert re.fullmatch(r"[ -~]{1,255}", detail)


def assert_total(body: bytes, content_type: object, routing_key: str) -> None:
    event = parse(body, content_type, routing_key)
    assert event == parse(body, content_type, routing_key)
    if not isinstance(event, Unreadable):
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
