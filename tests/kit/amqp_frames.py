"""AMQP frames made by hand (AMQP 0-9-1, sections 2.3.5 and 4.2)."""

from struct import pack
from typing import Any

from amqp import serialization, spec
from amqp.basic_message import Message

Frame = tuple[int, int, bytes]

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
CONSUMER_CHANNEL = 2
# Two bytes each on their way in, five on their way out.
SMALL_INTEGERS = 31_000


def deliver(
    body: bytes = b"",
    *,
    tag: int = 1,
    key: bytes = b"volume-created",
    redelivered: bool = False,
    pieces: int = 1,
    header: bytes | None = None,
    channel: int = CONSUMER_CHANNEL,
    **properties: Any,
) -> list[Frame]:
    """The frames of one delivery; ``header`` replaces the encoded properties."""
    encoded = Message(**properties)._serialize_properties() if header is None else header
    length = -(-len(body) // pieces)
    parts = [body[at : at + length] for at in range(0, len(body), length or 1)]
    return [
        (METHOD, channel, _deliver_method(tag, key, redelivered=redelivered)),
        (HEADER, channel, pack(">HxxQ", spec.Basic.CLASS_ID, len(body)) + encoded),
        *((BODY, channel, part) for part in parts),
    ]


def headers(table: bytes) -> bytes:
    """Encoded properties with nothing but a header table, given as its raw fields."""
    return pack(">HI", 0x2000, len(table)) + table


def field(name: bytes, kind: bytes, value: bytes) -> bytes:
    """A field of a table."""
    return pack("B", len(name)) + name + kind + value


def grown_headers(number: int = SMALL_INTEGERS) -> bytes:
    """Encoded properties of 62 KB that py-amqp, which has read them, writes 2.5 times as large.

    That is more than RabbitMQ's largest frame.
    """
    array = b"b\7" * number
    return headers(field(b"x", b"A", pack(">I", len(array)) + array))


class Encoded(Message):  # type: ignore[misc]  # published without types
    """A message whose properties are encoded by hand."""

    def __init__(self, body: bytes, encoded: bytes) -> None:
        super().__init__(body)
        self._encoded = encoded

    def _serialize_properties(self) -> bytes:
        return self._encoded


def declare_ok(channel: int = 1) -> Frame:
    """Some other method: the reply to a queue's declaration."""
    arguments: bytes = serialization.dumps("sll", ["work", 7, 2])
    return METHOD, channel, pack(">HH", *spec.Queue.DeclareOk) + arguments


def _deliver_method(tag: int, key: bytes, *, redelivered: bool) -> bytes:
    names = [b"consumer-1", b"kmworker.events", key]
    consumer, exchange, key = (pack("B", len(name)) + name for name in names)
    return (
        pack(">HH", *spec.Basic.Deliver) + consumer + pack(">QB", tag, redelivered) + exchange + key
    )
