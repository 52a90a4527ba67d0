"""A message's properties from its header frame (AMQP 0-9-1, sections 2.3.5.2 and 4.2.5.5).

What cannot be read, or is too large to be carried on, is left off alone, and the message
says so: one header of a stranger's must cost neither its neighbours nor a worker. Nothing
here raises, and nothing is decoded that is larger than what a worker carries on.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from struct import error as StructError  # noqa: N812  # it is no constant
from struct import pack, unpack_from
from typing import Any, Final

import structlog
from amqp import serialization
from amqp.basic_message import Message
from amqp.spec import Basic

from kmworker.bus.amqp.framing import PLAIN
from kmworker.wire.properties import MAX_PROPERTIES_BYTES, with_left_off

__all__ = ["counted", "read_properties"]

log = structlog.get_logger()

PROPERTIES_AT: Final = 12
PLAIN_FLAGS: Final = sum(PLAIN.values())
HEADED: Final = {
    "content_type": 1 << 15, "application_headers": 1 << 13, "delivery_mode": 1 << 12,
    "correlation_id": 1 << 10, "reply_to": 1 << 9, "expiration": 1 << 8, "message_id": 1 << 7,
    "type": 1 << 5, "user_id": 1 << 4, "app_id": 1 << 3,
}  # fmt: skip
"""What requests and answers have, in the order in which they are written."""
HEADED_FLAGS: Final = sum(HEADED.values())
LONG_STRING: Final = ord("S")
# A table is written recursively; the 64 bits of a timestamp have no sign, those of a table do.
MAX_TABLE_DEPTH: Final = 32
MAX_TIMESTAMP: Final = 2**63 - 1
# Of a field's value, by its type, as RabbitMQ reads it; the others say their length themselves.
FIXED_BYTES: Final = {
    **dict.fromkeys(b"tbB", 1), **dict.fromkeys(b"sUu", 2), **dict.fromkeys(b"Iif", 4),
    **dict.fromkeys(b"LldT", 8), ord("D"): 5, ord("V"): 0,
}  # fmt: skip
LENGTH_FIRST: Final = frozenset(b"SxFA")
DELIVERY_COUNT: Final = "x-delivery-count"
DELIVERY_MODE: Final = "delivery_mode"


def read_properties(payload: bytes) -> dict[str, Any]:
    """Return the properties in a header frame's payload, as far as they can be carried on."""
    plain = _plain(payload)
    if plain is not None:
        return plain
    if len(payload) <= MAX_PROPERTIES_BYTES:
        properties = _headed(payload) or _sound(payload)
        if properties is not None:
            return properties
    properties, left_off = _one_by_one(payload)
    # The event itself may be good: only what stands beside it is lost.
    log.warning("message properties left off", number=len(left_off))
    return with_left_off(properties, left_off)


def counted(payload: bytes) -> int:
    """Return how often the broker has handed a redelivered message out before; 0: it does not say.

    A table may have one name twice. The broker writes its count over the first, and a producer's
    own may stand behind it, where py-amqp takes the last.
    """
    try:
        for _name, kind, encoded in _split(payload):
            fields = _fields(encoded) if kind == "F" else ()
            for name, field in fields:
                if name == DELIVERY_COUNT.encode():
                    count = _field(field).get(DELIVERY_COUNT)
                    return count if type(count) is int else 0
    except (IndexError, StructError):
        pass
    return 0


# Producers set the same few again and again; flags that a stranger makes up take up no more room.
@lru_cache(maxsize=64)
def _plain_names(flags: int) -> tuple[str, ...] | None:
    """Return what these flags say is there, in order; None if something else is, too."""
    if flags & ~PLAIN_FLAGS:
        return None
    return tuple(name for name, bit in PLAIN.items() if flags & bit)


def _plain(payload: bytes) -> dict[str, Any] | None:
    """Return the properties if they are among the few that most producers set.

    py-amqp takes three times as long, and does what is left.
    """
    properties: dict[str, Any] = {}
    at = PROPERTIES_AT + 2
    try:
        (flags,) = unpack_from(">H", payload, PROPERTIES_AT)
        names = _plain_names(flags)
        if names is None:
            return None
        for name in names:
            if name == DELIVERY_MODE:
                properties[name] = payload[at]
                at += 1
            else:
                start = at + 1
                at = start + payload[at]
                properties[name] = payload[start:at].decode()
    except (IndexError, UnicodeDecodeError, StructError):
        return None
    return properties if at == len(payload) else None


def _headed(payload: bytes) -> dict[str, Any] | None:
    """Return the properties of a request or an answer, whose headers are texts; None: of others."""
    properties: dict[str, Any] = {}
    at = PROPERTIES_AT + 2
    try:
        (flags,) = unpack_from(">H", payload, PROPERTIES_AT)
        if flags & ~HEADED_FLAGS:
            return None
        for name, bit in HEADED.items():
            if not flags & bit:
                continue
            if name == "application_headers":
                end = at + 4 + unpack_from(">I", payload, at)[0]
                properties[name] = _texts(payload, at + 4, end)
                at = end
            elif name == "delivery_mode":
                properties[name] = payload[at]
                at += 1
            else:
                start = at + 1
                at = start + payload[at]
                properties[name] = payload[start:at].decode()
    except (IndexError, UnicodeDecodeError, StructError, _NoText):
        return None
    return properties if at == len(payload) else None


def _texts(payload: bytes, at: int, end: int) -> dict[str, str]:
    """Return a table of long strings.

    Raises:
        IndexError, StructError, UnicodeDecodeError, _NoText: it is not one.
    """
    found = {}
    while at < end:
        start = at + 1
        at = start + payload[at]
        name = payload[start:at].decode()
        if payload[at] != LONG_STRING:
            raise _NoText
        start = at + 5
        at = start + unpack_from(">I", payload, at + 1)[0]
        found[name] = payload[start:at].decode()
    if at != end:
        raise _NoText
    return found


class _NoText(Exception):  # control flow within this module only
    pass


def _sound(payload: bytes) -> dict[str, Any] | None:
    """Return what py-amqp reads, if it is sound as a whole."""
    message = Message()
    try:
        end = message._load_properties(Basic.CLASS_ID, payload, PROPERTIES_AT)  # noqa: SLF001
    except Exception:  # noqa: BLE001  # py-amqp raises whatever its parsers raise
        return None
    properties: dict[str, Any] = message.properties
    is_sound = (
        end == len(payload)
        and properties.get("timestamp", 0) <= MAX_TIMESTAMP
        and not _is_deep(properties.get("application_headers"), MAX_TABLE_DEPTH)
    )
    return properties if is_sound else None


def _one_by_one(payload: bytes) -> tuple[dict[str, Any], list[str]]:
    """Return the properties that can be used, and the names of the others."""
    properties: dict[str, Any] = {}
    left_off: list[str] = []
    try:
        for name, kind, encoded in _split(payload):
            _take(properties, left_off, name, kind, encoded)
    except (IndexError, StructError):
        # Where one ends that is cut short, nobody can say.
        left_off.append("all that follows")
    return properties, left_off


def _split(payload: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Give each property's name, its kind, and the property as it is encoded.

    Raises:
        IndexError, StructError: one is cut short.
    """
    at, bit = PROPERTIES_AT + 2, 1 << 16
    (flags,) = unpack_from(">H", payload, PROPERTIES_AT)
    for name, kind in Message.PROPERTIES:
        bit >>= 1
        if flags & bit:
            end = _property_end(kind, payload, at)
            yield name, kind, payload[at:end]
            at = end


def _property_end(kind: str, payload: bytes, at: int) -> int:
    match kind:
        case "s":
            end = at + 1 + payload[at]
        case "F":
            end = at + 4 + int(unpack_from(">I", payload, at)[0])
        case _:
            end = at + (1 if kind == "o" else 8)
    if end > len(payload):
        raise IndexError(end)
    return end


def _take(
    properties: dict[str, Any], left_off: list[str], name: str, kind: str, encoded: bytes
) -> None:
    if kind == "F":
        properties[name] = dict(_usable(_fields(encoded), left_off))
        return
    value = _text(encoded) if kind == "s" else int.from_bytes(encoded)
    if value is None or (isinstance(value, int) and value > MAX_TIMESTAMP):
        left_off.append(name)
    else:
        properties[name] = value


def _text(encoded: bytes) -> str | None:
    try:
        return encoded[1:].decode()
    except UnicodeDecodeError:
        return None


def _fields(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give each field's name, and the field as it is encoded; the last may be cut short."""
    at = 4
    while at < len(table):
        name_end = at + 1 + table[at]
        end = _value_end(table, name_end)
        yield table[at + 1 : name_end], table[at:end]
        at = end


def _value_end(table: bytes, at: int) -> int:
    kind = table[at] if at < len(table) else 0
    if kind in FIXED_BYTES:
        return at + 1 + FIXED_BYTES[kind]
    if kind in LENGTH_FIRST and at + 5 <= len(table):
        return at + 5 + int(unpack_from(">I", table, at + 1)[0])
    # Of an unknown type nobody can say where it ends.
    return len(table)


def _usable(
    fields: Iterable[tuple[bytes, bytes]], left_off: list[str]
) -> Iterator[tuple[str | bytes, Any]]:
    free_bytes = MAX_PROPERTIES_BYTES
    for name, encoded in fields:
        found: dict[str | bytes, Any] = {}
        if len(encoded) <= free_bytes:
            found = _field(encoded)
        if found:
            free_bytes -= len(encoded)
            yield from found.items()
        else:
            left_off.append(name.decode(errors="replace"))


def _field(encoded: bytes) -> dict[str | bytes, Any]:
    """Return one field as a table; empty if it cannot be used."""
    table = pack(">I", len(encoded)) + encoded
    try:
        (found,), end = serialization.loads("F", table, 0)
    except Exception:  # noqa: BLE001  # as above, a recursion without end among it
        return {}
    is_usable = end == len(table) and not _is_deep(found, MAX_TABLE_DEPTH)
    return found if is_usable else {}


def _is_deep(value: object, levels: int) -> bool:
    values = value.values() if isinstance(value, dict) else value
    if not isinstance(values, Iterable) or isinstance(values, str | bytes):
        return False
    return levels == 0 or any(_is_deep(inner, levels - 1) for inner in values)
