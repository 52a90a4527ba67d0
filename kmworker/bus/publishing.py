"""A publication as its frames (AMQP 0-9-1, sections 1.8.3.7, 2.3.5 and 4.2).

py-amqp packs each property by its type, which takes longer than everything else that is
done to publish. An announcement has the same few properties each time, all of them short
strings but one.
"""

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from amqp.spec import Basic

__all__ = ["publish_frames"]

METHOD_HEAD: Final = Struct(">BHIHHH")
HEADER: Final = Struct(">BHIHHQH")
BODY_HEAD: Final = Struct(">BHI")
METHOD, CONTENT_HEADER, BODY = 1, 2, 3
FRAME_END: Final = b"\xce"
# Bit and place of each property, in the order in which they are written.
CONTENT_TYPE, DELIVERY_MODE, MESSAGE_ID, TYPE, APP_ID = 1 << 15, 1 << 12, 1 << 7, 1 << 5, 1 << 3
KNOWN: Final = frozenset({"content_type", "delivery_mode", "message_id", "type", "app_id"})
SHORT_MOST: Final = 255
MANDATORY: Final = b"\x01"


def _short(text: object) -> bytes | None:
    """Return a short string with its length before it; None if it is not one."""
    if not isinstance(text, str):
        return None
    data = text.encode()
    return bytes((len(data),)) + data if len(data) <= SHORT_MOST else None


# Of these there are a few, and each message has the same again.
_familiar = lru_cache(maxsize=64)(_short)
SHORT_STRINGS: Final = (
    ("message_id", MESSAGE_ID, _short),
    ("type", TYPE, _familiar),
    ("app_id", APP_ID, _familiar),
)


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
    packed = _properties(properties)
    names = _familiar(exchange), _short(routing_key)
    if packed is None or None in names:
        return None
    flags, values = packed
    method = b"".join([*names, MANDATORY])  # type: ignore[list-item]  # None was looked for
    return b"".join(
        (
            METHOD_HEAD.pack(METHOD, channel, 6 + len(method), *Basic.Publish, 0),
            method,
            FRAME_END,
            HEADER.pack(
                CONTENT_HEADER, channel, 14 + len(values), Basic.CLASS_ID, 0, len(body), flags
            ),
            values,
            FRAME_END,
            *((BODY_HEAD.pack(BODY, channel, len(body)), body, FRAME_END) if body else ()),
        )
    )


def _properties(properties: Mapping[str, Any]) -> tuple[int, bytes] | None:
    flags, parts = 0, []
    if "content_type" in properties:
        flags |= CONTENT_TYPE
        parts.append(_familiar(properties["content_type"]))
    if "delivery_mode" in properties:
        flags |= DELIVERY_MODE
        parts.append(bytes((properties["delivery_mode"],)))
    for name, bit, pack in SHORT_STRINGS:
        if name in properties:
            flags |= bit
            parts.append(pack(properties[name]))
    if None in parts:
        return None
    return flags, b"".join(part for part in parts if part is not None)
