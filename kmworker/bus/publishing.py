"""Publications and acknowledgements as frames (AMQP 0-9-1, 1.8.3.7, 1.8.3.13, 2.3.5 and 4.2).

py-amqp packs each property by its type, which takes longer than everything else that is
done to publish. An announcement has the same few properties each time, all of them short
strings but one.
"""

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from amqp.spec import Basic

__all__ = ["ack_frame", "publish_frames"]

METHOD_HEAD: Final = Struct(">BHIHHH")
HEADER: Final = Struct(">BHIHHQH")
BODY_HEAD: Final = Struct(">BHI")
ACK: Final = Struct(">BHIHHQBB")
ACK_BYTES: Final = 13
METHOD, CONTENT_HEADER, BODY = 1, 2, 3
FRAME_END: Final = b"\xce"
# Bit of each property, in the order in which they are written.
CONTENT_TYPE, DELIVERY_MODE, MESSAGE_ID, TYPE, APP_ID = 1 << 15, 1 << 12, 1 << 7, 1 << 5, 1 << 3
KNOWN: Final = frozenset({"content_type", "delivery_mode", "message_id", "type", "app_id"})
SHORT_MOST: Final = 255
MANDATORY: Final = b"\x01"

Around = tuple[int, bytes, bytes]
"""Flags of the properties that messages have in common, and these, before and after the id."""


def publish_frames(
    channel: int, arguments: tuple[Any, ...], properties: Mapping[str, Any], body: bytes
) -> bytes | None:
    """Return method, header and body frame in one piece, ready to be written.

    Args:
        channel: its number.
        arguments: of Basic.Publish: ticket, exchange, routing key, mandatory, immediate.
        properties: of the message.
        body: of the message, small enough for one frame.

    Returns:
        None for what is left to py-amqp: other properties, or strings that are too long.
    """
    _ticket, exchange, routing_key, mandatory, immediate = arguments
    if immediate or not mandatory or not properties.keys() <= KNOWN:
        return None
    get = properties.get
    around = _around(get("content_type"), get("delivery_mode"), get("type"), get("app_id"))
    message_id = _short(get("message_id", ""))
    to, key = _familiar(exchange), _short(routing_key)
    if around is None or message_id is None or to is None or key is None:
        return None
    flags, before, after = around
    if "message_id" in properties:
        flags |= MESSAGE_ID
        before += message_id
    return b"".join(
        (
            METHOD_HEAD.pack(METHOD, channel, 7 + len(to) + len(key), *Basic.Publish, 0),
            to,
            key,
            MANDATORY,
            FRAME_END,
            HEADER.pack(
                CONTENT_HEADER, channel, 14 + len(before) + len(after), Basic.CLASS_ID, 0,
                len(body), flags,
            ),
            before,
            after,
            FRAME_END,
            *((BODY_HEAD.pack(BODY, channel, len(body)), body, FRAME_END) if body else ()),
        )
    )  # fmt: skip


def ack_frame(channel: int, tag: int, *, multiple: bool) -> bytes:
    """Return the frame that acknowledges a delivery, or all up to it."""
    return ACK.pack(METHOD, channel, ACK_BYTES, *Basic.Ack, tag, multiple, FRAME_END[0])


def _short(text: object) -> bytes | None:
    """Return a short string with its length before it; None if it is not one."""
    if not isinstance(text, str):
        return None
    data = text.encode()
    return bytes((len(data),)) + data if len(data) <= SHORT_MOST else None


# Of these there are a few, and each message has the same again.
_familiar = lru_cache(maxsize=64)(_short)


@lru_cache(maxsize=64)
def _around(
    content_type: object, delivery_mode: int | None, kind: object, app_id: object
) -> Around | None:
    mode = None if delivery_mode is None else bytes((delivery_mode,))
    parts = {
        CONTENT_TYPE: b"" if content_type is None else _short(content_type),
        DELIVERY_MODE: mode or b"",
        TYPE: b"" if kind is None else _short(kind),
        APP_ID: b"" if app_id is None else _short(app_id),
    }
    written = {bit: part for bit, part in parts.items() if part is not None}
    if len(written) < len(parts):
        return None
    flags = sum(bit for bit, part in written.items() if part)
    return (
        flags,
        written[CONTENT_TYPE] + written[DELIVERY_MODE],
        written[TYPE] + written[APP_ID],
    )
