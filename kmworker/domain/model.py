"""The words of the contract as frozen values: no I/O, no clock, no randomness."""

from enum import StrEnum
from typing import NamedTuple

from kmworker.domain.ids import named_id
from kmworker.domain.values import value

__all__ = [
    "Announceable",
    "Assignment",
    "Broken",
    "Cause",
    "DataAction",
    "Disposition",
    "Encryption",
    "Held",
    "Item",
    "KeyRecord",
    "KeyState",
    "Kind",
    "Place",
    "ScopeRecord",
    "State",
    "Stored",
    "Transport",
    "scope_id_for",
]


class Kind(StrEnum):
    """What can have a key, and `IMAGE`: data from outside that has none here."""

    VOLUME = "volume"
    SNAPSHOT = "snapshot"
    REPLICA = "replica"
    PARTITION = "partition"
    IMAGE = "image"


class Disposition(StrEnum):
    """How an item comes by its key-id."""

    CREATE = "create"
    CLONE = "clone"
    REUSE = "reuse"
    NONE = "none"


class DataAction(StrEnum):
    """What the storage must do with the data it copies into the item."""

    NONE = "none"
    REENCRYPT = "reencrypt"
    ENCRYPT = "encrypt"
    DECRYPT = "decrypt"


class Transport(StrEnum):
    """How a replica's data travels."""

    BLOCK = "block"
    FILE = "file"
    REENCRYPT = "reencrypt"


class KeyState(StrEnum):
    """A key-id's state, after NIST SP 800-57 part 1 rev. 5, section 7."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"


class Item(NamedTuple):
    """One encrypted thing, identified by all three fields together."""

    project: str
    kind: Kind
    id: str

    @property
    def ref(self) -> str:
        """The item ref, ``kind:id``: the item's name within its project."""
        return self.kind + ":" + self.id


class Place(NamedTuple):
    """Where a sealed record belongs: a record moved elsewhere does not verify."""

    project: str
    key: str
    """``items``, ``keys``, ``scopes`` or ``parked``."""
    field: str


class Encryption(NamedTuple):
    """A cipher in dm-crypt's notation and the length of its DEK in bits."""

    cipher: str
    key_bits: int


class Cause(NamedTuple):
    """The event that led to an assignment."""

    id: str
    source: str
    type: str


@value
class Assignment:
    """The fact that an item uses a key-id; `none` items have neither key nor scope."""

    item: Item
    disposition: Disposition
    key_id: str | None
    scope_id: str | None
    source: Item | None
    node: str | None
    encryption: Encryption | None
    data_action: DataAction
    reencrypt_from: str | None
    """The source's key-id, where the data must be decrypted or re-encrypted from it."""
    rule: str
    cause: Cause
    assigned_at: str
    """RFC 3339, UTC."""


@value
class KeyRecord:
    """A key-id: a name for its scope's DEK that can be deleted or delegated by itself."""

    key_id: str
    scope_id: str
    dek_id: str
    """Its scope's: a key-id put back over a scope that was minted anew is not that DEK's."""
    state: KeyState
    cloned_from: str | None
    created_at: str


@value
class ScopeRecord:
    """All items whose data is encrypted under one DEK."""

    scope_id: str
    root: str
    """The item ref of the scope's master."""
    dek_id: str
    encryption: Encryption
    kek_id: str
    """Fingerprint of the KEK that wraps the DEK; empty until it is wrapped."""
    derived_from: str | None
    """The scope-id that the data was re-encrypted from, if it was."""
    created_at: str


@value
class Stored:
    """An assigned item as it is announced: the key and the scope it stands on are not loaded."""

    assignment: Assignment
    data: bytes
    """The stored announcement's data, verbatim."""
    has_waiting: bool = False
    """Whether events wait for this item as their source."""


@value
class Held:
    """An assigned item, with the key and the scope it stands on."""

    assignment: Assignment
    key: KeyRecord | None
    """None, and no scope either: it is not encrypted."""
    scope: ScopeRecord | None
    data: bytes = b""
    """The stored announcement's data, verbatim; empty until it is stored."""
    has_waiting: bool = False
    """Whether events wait for this item as their source."""


@value
class Broken:
    """An item whose records fail authentication or contradict each other."""

    detail: str


Announceable = Stored | Held
"""What there is an announcement of."""
State = Held | Broken | None
"""What the store knows of an item; None: nothing."""


def scope_id_for(root: Item) -> str:
    """Return the scope-id of the scope that ``root`` is the master of.

    It is computed, not drawn, so that workers racing on one event meet in one place.
    """
    return named_id(f"scope/{root.project}/{root.ref}")
