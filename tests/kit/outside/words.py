"""The contract's nouns, as a client needs them: frozen values, nothing else."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

TYPES: Final = {
    "volume": "volume-created",
    "snapshot": "snapshot-taken",
    "replica": "replica-added",
}
ENDS: Final = {
    "volume": "volume-deleted",
    "snapshot": "snapshot-deleted",
    "replica": "replica-removed",
}
DISPOSITIONS: Final = ("create", "clone", "reuse", "none")
REASONS: Final = (
    "malformed",
    "unsupported-type",
    "conflict",
    "source-missing",
    "source-unusable",
    "policy-denied",
    "integrity",
    "internal",
    "no-room",
)

# Stands in fields that the product must ignore. It may reach no dashboard and no letter's detail.
CANARY: Final = "canary-5b1c0f"
BODY_LIMIT_BYTES: Final = 64 * 1024


class Absent(Enum):
    """A field that is not there, where `null` means something else."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """An item, or an image, by the three things that identify it."""

    project: str
    kind: str
    id: str
    generation: int = 0
    """Which life of the name is meant."""

    @property
    def name(self) -> "Item":
        """The same, whichever life."""
        return replace(self, generation=0) if self.generation else self

    @property
    def ref(self) -> str:
        return f"{self.kind}:{self.id}"

    @property
    def subject(self) -> str:
        return f"{self.project}/{self.ref}"


@dataclass(frozen=True, slots=True)
class Encryption:
    """What data is encrypted with, both halves known."""

    cipher: str
    key_bits: int


@dataclass(frozen=True, slots=True)
class Ask:
    """What an event asks for: the key size may be left to the worker."""

    cipher: str
    key_bits: int | None = None


Asked = Ask | Absent | None


@dataclass(frozen=True, slots=True)
class Event:
    """One well-formed event, before it has a shape on the wire."""

    item: Item
    event_id: str
    producer: str
    source: Item | None = None
    encryption: Asked = ABSENT
    requested: str | None = None
    transport: str | None = None
    node: str | None = None
    size_bytes: int | None = None
    volume_type: str | None = None
    copy: str | None = None
    names_project: bool = False
    """Write the source's project even where it is the item's own."""

    @property
    def type(self) -> str:
        return TYPES[self.item.kind]

    @property
    def cause(self) -> tuple[str, str, str]:
        return (self.event_id, self.producer, self.type)


@dataclass(frozen=True, slots=True)
class Release:
    """That a life of an item is over, before it has a shape on the wire."""

    item: Item
    event_id: str
    producer: str

    @property
    def type(self) -> str:
        return ENDS[self.item.kind]

    @property
    def cause(self) -> tuple[str, str, str]:
        return (self.event_id, self.producer, self.type)


@dataclass(frozen=True, slots=True)
class Message:
    """What a producer hands to the broker."""

    body: bytes
    routing_key: str
    content_type: str | None = "application/cloudevents+json"
    correlation_id: str | None = None
    app_id: str | None = None
    timestamp: int | None = None
    message_id: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """What must become of a message that cannot be processed."""

    reason: str
    types: frozenset[str]
    """What the letter's routing key may name after the reason."""
    event_id: str | None = None
    """What the headers must name; None where the contract leaves it open."""
