"""Deliveries straight from their frames (AMQP 0-9-1, sections 2.3.5 and 4.2).

py-amqp decodes routing keys and headers as UTF-8 and raises out of its dispatch where
they are not. The connection is then lost, the message comes again, and one producer
has stopped all workers. So deliveries are read here, and nothing in them can raise.
"""

import struct
from collections.abc import Callable, Iterable
from struct import unpack_from
from typing import Any, Final, NamedTuple

import structlog
from amqp.basic_message import Message
from amqp.method_framing import frame_handler
from amqp.spec import Basic

from kmworker.bus.framing import BODY, HEADER, METHOD, PLAIN

__all__ = ["FRAME_SHARE", "RawDelivery", "delivery_frames"]

log = structlog.get_logger()

DELIVER: Final = unpack_from(">I", bytes([0, Basic.Deliver[0], 0, Basic.Deliver[1]]))[0]
PROPERTIES_AT: Final = 12

# What comes in must be able to go out again, as a dead letter with headers of its own or
# from the waiting room. A header frame cannot be split; a table is written recursively;
# the 64 bits of a timestamp have no sign, those of a table do.
FRAME_SHARE: Final = 2
MAX_TABLE_DEPTH: Final = 32
MAX_TIMESTAMP: Final = 2**63 - 1

PLAIN_FLAGS: Final = sum(PLAIN.values())

FrameHandler = Callable[[tuple[int, int, Any]], bool]


class RawDelivery(NamedTuple):
    """A delivery with its properties decoded as far as they can be."""

    tag: int
    redelivered: bool
    routing_key: str
    properties: dict[str, Any]
    body: bytes


class _Partial:
    """A delivery whose content is still to come."""

    def __init__(self, channel: int, arguments: bytes) -> None:
        self.channel = channel
        at = 4 + 1 + arguments[4]  # past the method's id and the consumer tag
        self.tag, flags = unpack_from(">QB", arguments, at)
        self.redelivered = bool(flags & 1)
        at += 9
        at += 1 + arguments[at]  # past the exchange
        length = arguments[at]
        # Undecodable bytes become marks, so the key differs from every event's type.
        self.routing_key = arguments[at + 1 : at + 1 + length].decode(errors="replace")
        self.properties: dict[str, Any] = {}
        self.missing = 0
        self.chunks: list[bytes] = []

    def header(self, payload: bytes, max_bytes: int) -> None:
        (self.missing,) = unpack_from(">Q", payload, 4)
        self.properties = _properties(payload, max_bytes)

    def content(self, payload: bytes) -> None:
        self.chunks.append(payload)
        self.missing -= len(payload)

    def complete(self) -> RawDelivery:
        body = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        return RawDelivery(
            self.tag, self.redelivered, self.routing_key, self.properties, bytes(body)
        )


def delivery_frames(
    on_delivery: Callable[[RawDelivery], None], frame_share: int = FRAME_SHARE
) -> Callable[..., FrameHandler]:
    """Return a py-amqp frame handler that hands deliveries to ``on_delivery``.

    Everything else goes to py-amqp's own. Only for a connection that consumes on one channel.

    Args:
        on_delivery: called with each, when it is complete.
        frame_share: properties are kept if they fill at most this part of a frame. 1 is for
            dead letters, which are longer than their events and lose headers on their way back.
    """

    def make(connection: Any, callback: Any, **options: Any) -> FrameHandler:
        others: FrameHandler = frame_handler(connection, callback, **options)
        partial: _Partial | None = None

        def on_frame(frame: tuple[int, int, Any]) -> bool:
            nonlocal partial
            kind, channel, payload = frame
            if kind == METHOD and unpack_from(">I", payload)[0] == DELIVER:
                partial = _Partial(channel, bytes(payload))
            elif partial is None or channel != partial.channel or kind not in {HEADER, BODY}:
                return others(frame)
            elif kind == HEADER:
                partial.header(bytes(payload), connection.frame_max // frame_share)
            else:
                partial.content(bytes(payload))
            # What py-amqp counts to know that the broker is alive.
            connection.bytes_recv += 1
            if kind == METHOD or partial.missing:
                return False
            done, partial = partial, None
            on_delivery(done.complete())
            return True

        return on_frame

    return make


def _properties(payload: bytes, max_bytes: int) -> dict[str, Any]:
    plain = _plain(payload)
    if plain is not None and len(payload) <= max_bytes:
        return plain
    try:
        return _publishable(payload, max_bytes)
    except Exception as error:  # noqa: BLE001  # py-amqp raises whatever its parsers raise
        # The event itself may be good: only what stands beside it is lost.
        log.warning("unusable message properties", error=type(error).__name__)
        return {}


def _publishable(payload: bytes, max_bytes: int) -> dict[str, Any]:
    if len(payload) > max_bytes:
        raise ValueError("too large")
    message = Message()
    message._load_properties(Basic.Deliver[0], payload, PROPERTIES_AT)  # noqa: SLF001
    properties: dict[str, Any] = message.properties
    if _is_deep(properties.get("application_headers"), MAX_TABLE_DEPTH):
        raise ValueError("nested too deeply")
    if properties.get("timestamp", 0) > MAX_TIMESTAMP:
        del properties["timestamp"]
    return properties


def _plain(payload: bytes) -> dict[str, Any] | None:
    """Return the properties if they are among the few that most producers set.

    py-amqp takes three times as long, and does what is left.
    """
    properties: dict[str, Any] = {}
    at = PROPERTIES_AT + 2
    try:
        (flags,) = unpack_from(">H", payload, PROPERTIES_AT)
        if flags & ~PLAIN_FLAGS:
            return None
        for name, bit in PLAIN.items():
            if flags & bit and name == "delivery_mode":
                properties[name] = payload[at]
                at += 1
            elif flags & bit:
                start = at + 1
                at = start + payload[at]
                properties[name] = payload[start:at].decode()
    except (IndexError, UnicodeDecodeError, struct.error):
        return None
    return properties if at == len(payload) else None


def _is_deep(value: object, levels: int) -> bool:
    values = value.values() if isinstance(value, dict) else value
    if not isinstance(values, Iterable) or isinstance(values, str | bytes):
        return False
    return levels == 0 or any(_is_deep(inner, levels - 1) for inner in values)
