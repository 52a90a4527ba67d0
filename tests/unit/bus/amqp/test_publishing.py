"""The frames of a publication: the same bytes as py-amqp's, or none."""

from typing import Any

import pytest
from amqp import Message, spec
from amqp.method_framing import frame_writer
from amqp.serialization import dumps
from hypothesis import given
from hypothesis import strategies as st

from kmworker.bus.amqp.publishing import ack_frame, publish_frames

PROPERTIES = {
    "content_type": "application/cloudevents+json",
    "delivery_mode": 2,
    "message_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "type": "key-assigned",
    "app_id": "kmworker",
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
        },
    ),
    body=st.binary(max_size=200),
)
def test_a_publication_has_the_same_bytes_as_py_amqps(
    channel: int, names: tuple[str, str], properties: dict[str, Any], body: bytes
) -> None:
    arguments = (0, *names, True, False)
    ours = publish_frames(channel, arguments, properties, body)
    assert ours == theirs(channel, arguments, properties, body)


@given(channel=st.integers(1, 65_535), tag=st.integers(1, 2**64 - 1), multiple=st.booleans())
def test_an_acknowledgement_has_the_same_bytes_as_py_amqps(
    channel: int, tag: int, multiple: bool
) -> None:
    wire = Wire()
    frame_writer(wire, wire)(1, channel, spec.Basic.Ack, dumps("Lb", (tag, multiple)), None)
    assert ack_frame(channel, tag, multiple=multiple) == wire.written


def test_an_announcement_is_not_left_to_py_amqp() -> None:
    arguments = (0, "kmworker.assignments", "key-assigned.volume.p1", True, False)
    assert publish_frames(1, arguments, PROPERTIES, b"{}") is not None


@pytest.mark.parametrize(
    ("arguments", "properties"),
    [
        pytest.param((0, "e", "k", False, False), PROPERTIES, id="not mandatory"),
        pytest.param((0, "e", "k", True, True), PROPERTIES, id="immediate"),
        pytest.param((0, "e" * 256, "k", True, False), PROPERTIES, id="a long exchange"),
        pytest.param((0, "e", "k" * 256, True, False), PROPERTIES, id="a long key"),
        pytest.param((0, "e", b"k", True, False), PROPERTIES, id="a key of bytes"),
        pytest.param((0, "e", "k", True, False), {"message_id": "m" * 256}, id="a long id"),
        pytest.param((0, "e", "k", True, False), {"message_id": 7}, id="an id of another type"),
        pytest.param((0, "e", "k", True, False), {"priority": 1}, id="another property"),
        pytest.param((0, "e", "k", True, False), {"application_headers": {}}, id="headers"),
    ],
)
def test_what_is_not_plain_is_left_to_py_amqp(
    arguments: tuple[Any, ...], properties: dict[str, Any]
) -> None:
    assert publish_frames(1, arguments, properties, b"{}") is None


def test_an_event_that_says_who_sends_it_is_not_left_to_py_amqp_either() -> None:
    arguments = (0, "kmworker.events", "volume-created", True, False)
    assert publish_frames(1, arguments, PROPERTIES | {"user_id": "cinder"}, b"{}") is not None
