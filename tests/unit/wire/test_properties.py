"""Message properties of events that wait: what comes out is what the producer put in."""

import base64
import struct
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from amqp.basic_message import Message
from hypothesis import given
from hypothesis import strategies as st

from kmworker.domain.message import LEFT_OFF
from kmworker.wire.properties import MAX_PROPERTIES_BYTES, bounded, pack, unpack, written_bytes

# One value for each type of a field table that the codec can write (AMQP 0-9-1, 4.2.5.5).
VALUES: dict[str, Any] = {
    "text": "é",
    "an empty text": "",
    "a lone surrogate": "\ud800",
    "bytes that are no text": b"\xff\0",
    "true": True,
    "false": False,
    "zero": 0,
    "32 bits": 2**31 - 1,
    "negative 32 bits": -(2**31),
    "64 bits": 2**63 - 1,
    "negative 64 bits": -(2**63),
    "a float": 0.1,
    "infinity": float("inf"),
    "a decimal": Decimal("-12.50"),
    "a time": datetime(2026, 11, 23, 16, 0, 1),  # noqa: DTZ001  # as the codec gives it: UTC
    "nothing": None,
    "an array": [1, "a", None, [True, []]],
    "a table": {"a": {"b": {}}, "é": [{"c": 1.5}]},
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_header_of_each_type_comes_back_as_it_was(value: object) -> None:
    properties = {"application_headers": {"x": value}}
    again = unpack(pack(properties))
    assert again == properties
    assert type(again["application_headers"]["x"]) is type(value)


def test_all_properties_come_back_as_they_were() -> None:
    properties = {
        "content_type": "application/json",
        "content_encoding": "identity",
        "application_headers": {"tenant": "2f1d"},
        "delivery_mode": 2,
        "priority": 0,
        "correlation_id": "c-1",
        "reply_to": "answers",
        "expiration": "60000",
        "message_id": "6d1c",
        "timestamp": 1795449600,
        "type": "volume-created",
        "user_id": "cinder",
        "app_id": "cinder",
        "cluster_id": "",
    }
    assert unpack(pack(properties)) == properties


def test_no_properties_come_back_as_none() -> None:
    assert unpack(pack({})) == {}


def test_what_is_packed_keeps_its_bytes() -> None:
    # What waits in stores already must be readable by every later version.
    table = b"\x0ccontent_typeS\x00\x00\x00\x01a" + b"\x0ddelivery_modeI\x00\x00\x00\x02"
    expected = base64.b64encode(struct.pack(">I", len(table)) + table).decode()
    properties = {"content_type": "a", "delivery_mode": 2}
    assert pack(properties) == expected
    assert unpack(expected) == properties


def test_what_is_packed_is_plain_ascii() -> None:
    assert pack({"application_headers": {"é": "\ud800"}}).isascii()


# Decimals as the codec reads them: 32 bits over a power of ten.
DECIMALS = st.builds(
    lambda number, places: Decimal(number) / Decimal(10**places),
    st.integers(-(2**31) + 1, 2**31 - 1),
    st.integers(0, 255),
)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0)
)
NAMES = st.text(st.characters(), max_size=8)
# Bytes come out of the codec only where they are no text, surrogates included.
BYTES = st.binary(max_size=20).map(lambda raw: b"\xff" + raw)
FIELDS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(), max_size=20)
    | BYTES
    | DECIMALS
    | TIMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
TABLES = st.dictionaries(NAMES, FIELDS, max_size=3)


@given(TABLES)
def test_any_table_comes_back_as_it_was_and_packs_to_the_same_text(
    properties: dict[str, Any],
) -> None:
    packed = pack(properties)
    assert unpack(packed) == properties
    assert pack(unpack(packed)) == packed


def test_names_that_are_no_text_come_back_as_they_were() -> None:
    properties: dict[Any, Any] = {b"\xff": "x"}
    assert unpack(pack({"application_headers": properties})) == {"application_headers": properties}


NOT_PACKED = {
    "nothing": "",
    "no base64": "!",
    "not ASCII": "é",
    "half a length": base64.b64encode(b"\0\0").decode(),
    "a table cut short": base64.b64encode(b"\0\0\0\x09\x01aS\0\0").decode(),
    "a type unheard of": base64.b64encode(b"\0\0\0\x03\x01a?").decode(),
    "a time beyond the calendar": base64.b64encode(
        b"\0\0\0\x0b\x01aT\xff\xff\xff\xff\xff\xff\xff\xff"
    ).decode(),
}


@pytest.mark.parametrize("packed", NOT_PACKED.values(), ids=NOT_PACKED)
def test_what_was_not_packed_here_is_refused(packed: str) -> None:
    with pytest.raises(ValueError):
        unpack(packed)


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda raw: b"\0\0\0\x20" + raw))
def test_whatever_is_unpacked_gives_properties_or_a_value_error(raw: bytes) -> None:
    try:
        properties = unpack(base64.b64encode(raw).decode())
    except ValueError:
        return
    assert isinstance(properties, dict)


# --- no more than can be written again --------------------------------------------

INTEGERS = [7] * 4_000


def headers_of(properties: dict[str, Any]) -> dict[str | bytes, Any]:
    headers: dict[str | bytes, Any] = properties["application_headers"]
    return headers


def test_what_has_room_stays_as_it_is() -> None:
    properties = {"type": "t", "application_headers": {"x": [1, {"y": None}]}}
    assert bounded(properties) == properties
    assert bounded({}) == {}


def test_what_is_too_large_is_left_off_alone_and_named() -> None:
    found = bounded({"type": "t", "application_headers": {"a": 1, "big": INTEGERS, "z": 2}})
    assert found == {"type": "t", "application_headers": {"a": 1, "z": 2, LEFT_OFF: "big"}}


@pytest.mark.parametrize(
    "value",
    [frozenset(), 2**63, -(2**63) - 1, Decimal("1E+3"), Decimal(2**31), {"x": frozenset()}],
    ids=repr,
)
def test_what_cannot_be_written_is_left_off_alone_and_named(value: object) -> None:
    found = bounded({"application_headers": {"x": value, b"\xff": 1}})
    assert headers_of(found) == {b"\xff": 1, LEFT_OFF: "x"}


def test_a_property_that_cannot_be_written_is_left_off_alone_and_named() -> None:
    found = bounded({"type": "t" * 256, "priority": 256, "app_id": "a"})
    assert found == {"app_id": "a", "application_headers": {LEFT_OFF: "type, priority"}}


def test_what_must_be_there_has_its_room_first() -> None:
    brought = {f"x{n}": "a" * 255 for n in range(100)}
    own: dict[str | bytes, Any] = {"x1": "ours", **{f"own{n}": "b" * 255 for n in range(9)}}
    found = bounded({"application_headers": brought}, own)
    assert own.items() <= headers_of(found).items()
    assert len(headers_of(found)) > 40
    assert (written_bytes(found) or 0) <= MAX_PROPERTIES_BYTES


def test_what_was_left_off_earlier_stays_named() -> None:
    once = bounded({"application_headers": {"big": INTEGERS}})
    twice = bounded({"application_headers": {**headers_of(once), "more": INTEGERS}})
    assert headers_of(twice) == {LEFT_OFF: "big, more"}


def test_many_names_are_cut() -> None:
    found = bounded({"application_headers": {f"name-{n:030}": INTEGERS for n in range(8)}})
    assert len(headers_of(found)[LEFT_OFF]) == 255


PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": st.text(max_size=300),
        "delivery_mode": st.integers(-1, 300),
        # Of 63 bits: what is more is left off when it is read.
        "timestamp": st.integers(0, 2**63 - 1),
        "app_id": st.text(max_size=300),
        "application_headers": st.dictionaries(
            NAMES | st.text(min_size=200, max_size=300), FIELDS, max_size=3
        ),
    },
)


@given(PROPERTIES, st.sampled_from([1, 20, 60]))
def test_what_is_bounded_is_written_and_no_longer_than_it_may_be(
    properties: dict[str, Any], times: int
) -> None:
    headers = properties.get("application_headers", {})
    # Shorter and shorter, so that what is left off begins close to the limit.
    many = {f"{n}": ["x" * (600 - 9 * n), *headers.values()] for n in range(times)}
    found = bounded({**properties, "application_headers": {**headers, **many}})
    written = Message(**found)._serialize_properties()
    assert len(written) == written_bytes(found)
    assert len(written) <= MAX_PROPERTIES_BYTES
    assert unpack(pack(found)) == found
    assert bounded(found) == found
