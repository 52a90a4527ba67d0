"""AMQP message properties to text and back, for events that wait in the store.

They travel as an AMQP field table (AMQP 0-9-1, section 4.2.5.5), so that what is
dead-lettered later has the types that its producer gave it.
"""

import base64
from collections.abc import Mapping
from typing import Any

from amqp import serialization

__all__ = ["pack", "unpack"]


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
