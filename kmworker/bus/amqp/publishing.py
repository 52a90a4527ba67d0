"""Publications and acknowledgements as frames (AMQP 0-9-1, 1.8.3.7, 1.8.3.13, 2.3.5 and 4.2).

py-amqp packs each property by its type, which takes longer than everything else that is
done to publish. An announcement has the same few properties each time, all of them short
strings but one; a request and its answer have a few more, and a signature as their only header.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from amqp.spec import Basic

from kmworker.bus.amqp.framing import BODY, FRAME_END, FRAME_HEAD, HEADER, METHOD, PLAIN

__all__ = ["ack_frame", "is_small", "publish_frames"]

METHOD_HEAD: Final = Struct(">BHIHHH")
HEADER_FRAME: Final = Struct(">BHIHHQH")
ACK: Final = Struct(">BHIHHQBB")
ACK_BYTES: Final = 13
END: Final = bytes((FRAME_END,))
MAX_SHORT: Final = 255
MANDATORY: Final = {True: b"\x01", False: b"\x00"}
LONG_STRING: Final = Struct(">cI")
TABLE_SIZE: Final = Struct(">I")
MAX_CHARACTER_BYTES: Final = 4
AROUND_FIELD_BYTES: Final = 16

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
    if immediate:
        return None
    is_plain = properties.keys() <= PLAIN.keys()
    encoded = _plain(properties) if is_plain else _headed(properties)
    to, key = _familiar(exchange), _short(routing_key)
    if encoded is None or to is None or key is None:
        return None
    flags, before, after = encoded
    return b"".join(
        (
            METHOD_HEAD.pack(METHOD, channel, 7 + len(to) + len(key), *Basic.Publish, 0),
            to,
            key,
            MANDATORY[bool(mandatory)],
            END,
            HEADER_FRAME.pack(
                HEADER, channel, 14 + len(before) + len(after), Basic.CLASS_ID, 0,
                len(body), flags,
            ),
            before,
            after,
            END,
            *((FRAME_HEAD.pack(BODY, channel, len(body)), body, END) if body else ()),
        )
    )  # fmt: skip


def is_small(properties: Mapping[str, Any], most: int) -> bool:
    """Return whether properties are texts that fit into so many bytes, however they are encoded."""
    headers = properties.get("application_headers") or {}
    fields = (*properties.items(), *headers.items())
    size = AROUND_FIELD_BYTES * (1 + len(fields))
    for name, text in fields:
        if isinstance(text, str):
            size += MAX_CHARACTER_BYTES * (len(name) + len(text))
        elif name not in {"delivery_mode", "application_headers"}:
            return False
    return size <= most


def ack_frame(channel: int, tag: int, *, multiple: bool) -> bytes:
    """Return the frame that acknowledges a delivery, or all up to it."""
    return ACK.pack(METHOD, channel, ACK_BYTES, *Basic.Ack, tag, multiple, FRAME_END)


def _short(text: object) -> bytes | None:
    """Return a short string with its length before it; None if it is not one."""
    if not isinstance(text, str):
        return None
    data = text.encode()
    return bytes((len(data),)) + data if len(data) <= MAX_SHORT else None


# Of these there are a few, and each message has the same again.
_familiar = lru_cache(maxsize=64)(_short)


def _plain(properties: Mapping[str, Any]) -> Around | None:
    get = properties.get
    around = _around(
        get("content_type"), get("delivery_mode"), get("type"), get("user_id"), get("app_id")
    )
    message_id = _short(get("message_id", ""))
    if around is None or message_id is None:
        return None
    flags, before, after = around
    if "message_id" in properties:
        flags |= PLAIN["message_id"]
        before += message_id
    return flags, before, after


def _headed(properties: Mapping[str, Any]) -> Around | None:
    """Return what is written of properties with headers, or with an address."""
    flags, parts, written = 0, [], 0
    for name, (bit, encode) in HEADED.items():
        given = properties.get(name)
        written += name in properties
        if given is not None:
            part = encode(given)
            if part is None:
                return None
            flags |= bit
            parts.append(part)
    return (flags, b"".join(parts), b"") if written == len(properties) else None


def _octet(number: object) -> bytes | None:
    return bytes((number,)) if isinstance(number, int) and 0 <= number <= MAX_SHORT else None


def _table(headers: object) -> bytes | None:
    """Return a table of long strings; None where there is anything else in it."""
    if not isinstance(headers, dict):
        return None
    fields: list[bytes] = []
    for name, text in headers.items():
        short = _familiar(name) if isinstance(name, str) else None
        if short is None or not isinstance(text, str):
            return None
        data = text.encode()
        fields += short, LONG_STRING.pack(b"S", len(data)), data
    table = b"".join(fields)
    return TABLE_SIZE.pack(len(table)) + table


HEADED: Final[Mapping[str, tuple[int, Callable[[Any], bytes | None]]]] = {
    "content_type": (1 << 15, _familiar),
    "application_headers": (1 << 13, _table),
    "delivery_mode": (1 << 12, _octet),
    "correlation_id": (1 << 10, _short),
    "reply_to": (1 << 9, _familiar),
    "expiration": (1 << 8, _familiar),
    "message_id": (1 << 7, _short),
    "type": (1 << 5, _familiar),
    "user_id": (1 << 4, _familiar),
    "app_id": (1 << 3, _familiar),
}
"""The properties that a request or an answer may have, in the order in which they are written."""


@lru_cache(maxsize=64)
def _around(
    content_type: object,
    delivery_mode: int | None,
    kind: object,
    user_id: object,
    app_id: object,
) -> Around | None:
    mode = None if delivery_mode is None else bytes((delivery_mode,))
    parts = {
        "content_type": b"" if content_type is None else _short(content_type),
        "delivery_mode": mode or b"",
        "type": b"" if kind is None else _short(kind),
        "user_id": b"" if user_id is None else _short(user_id),
        "app_id": b"" if app_id is None else _short(app_id),
    }
    written = {name: part for name, part in parts.items() if part is not None}
    if len(written) < len(parts):
        return None
    flags = sum(PLAIN[name] for name, part in written.items() if part)
    return (
        flags,
        written["content_type"] + written["delivery_mode"],
        written["type"] + written["user_id"] + written["app_id"],
    )
