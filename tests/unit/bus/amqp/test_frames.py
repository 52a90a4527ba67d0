"""Deliveries read from their frames: whatever stands in them, the event comes through."""

import tracemalloc
from collections.abc import Iterable
from hashlib import sha256
from struct import error, pack
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.basic_message import Message
from amqp.exceptions import UnexpectedFrame
from amqp.spec import Basic
from hypothesis import given
from hypothesis import strategies as st

from kmworker.bus.amqp import header_frame
from kmworker.bus.amqp.frames import RawDelivery, delivery_frames
from kmworker.domain.message import LEFT_OFF, MAX_BODY_BYTES, Digest, Original
from kmworker.wire.properties import MAX_PROPERTIES_BYTES, unpack
from kmworker.wire.properties import pack as pack_properties
from tests.kit.amqp_frames import (
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
from tests.kit.dead_letters import dead_letter_of


class Reader:
    """A connection as the frame handler sees it, and everything it has handed on."""

    def __init__(self) -> None:
        self.delivered: list[RawDelivery] = []
        self.others: list[Any] = []
        self.connection = SimpleNamespace(bytes_recv=0)
        make = delivery_frames(self.delivered.append)
        self.on_frame = make(self.connection, lambda *method: self.others.append(method))

    def read(self, frames: Iterable[Frame]) -> list[bool]:
        """Handle frames; tell for each whether something became complete."""
        return [self.on_frame((kind, channel, memoryview(data))) for kind, channel, data in frames]


def read_one(frames: list[Frame]) -> RawDelivery:
    reader = Reader()
    assert reader.read(frames) == [False] * (len(frames) - 1) + [True]
    (delivery,) = reader.delivered
    assert publishable(delivery)
    return delivery


def publishable(delivery: RawDelivery) -> bool:
    """Whether it can be parked, and dead-lettered, before a dead letter's worst is known."""
    original = Original(delivery.body, delivery.routing_key, delivery.properties)
    assert unpack(pack_properties(delivery.properties)).keys() == delivery.properties.keys()
    letter = dead_letter_of(original, detail="d" * 300, event_id="i" * 255, event_type="t" * 255)
    return len(Message(**letter.properties)._serialize_properties()) <= MAX_PROPERTIES_BYTES


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_a_body_comes_in_as_many_frames_as_it_likes(pieces: int) -> None:
    body = bytes(range(256)) * 3
    tag = 2**64 - 1
    delivery = read_one(deliver(body, tag=tag, pieces=pieces, content_type="application/json"))
    assert delivery == RawDelivery(
        tag, False, "volume-created", {"content_type": "application/json"}, body
    )
    assert isinstance(delivery.body, bytes)


@pytest.mark.parametrize("size", [MAX_BODY_BYTES, MAX_BODY_BYTES + 1, 2_000_000])
def test_a_body_larger_than_any_event_is_digested_as_it_comes(size: int) -> None:
    body = bytes(range(251)) * (size // 251) + b"x" * (size % 251)
    delivery = read_one(deliver(body, pieces=17))
    if size == MAX_BODY_BYTES:
        assert (delivery.body, delivery.dropped) == (body, None)
    else:
        assert (delivery.body, delivery.dropped) == (b"", Digest(sha256(body).hexdigest(), size))


def test_large_bodies_take_no_memory() -> None:
    reader = Reader()
    method, header, *_ = deliver(b"x")
    frame = (BODY, CONSUMER_CHANNEL, b"x" * 131_064)
    size = pack(">HxxQH", 60, 256 * 131_064, 0)
    tracemalloc.start()
    try:
        for _ in range(4):
            # 32 MiB each.
            reader.read([method, (HEADER, header[1], size)])
            reader.read(frame for _ in range(256))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert [delivery.body for delivery in reader.delivered] == [b""] * 4


def test_an_empty_body_is_complete_with_its_header() -> None:
    assert read_one(deliver(b"")).body == b""


@pytest.mark.parametrize("redelivered", [True, False])
def test_a_redelivery_is_told_from_a_first_delivery(redelivered: bool) -> None:
    assert read_one(deliver(b"x", redelivered=redelivered)).redelivered is redelivered


def count(value: int) -> bytes:
    return field(b"x-delivery-count", b"l", pack(">q", value))


def counts(header: bytes) -> tuple[int, int]:
    """What is counted of a redelivery, and of a first delivery."""
    again, first = (read_one(deliver(header=header, redelivered=it)) for it in (True, False))
    return again.delivery_count, first.delivery_count


def test_only_the_broker_counts_deliveries() -> None:
    assert counts(headers(field(b"x", b"t", b"\1") + count(7) + count(-1))) == (7, 0)
    assert counts(headers(count(7) + count(10**12))) == (7, 0)


def test_a_redelivery_counts_as_one_whatever_its_headers_are() -> None:
    assert counts(headers(b"")) == (1, 0)
    assert counts(headers(count(-1))) == (1, 0)
    assert counts(headers(field(b"x-delivery-count", b"t", b"\1") + count(9))) == (1, 0)
    assert counts(headers(count(9)[:-1])) == (1, 0)
    assert counts(b"\x20\0") == (1, 0)
    assert counts(b"") == (1, 0)


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


@pytest.mark.parametrize(
    ("table", "kept"),
    [
        (field(b"x-odd", b"S", pack(">I", 2) + b"\xff\xfe"), {"x-odd": b"\xff\xfe"}),
        (field(b"x-\xff", b"t", b"\1"), {b"x-\xff": True}),
    ],
    ids=["value", "name"],
)
def test_what_is_not_utf_8_in_a_header_is_kept_as_bytes(table: bytes, kept: object) -> None:
    delivery = read_one(deliver(b"x", header=headers(table)))
    assert delivery.properties == {"application_headers": kept}


def nested(levels: int) -> bytes:
    table = field(b"x", b"t", b"\1")
    for _ in range(levels):
        table = field(b"x", b"F", pack(">I", len(table)) + table)
    return headers(table)


# What stands beside the event, and what of it is named as left off.
UNUSABLE = {
    "unknown table type": (headers(field(b"x", b"?", b"\0\0")), "x"),
    "field cut short": (headers(field(b"x", b"l", b"\0\0")), "x"),
    "array cut short": (headers(field(b"x", b"A", pack(">I", 9) + b"S")), "x"),
    "table cut short": (pack(">HI", 0x2000, 9), "all that follows"),
    "content type not UTF-8": (pack(">HB", 0x8000, 2) + b"\xff\xfe", "content_type"),
    "date beyond all calendars": (headers(field(b"x", b"T", b"\xff" * 8)), "x"),
    "tables in tables": (nested(33), "x"),
    "tables in tables beyond the stack": (nested(2000), "x"),
    "tables in tables beyond all bounds": (nested(5000), "x"),
    "nothing at all": (b"", "all that follows"),
    "large": (headers(field(b"x", b"S", pack(">I", 16_384) + b"a" * 16_384)), "x"),
    "a name that is no text": (headers(field(b"x-\xff", b"?", b"")), "x-\ufffd"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_event_beside_unusable_properties_comes_through_without_them(name: str) -> None:
    header, left_off = UNUSABLE[name]
    delivery = read_one(deliver(b"event", tag=5, header=header))
    note = {"application_headers": {LEFT_OFF: left_off}}
    assert delivery == RawDelivery(5, False, "volume-created", note, b"event")


def test_what_is_unusable_costs_its_neighbours_nothing() -> None:
    table = b"".join(
        (
            field(b"before", b"t", b"\1"),
            field(b"huge", b"A", pack(">I", 62_000) + b"b\1" * 31_000),
            field(b"never", b"T", b"\xff" * 8),
            field(b"after", b"I", b"\0\0\0\7"),
        )
    )
    header = pack(">HB", 0xA040, 2) + b"\xff\xfe" + pack(">I", len(table)) + table + b"\0" * 8
    assert read_one(deliver(b"event", header=header)).properties == {
        "timestamp": 0,
        "application_headers": {
            "before": True, "after": 7, LEFT_OFF: "content_type, huge, never",
        },
    }  # fmt: skip


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
        return
    read = read_one(deliver(b"event", header=header)).properties
    # Text that ends with the frame before it has its length is text to py-amqp.
    noted = read.pop("application_headers", None)
    assert read.items() <= theirs.properties.items()
    assert noted or read == theirs.properties


TEXTS = st.dictionaries(st.text(max_size=9), st.text(max_size=40), max_size=3)
SHORT = st.text(max_size=9)


@given(
    st.fixed_dictionaries(
        {"application_headers": TEXTS},
        optional={
            "content_type": SHORT, "delivery_mode": st.sampled_from([1, 2]),
            "correlation_id": SHORT, "reply_to": SHORT, "expiration": SHORT, "message_id": SHORT,
            "type": SHORT, "user_id": SHORT, "app_id": SHORT,
        },
    ),
    st.binary(max_size=2),
    st.integers(0, 8),
)  # fmt: skip
def test_properties_with_headers_are_those_that_py_amqp_reads(
    properties: dict[str, Any], behind: bytes, missing: int
) -> None:
    whole = Message(b"", **properties)._serialize_properties()
    assert read_one(deliver(b"event", header=whole)).properties == properties
    # What is cut short, or has something behind it, is read as anything else that is unsound.
    for header in (whole + behind, whole[: len(whole) - missing]):
        read = header_frame._headed(bytes(12) + header)
        assert read == (properties if header == whole else None)


@pytest.mark.parametrize("bit", [14, 11, 6, 2, 1, 0])
def test_flags_of_other_properties_are_left_to_py_amqp(bit: int) -> None:
    table = field(b"h", b"S", pack(">I", 1) + b"a")
    rest = pack(">I", len(table)) + table
    assert header_frame._headed(bytes(12) + pack(">H", 1 << 13) + rest) is not None
    assert header_frame._headed(bytes(12) + pack(">H", 1 << 13 | 1 << bit) + rest) is None


def test_a_text_that_goes_on_behind_its_table_is_none() -> None:
    table = field(b"h", b"S", pack(">I", 2) + b"a")
    header = pack(">HI", 1 << 13 | 1 << 3, len(table)) + table + b"\1b"
    assert header_frame._headed(bytes(12) + header) is None


@pytest.mark.parametrize("text", [b"plain", "\u00fc".encode(), b"\xff"])
def test_a_request_is_read_without_py_amqp_and_what_is_no_text_by_it(
    text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[bytes] = []
    sound = header_frame._sound

    def noted(payload: bytes) -> dict[str, Any] | None:
        left.append(payload)
        return sound(payload)

    monkeypatch.setattr(header_frame, "_sound", noted)
    for kind, is_ours in ((b"S", text != b"\xff"), (b"x", False)):
        header = headers(field(b"h", kind, pack(">I", len(text)) + text))
        read = read_one(deliver(b"event", header=header)).properties["application_headers"]
        kept = text.decode() if is_ours else text
        assert read == {"h": kept}
        assert bool(left) is not is_ours
        left.clear()


def test_headers_are_kept_as_far_as_they_have_room() -> None:
    header = headers(
        b"".join(field(b"h%d" % n, b"S", pack(">I", 5000) + b"a" * 5000) for n in range(5))
    )
    kept = read_one(deliver(b"event", header=header)).properties["application_headers"]
    assert list(kept) == ["h0", "h1", "h2", LEFT_OFF]
    assert kept[LEFT_OFF] == "h3, h4"


def test_tables_in_tables_are_kept_where_they_are_few() -> None:
    assert read_one(deliver(b"event", header=nested(30))).properties


def test_a_timestamp_beyond_63_bits_is_left_out() -> None:
    assert read_one(deliver(b"x", timestamp=2**63, type="t")).properties == {
        "type": "t",
        "application_headers": {LEFT_OFF: "timestamp"},
    }
    assert read_one(deliver(b"x", timestamp=2**63 - 1)).properties["timestamp"] == 2**63 - 1


@given(header=st.binary(max_size=200), body=st.binary(max_size=20), key=st.binary(max_size=30))
def test_whatever_the_bytes_nothing_raises(header: bytes, body: bytes, key: bytes) -> None:
    assert read_one(deliver(body, key=key, header=header)).body == body


@given(flags=st.integers(0, 0xFFFF), rest=st.binary(max_size=200))
def test_whatever_the_properties_they_can_go_out_again(flags: int, rest: bytes) -> None:
    assert read_one(deliver(b"x", header=pack(">H", flags) + rest)).body == b"x"


@given(table=st.binary(max_size=200))
def test_whatever_the_headers_they_can_go_out_again(table: bytes) -> None:
    assert read_one(deliver(b"x", header=headers(table))).body == b"x"


# Every type that RabbitMQ delivers, by the bytes of its value.
FIXED = {
    b"t": 1, b"b": 1, b"B": 1, b"s": 2, b"u": 2, b"I": 4, b"i": 4, b"l": 8, b"f": 4, b"d": 8,
    b"D": 5, b"T": 8, b"V": 0,
}  # fmt: skip


def _sized(kind: bytes, parts: list[bytes]) -> bytes:
    inner = b"".join(parts)
    return kind + pack(">I", len(inner)) + inner


LEAVES = st.one_of(
    st.sampled_from(
        [
            kind + fill * size
            for kind, size in FIXED.items()
            for fill in (b"\0", b"\1", b"\x7f", b"\xff")
        ]
    ),
    st.binary(max_size=30).map(lambda text: _sized(b"S", [text])),
    st.binary(max_size=30).map(lambda text: _sized(b"x", [text])),
)


def _tables(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    named = st.tuples(st.binary(max_size=9), values).map(
        lambda it: bytes([len(it[0])]) + it[0] + it[1]
    )
    return st.lists(named, max_size=6).map(lambda parts: _sized(b"F", parts))


VALUES = st.recursive(
    LEAVES,
    lambda inner: _tables(inner) | st.lists(inner, max_size=6).map(lambda it: _sized(b"A", it)),
    max_leaves=15,
)


@given(table=_tables(VALUES), times=st.sampled_from([1, 20, 200]))
def test_whatever_a_broker_delivers_beside_an_event_can_be_dead_lettered(
    table: bytes, times: int
) -> None:
    fields = [table[5:]]
    # The same again under other names, until it is larger than what goes on.
    fields += [field(b"again-%d" % again, b"F", table[1:]) for again in range(times - 1)]
    header = headers(b"".join(fields)[:40_000])
    assert read_one(deliver(b"x", header=header)).body == b"x"
