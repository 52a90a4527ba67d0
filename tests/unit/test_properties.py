"""Message properties of events that wait: what comes out is what the producer put in."""

import base64
import struct
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.properties import pack, unpack

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
