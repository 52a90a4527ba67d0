"""AMQP message properties: to text and back, and no more of them than can be written again.

Events that wait in the store carry theirs as an AMQP field table (AMQP 0-9-1, section
4.2.5.5), so that what is dead-lettered later has the types that its producer gave it.

What was read may take more bytes when it is written: a small integer takes two on its way
in and five on its way out, and a header frame cannot be split. So what goes on is measured
as it will be written, and what does not fit is left off.
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Final

from amqp import serialization
from amqp.basic_message import Message

from kmworker.domain.message import LEFT_OFF

__all__ = [
    "CLOUD_EVENT", "MAX_PROPERTIES_BYTES", "PERSISTENT", "TRANSIENT", "bounded", "cut", "pack",
    "unpack", "with_left_off", "written_bytes",
]  # fmt: skip

CLOUD_EVENT: Final = "application/cloudevents+json"
"""The content type of events and assignments: CloudEvents in structured JSON mode."""
PERSISTENT: Final = 2
"""The delivery mode of all that we publish: queues keep it over a restart of the broker."""
TRANSIENT: Final = 1
"""The delivery mode of what is asked again if it is lost."""
MAX_PROPERTIES_BYTES: Final = 16 * 1024
"""What a message's properties may take as they are written, headers and all."""
MAX_TEXT_BYTES: Final = 255
# Flags and the table's length; and the note, which must fit whatever else is there.
FRAME_BYTES: Final = 2 + 4
NOTE_BYTES: Final = 1 + len(LEFT_OFF) + 5 + MAX_TEXT_BYTES


def pack(properties: Mapping[str, Any]) -> str:
    """Return the properties as base64 of an AMQP field table."""
    return base64.b64encode(serialization.dumps("F", [dict(properties)])).decode("ascii")


def unpack(packed: str) -> dict[str, Any]:
    """Return the properties that `pack` was given.

    Raises:
        ValueError: it is not what `pack` writes.
    """
    table = base64.b64decode(packed, validate=True)
    try:
        (properties,), _length = serialization.loads("F", table, 0)
    except Exception as error:  # py-amqp raises whatever its parsers raise
        raise ValueError("not an AMQP field table") from error
    return dict(properties)


def bounded(
    properties: Mapping[str, Any], own: Mapping[str | bytes, Any] | None = None
) -> dict[str, Any]:
    """Return what of the properties can be written within `MAX_PROPERTIES_BYTES`.

    What is left off, because it is too large or cannot be encoded, is named in the header
    `LEFT_OFF`, behind what was left off earlier.

    Args:
        properties: as they were read.
        own: headers that must be there, small enough, in place of others of their names.
    """
    own = own or {}
    headers: Mapping[str | bytes, Any] = properties.get("application_headers") or {}
    whole = {**properties, "application_headers": {**headers, **own}} if own else {**properties}
    size = written_bytes(whole)
    if size is not None and size <= MAX_PROPERTIES_BYTES:
        return whole
    left_off: list[str] = []
    free_bytes = MAX_PROPERTIES_BYTES - FRAME_BYTES - NOTE_BYTES - _table_bytes(own)
    kept: dict[str, Any] = {}
    for name, value in properties.items():
        if name != "application_headers":
            size = written_bytes({name: value})
            free_bytes -= _take(kept, left_off, name, value, size, free_bytes)
    table: dict[str | bytes, Any] = dict(own)
    for header, value in headers.items():
        if header not in own and header != LEFT_OFF:
            size = _field_bytes(header, value)
            free_bytes -= _take(table, left_off, header, value, size, free_bytes)
    noted = headers.get(LEFT_OFF)
    earlier = [noted] if isinstance(noted, str) else []
    return with_left_off({**kept, "application_headers": table}, [*earlier, *left_off])


def with_left_off(properties: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the properties with the note that these are not there any more."""
    headers = properties.get("application_headers") or {}
    note = cut(", ".join(names))
    return {**properties, "application_headers": {**headers, LEFT_OFF: note}}


def written_bytes(properties: Mapping[str, Any]) -> int | None:
    """Return how long these are in a header frame; None if they cannot be written."""
    try:
        return len(Message(**properties)._serialize_properties())  # noqa: SLF001
    except Exception:  # noqa: BLE001  # py-amqp raises whatever its writers raise
        return None


def cut(text: str) -> str:
    """Return at most 255 bytes of a text, cut between characters."""
    return text.encode(errors="replace")[:MAX_TEXT_BYTES].decode(errors="ignore")


def _take(  # noqa: PLR0913, PLR0917  # one place to decide what is kept
    kept: dict[Any, Any],
    left_off: list[str],
    name: str | bytes,
    value: object,
    size: int | None,
    free_bytes: int,
) -> int:
    """Keep it or leave it off; return how many bytes it takes."""
    if size is None or size > free_bytes:
        left_off.append(name if isinstance(name, str) else name.decode(errors="replace"))
        return 0
    kept[name] = value
    return size


def _field_bytes(name: str | bytes, value: object) -> int | None:
    try:
        return _table_bytes({name: value})
    except Exception:  # noqa: BLE001  # py-amqp raises whatever its writers raise
        return None


def _table_bytes(table: Mapping[str | bytes, Any]) -> int:
    return len(serialization.dumps("F", [dict(table)])) - 4
