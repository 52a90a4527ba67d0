"""Messages as they come from and go to a broker."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from kmworker.values import value

__all__ = ["Delivery", "Original", "Outgoing"]


@value
class Original:
    """A message as its producer sent it: what is parked, or dead-lettered, unchanged."""

    body: bytes = field(repr=False)
    routing_key: str
    properties: Mapping[str, Any] = field(repr=False)
    """AMQP basic properties by name; ``application_headers`` included."""


@value
class Delivery:
    """An event as the broker delivered it, not yet decoded or acknowledged."""

    original: Original
    tag: int
    generation: int
    """Of the channel it came on: a tag means nothing on any other."""
    received_at: float
    """Monotonic seconds."""
    delivery_count: int = 0
    """How often it was handed out before without being acknowledged."""


@value
class Outgoing:
    """A message to publish, persistent and mandatory."""

    exchange: str
    routing_key: str
    body: bytes = field(repr=False)
    properties: Mapping[str, Any] = field(repr=False)
