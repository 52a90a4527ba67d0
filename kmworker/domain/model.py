"""The words of the contract as frozen values: no I/O, no clock, no randomness."""

from enum import StrEnum
from typing import NamedTuple

from kmworker.domain.ids import named_id
from kmworker.domain.keys import (
    Cause,
    Encryption,
    KeyChanged,
    KeyRecord,
    KeyState,
    ScopeRecord,
)
from kmworker.domain.lifecycle import state_of
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
    "ItemRecord",
    "KeyChanged",
    "KeyRecord",
    "KeyReleased",
    "KeyState",
    "Kind",
    "Place",
    "Released",
    "ScopeRecord",
    "State",
    "Stored",
    "Tombstone",
    "Transport",
    "announced_of",
    "held_in",
    "life_ref",
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


@value
class KeyReleased:
    """The fact that an item does not use a key-id any more, because it is gone."""

    item: Item
    key_id: str | None
    """None: it was not encrypted, or was never heard of."""
    generation: int
    """The life of the item's name that is over."""
    cause: Cause
    at: str
    """RFC 3339, UTC."""


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
    generation: int = 0
    """Which life of the item's name this is, by the numbers of its storage."""
    source_generation: int = 0
    """Which life of the source's name it was derived from."""
    former: KeyReleased | None = None
    """The end of the life before this one, if there was one."""


@value
class Stored:
    """An assigned item as it is announced: the key and the scope it stands on are not loaded."""

    assignment: Assignment
    data: bytes
    """The stored announcement's data, verbatim."""
    has_waiting: bool = False
    """Whether events wait for this item as their source."""

    @property
    def item(self) -> Item:
        """Return whose it is."""
        return self.assignment.item


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

    @property
    def item(self) -> Item:
        """Return whose it is."""
        return self.assignment.item

    @property
    def generation(self) -> int:
        """Return the life of the name that this is."""
        return self.assignment.generation

    @property
    def key_state(self) -> KeyState | None:
        """Return its key-id's state; None: it is not encrypted."""
        return None if self.key is None else state_of(self.key, self.scope)


@value
class Tombstone:
    """That an item is gone, and who said so."""

    generation: int
    """The newest life of the name that is over."""
    cause: Cause
    released_at: str
    """RFC 3339, UTC."""
    was_early: bool = False
    """Whether it was released before it was heard of, and assigned after that."""

    def told(self, item: Item, key_id: str | None) -> KeyReleased:
        """Return what is announced of it."""
        return KeyReleased(item, key_id, self.generation, self.cause, self.released_at)


@value
class Released:
    """An item that is gone, and what it was assigned, if it ever was."""

    item: Item
    tombstone: Tombstone
    held: Held | None
    """None: it was released before it was heard of."""
    has_waiting: bool = False
    """Whether events wait for this item as their source."""

    @property
    def generation(self) -> int:
        """Return the newest life of the name that is over."""
        return self.tombstone.generation

    @property
    def is_early(self) -> bool:
        """Return whether its newest life was released before it was heard of."""
        return self.held is None or self.held.generation != self.generation

    @property
    def told(self) -> KeyReleased:
        """Return what is announced of it."""
        key_id = None if self.held is None else self.held.assignment.key_id
        return self.tombstone.told(self.item, key_id)


@value
class ItemRecord:
    """What the record of an item says; the key and the scope that it names are not loaded."""

    assignment: Assignment | None
    """None: it was released before it was heard of."""
    data: bytes
    """The stored announcement's data, verbatim; empty where there is none."""
    tombstone: Tombstone | None = None
    """None: it is assigned."""


@value
class Broken:
    """An item whose records fail authentication or contradict each other."""

    detail: str


Announceable = Stored | Held | KeyReleased
"""What there is an announcement of."""
State = Held | Released | Broken | None
"""What the store knows of an item; None: nothing."""


def held_in(known: State) -> Held | None:
    """Return what an item was assigned, be it gone or not."""
    if known is None:
        return None
    if isinstance(known, Released):
        return known.held
    return known if isinstance(known, Held) else None


def announced_of(item: Item, read: ItemRecord) -> list[Announceable]:
    """Return what there is to announce of an item by its record."""
    assignment, tombstone = read.assignment, read.tombstone
    if tombstone is not None:
        return [tombstone.told(item, None if assignment is None else assignment.key_id)]
    assert assignment is not None  # noqa: S101  # a record without either is none
    former = [] if assignment.former is None else [assignment.former]
    return [*former, Stored(assignment, read.data)]


def life_ref(item: Item, generation: int) -> str:
    """Return the name, within its project, of one life of an item: its ref, if that is the first.

    Braces are in no item's id, so it is no other item's ref.
    """
    return f"{item.ref}{{{generation}}}" if generation else item.ref


def scope_id_for(root: Item, generation: int = 0) -> str:
    """Return the scope-id of the scope that this life of ``root`` is the master of.

    It is computed, not drawn, so that workers racing on one event meet in one place.
    """
    return named_id(f"scope/{root.project}/{life_ref(root, generation)}")
