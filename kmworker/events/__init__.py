"""The wire, in: what producers publish, checked and typed."""

from kmworker.events.event import (
    UNENCRYPTED,
    UNKNOWN_TYPE,
    Event,
    RequestedEncryption,
    Unencrypted,
    Unreadable,
)
from kmworker.events.reading import MAX_BODY_BYTES, parse
from kmworker.events.wire import EVENT_TYPES

__all__ = [
    "EVENT_TYPES",
    "MAX_BODY_BYTES",
    "UNENCRYPTED",
    "UNKNOWN_TYPE",
    "Event",
    "RequestedEncryption",
    "Unencrypted",
    "Unreadable",
    "parse",
]
