"""The frames of a publication: the same bytes as py-amqp's, or none."""

from typing import Any

import pytest
from amqp import Message, spec
from amqp.method_framing import frame_writer
from amqp.serialization import dumps
from hypothesis import example, given
from hypothesis import strategies as st

from kmworker.bus.amqp.publishing import ack_frame, is_small, publish_frames

PROPERTIES = {
    "content_type": "application/cloudevents+json",
    "delivery_mode": 2,
    "message_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "type": "key-assigned",
    "app_id": "kmworker",
}
REQUEST = PROPERTIES | {
    "delivery_mode": 1,
    "type": "key-requested",
    "user_id": "compute-17",
    "expiration": "30000",
    "reply_to": "amq.rabbitmq.reply-to",
    "application_headers": {"x-kmworker-signature": "c2lnbmVk"},
}
ANSWER = PROPERTIES | {
    "delivery_mode": 1,
    "type": "key-delivered",
    "correlation_id": "3b8f0a52-9f5d-4f0e-8f5c-6b1e8f3f7a10",
    "expiration": "30000",
    "application_headers": {"x-kmworker-signature": "c2lnbmVk"},
}
short = st.text(max_size=60)


class Wire:
    """A connection as py-amqp's writer knows it, and its transport."""

    def __init__(self) -> None:
        self.frame_max = 131_072
        self.bytes_sent = 0
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += bytes(data)


def theirs(channel: int, arguments: tuple[Any, ...], properties: Any, body: bytes) -> bytes:
    """Return what py-amqp writes."""
    wire = Wire()
    packed = dumps("Bssbb", arguments)
    content = Message(body, **properties)
    frame_writer(wire, wire)(1, channel, spec.Basic.Publish, packed, content)
    return wire.written


@given(
    channel=st.integers(1, 65_535),
    names=st.tuples(short, short),
    properties=st.fixed_dictionaries(
        {},
        optional={
            "content_type": short,
            "delivery_mode": st.sampled_from([1, 2]),
            "message_id": short,
            "type": short,
            "user_id": short,
            "app_id": short,
            "application_headers": st.dictionaries(short, st.text(max_size=300), max_size=3),
            "correlation_id": short,
            "reply_to": short,
            "expiration": short,
        },
    ),
    body=st.binary(max_size=200),
    mandatory=st.booleans(),
)
def test_a_publication_has_the_same_bytes_as_py_amqps(
    channel: int,
    names: tuple[str, str],
    properties: dict[str, Any],
    body: bytes,
    mandatory: bool,  # hypothesis names it
) -> None:
    arguments = (0, *names, mandatory, False)
    ours = publish_frames(channel, arguments, properties, body)
    assert ours == theirs(channel, arguments, properties, body)


@given(channel=st.integers(1, 65_535), tag=st.integers(1, 2**64 - 1), multiple=st.booleans())
def test_an_acknowledgement_has_the_same_bytes_as_py_amqps(
    channel: int, tag: int, multiple: bool
) -> None:
    wire = Wire()
    frame_writer(wire, wire)(1, channel, spec.Basic.Ack, dumps("Lb", (tag, multiple)), None)
    assert ack_frame(channel, tag, multiple=multiple) == wire.written


@pytest.mark.parametrize(
    "properties",
    [
        pytest.param(PROPERTIES, id="an announcement"),
        pytest.param(REQUEST, id="a request"),
        pytest.param(ANSWER, id="an answer"),
    ],
)
def test_what_there_are_many_of_is_not_left_to_py_amqp(properties: dict[str, Any]) -> None:
    arguments = (0, "kmworker.assignments", "key-assigned.volume.p1", True, False)
    assert publish_frames(1, arguments, properties, b"{}") is not None


@given(
    st.fixed_dictionaries(
        {"application_headers": st.dictionaries(short, st.text(max_size=300), max_size=3)},
        optional={"message_id": short, "correlation_id": short, "delivery_mode": st.just(1)},
    )
)
@example({"application_headers": {"h": "\U0001f511" * 300}})
def test_what_is_called_small_is_no_larger_as_py_amqp_writes_it(properties: dict[str, Any]) -> None:
    size = len(Message(b"", **properties)._serialize_properties())
    assert not is_small(properties, size - 1)


@pytest.mark.parametrize("properties", [REQUEST, ANSWER], ids=["a request", "an answer"])
def test_requests_and_answers_are_small(properties: dict[str, Any]) -> None:
    assert is_small(properties, 4_096 - 20)


@pytest.mark.parametrize("value", [1, 1.0, None, b"b", {"a": "b"}, ["a"]])
def test_what_is_no_text_is_measured(value: object) -> None:
    assert not is_small({"application_headers": {"h": value}}, 4_096)
    assert not is_small({"priority": value}, 4_096)


@pytest.mark.parametrize(
    ("arguments", "properties"),
    [
        pytest.param((0, "e", "k", True, True), PROPERTIES, id="immediate"),
        pytest.param((0, "e" * 256, "k", True, False), PROPERTIES, id="a long exchange"),
        pytest.param((0, "e", "k" * 256, True, False), PROPERTIES, id="a long key"),
        pytest.param((0, "e", b"k", True, False), PROPERTIES, id="a key of bytes"),
        pytest.param((0, "e", "k", True, False), {"message_id": "m" * 256}, id="a long id"),
        pytest.param((0, "e", "k", True, False), {"message_id": 7}, id="an id of another type"),
        pytest.param((0, "e", "k", True, False), {"priority": 1}, id="another property"),
        pytest.param(
            (0, "e", "k", True, False),
            {"application_headers": {}, "delivery_mode": 256},
            id="no octet",
        ),
        *(
            pytest.param(
                (0, "e", "k", True, False),
                {"application_headers": {name: value}},
                id=f"a header: {kind}",
            )
            for kind, name, value in (
                ("a number", "h", 1),
                ("nothing", "h", None),
                ("bytes", "h", b"b"),
                ("a table", "h", {}),
                ("a long name", "h" * 256, "t"),
            )
        ),
        pytest.param(
            (0, "e", "k", True, False),
            {"application_headers": {}, "correlation_id": "c" * 256},
            id="a long correlation id",
        ),
        pytest.param(
            (0, "e", "k", True, False),
            {"application_headers": {}, "priority": 1},
            id="another property beside headers",
        ),
    ],
)
def test_what_is_not_plain_is_left_to_py_amqp(
    arguments: tuple[Any, ...], properties: dict[str, Any]
) -> None:
    assert publish_frames(1, arguments, properties, b"{}") is None


def test_an_event_that_says_who_sends_it_is_not_left_to_py_amqp_either() -> None:
    arguments = (0, "kmworker.events", "volume-created", True, False)
    assert publish_frames(1, arguments, PROPERTIES | {"user_id": "cinder"}, b"{}") is not None
