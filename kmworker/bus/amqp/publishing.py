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

from kmworker.bus.amqp.framing import BODY, FRAME_END, FRAME_HEAD, HEADER, METHOD, PLAIN

__all__ = ["ack_frame", "publish_frames"]

METHOD_HEAD: Final = Struct(">BHIHHH")
HEADER_FRAME: Final = Struct(">BHIHHQH")
ACK: Final = Struct(">BHIHHQBB")
ACK_BYTES: Final = 13
END: Final = bytes((FRAME_END,))
MAX_SHORT: Final = 255
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
    if immediate or not mandatory or not properties.keys() <= PLAIN.keys():
        return None
    get = properties.get
    around = _around(
        get("content_type"), get("delivery_mode"), get("type"), get("user_id"), get("app_id")
    )
    message_id = _short(get("message_id", ""))
    to, key = _familiar(exchange), _short(routing_key)
    if around is None or message_id is None or to is None or key is None:
        return None
    flags, before, after = around
    if "message_id" in properties:
        flags |= PLAIN["message_id"]
        before += message_id
    return b"".join(
        (
            METHOD_HEAD.pack(METHOD, channel, 7 + len(to) + len(key), *Basic.Publish, 0),
            to,
            key,
            MANDATORY,
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
