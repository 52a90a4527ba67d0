"""Deliveries read from their frames: whatever stands in them, the event comes through."""

from collections.abc import Iterable
from struct import error, pack
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.basic_message import Message
from amqp.exceptions import UnexpectedFrame
from amqp.spec import Basic
from hypothesis import given
from hypothesis import strategies as st

from kmworker.bus.frames import RawDelivery, delivery_frames
from kmworker.clock import rfc3339
from kmworker.dead_letters import dead_letter
from kmworker.decision import Refuse
from kmworker.errors import Reason
from kmworker.message import Original
from kmworker.properties import pack as pack_properties
from kmworker.properties import unpack
from tests.unit.bus.wires import (
    BODY,
    CONSUMER_CHANNEL,
    HEADER,
    HEARTBEAT,
    Frame,
    declare_ok,
    deliver,
    field,
    headers,
)

FRAME_MAX = 131_072


class Reader:
    """A connection as the frame handler sees it, and everything it has handed on."""

    def __init__(self, frame_max: int = FRAME_MAX) -> None:
        self.delivered: list[RawDelivery] = []
        self.others: list[Any] = []
        self.connection = SimpleNamespace(bytes_recv=0, frame_max=frame_max)
        make = delivery_frames(self.delivered.append)
        self.on_frame = make(self.connection, lambda *method: self.others.append(method))

    def read(self, frames: Iterable[Frame]) -> list[bool]:
        """Handle frames; tell for each whether something became complete."""
        return [self.on_frame((kind, channel, memoryview(data))) for kind, channel, data in frames]


def read_one(frames: list[Frame], frame_max: int = FRAME_MAX) -> RawDelivery:
    reader = Reader(frame_max)
    assert reader.read(frames) == [False] * (len(frames) - 1) + [True]
    (delivery,) = reader.delivered
    assert publishable(delivery)
    return delivery


def publishable(delivery: RawDelivery) -> bool:
    """Whether it can be parked, and dead-lettered, before a dead letter's worst is known."""
    original = Original(delivery.body, delivery.routing_key, delivery.properties)
    assert unpack(pack_properties(delivery.properties)).keys() == delivery.properties.keys()
    letter = dead_letter(
        original,
        Refuse(Reason.MALFORMED, "d" * 300),
        exchange="dead",
        event_id="i" * 255,
        event_type="t" * 255,
        dead_at=rfc3339(0),
        attempts=1,
    )
    return len(Message(**letter.properties)._serialize_properties()) < FRAME_MAX - 8


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_a_body_comes_in_as_many_frames_as_it_likes(pieces: int) -> None:
    body = bytes(range(256)) * 3
    delivery = read_one(deliver(body, tag=9, pieces=pieces, content_type="application/json"))
    assert delivery == RawDelivery(
        9, False, "volume-created", {"content_type": "application/json"}, body
    )
    assert isinstance(delivery.body, bytes)


def test_an_empty_body_is_complete_with_its_header() -> None:
    assert read_one(deliver(b"")).body == b""


def test_a_redelivery_is_told_from_a_first_delivery() -> None:
    assert read_one(deliver(b"x", redelivered=True)).redelivered
    assert not read_one(deliver(b"x")).redelivered


def test_tags_are_64_bits() -> None:
    assert read_one(deliver(b"x", tag=2**64 - 1)).tag == 2**64 - 1


def test_frames_of_other_channels_and_heartbeats_may_come_in_between() -> None:
    reader = Reader()
    first, second = deliver(b"ab", tag=1, pieces=2), deliver(b"c", tag=2)
    for frame in first:
        reader.read([(HEARTBEAT, 0, b""), declare_ok(channel=1), frame])
    reader.read(second)
    assert [(delivery.tag, delivery.body) for delivery in reader.delivered] == [
        (1, b"ab"),
        (2, b"c"),
    ]
    assert len(reader.others) == 4


def test_every_frame_is_a_sign_of_life() -> None:
    reader = Reader()
    frames = [*deliver(b"abc", pieces=3), (HEARTBEAT, 0, b""), declare_ok()]
    reader.read(frames)
    assert reader.connection.bytes_recv == len(frames)


def test_methods_are_handed_on_and_say_that_something_came() -> None:
    reader = Reader()
    assert reader.read([declare_ok()]) == [True]
    assert reader.read([(HEARTBEAT, 0, b"")]) == [False]


def test_content_without_a_delivery_is_an_error_as_before() -> None:
    with pytest.raises(UnexpectedFrame):
        Reader().read([(HEADER, CONSUMER_CHANNEL, b"\0" * 14)])
    with pytest.raises(UnexpectedFrame):
        Reader().read([(BODY, CONSUMER_CHANNEL, b"x")])


# --- what no producer should send -------------------------------------------------


def test_a_routing_key_that_is_not_utf_8_equals_no_event_type() -> None:
    assert read_one(deliver(b"x", key=b"volume-\xffcreated")).routing_key == "volume-\ufffdcreated"


def test_a_header_that_is_not_utf_8_is_kept_as_bytes() -> None:
    table = field(b"x-odd", b"S", pack(">I", 2) + b"\xff\xfe")
    delivery = read_one(deliver(b"x", header=headers(table)))
    assert delivery.properties == {"application_headers": {"x-odd": b"\xff\xfe"}}


def test_a_header_name_that_is_not_utf_8_is_kept_as_bytes() -> None:
    table = field(b"x-\xff", b"t", b"\1")
    delivery = read_one(deliver(b"x", header=headers(table)))
    assert delivery.properties == {"application_headers": {b"x-\xff": True}}


def nested(levels: int) -> bytes:
    table = field(b"x", b"t", b"\1")
    for _ in range(levels):
        table = field(b"x", b"F", pack(">I", len(table)) + table)
    return headers(table)


UNUSABLE = {
    "unknown table type": headers(field(b"x", b"?", b"\0\0")),
    "table cut short": headers(field(b"x", b"l", b"\0\0")),
    "array cut short": headers(field(b"x", b"A", pack(">I", 9) + b"S")),
    "content type not UTF-8": pack(">HB", 0x8000, 2) + b"\xff\xfe",
    "header that is a date beyond all calendars": headers(field(b"x", b"T", b"\xff" * 8)),
    "tables in tables": nested(33),
    "tables in tables beyond the stack": nested(5000),
    "nothing at all": b"",
    "large": headers(field(b"x", b"S", pack(">I", FRAME_MAX // 2) + b"a" * (FRAME_MAX // 2))),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_event_beside_unusable_properties_comes_through_without_them(name: str) -> None:
    delivery = read_one(deliver(b"event", tag=5, header=UNUSABLE[name]))
    assert delivery == RawDelivery(5, False, "volume-created", {}, b"event")


@given(
    flags=st.lists(st.sampled_from([1 << 15, 1 << 12, 1 << 7, 1 << 5, 1 << 3]), unique=True).map(
        sum
    ),
    rest=st.one_of(
        st.binary(max_size=60),
        st.lists(st.text(max_size=9), max_size=5).map(
            lambda texts: b"".join(bytes([len(t.encode())]) + t.encode() for t in texts)
        ),
    ),
)
def test_plain_properties_are_those_that_py_amqp_reads(flags: int, rest: bytes) -> None:
    header = pack(">H", flags) + rest
    theirs = Message()
    try:
        theirs._load_properties(Basic.Deliver[0], header, 0)
    except (IndexError, UnicodeDecodeError, error):
        expected = {}
    else:
        expected = theirs.properties
    assert read_one(deliver(b"event", header=header)).properties == expected


def test_properties_take_at_most_half_of_the_brokers_largest_frame() -> None:
    header = headers(field(b"x", b"S", pack(">I", 3000) + b"a" * 3000))
    assert read_one(deliver(b"event", header=header)).properties
    assert not read_one(deliver(b"event", header=header), frame_max=4096).properties


def test_tables_in_tables_are_kept_where_they_are_few() -> None:
    assert read_one(deliver(b"event", header=nested(30))).properties


def test_a_timestamp_beyond_63_bits_is_left_out() -> None:
    assert read_one(deliver(b"x", timestamp=2**63, type="t")).properties == {"type": "t"}
    assert read_one(deliver(b"x", timestamp=2**63 - 1)).properties["timestamp"] == 2**63 - 1


def test_all_table_types_come_through_and_go_out_again() -> None:
    table = b"".join(
        field(b"x-" + kind, kind, value)
        for kind, value in {
            b"t": b"\1",
            b"b": b"\xff",
            b"B": b"\xff",
            b"U": b"\xff\xff",
            b"u": b"\xff\xff",
            b"s": b"\xff\xff",
            b"I": b"\x80\0\0\0",
            b"i": b"\xff\xff\xff\xff",
            b"L": b"\x80" + b"\0" * 7,
            b"l": b"\x80" + b"\0" * 7,
            b"f": pack(">f", 1.5),
            b"d": pack(">d", float("nan")),
            b"D": b"\xff\x80\0\0\0",
            b"S": pack(">I", 3) + b"abc",
            b"x": pack(">I", 3) + b"\0\xff\0",
            b"T": pack(">Q", 1_795_449_600),
            b"V": b"",
            b"A": pack(">I", 2) + b"t\1",
            b"F": pack(">I", 4) + field(b"y", b"t", b"\0"),
        }.items()
    )
    delivery = read_one(deliver(b"x", header=headers(table)))
    assert len(delivery.properties["application_headers"]) == 19


@given(header=st.binary(max_size=200), body=st.binary(max_size=20), key=st.binary(max_size=30))
def test_whatever_the_bytes_nothing_raises(header: bytes, body: bytes, key: bytes) -> None:
    assert read_one(deliver(body, key=key, header=header)).body == body


@given(flags=st.integers(0, 0xFFFF), rest=st.binary(max_size=200))
def test_whatever_the_properties_they_can_go_out_again(flags: int, rest: bytes) -> None:
    assert read_one(deliver(b"x", header=pack(">H", flags) + rest)).body == b"x"


@given(table=st.binary(max_size=200))
def test_whatever_the_headers_they_can_go_out_again(table: bytes) -> None:
    assert read_one(deliver(b"x", header=headers(table))).body == b"x"
