"""Assignments out: what `key-assigned` says, and how it is written and read. All of it once.

The classes are the message: schemas are made from them, the type checker holds what writes
and what reads to them, and subscribers in Python take what they allow.

The same assignment always gives the same bytes. The record in the store holds the
announcement's ``data`` verbatim. Everything else in the envelope follows from it and from the
store's remembered ``source``, so neither an upgrade nor a setting can change what subscribers
saw before.
"""

from functools import cache
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter
from pydantic_core import from_json, to_json
from typing_extensions import TypedDict

from kmworker.domain.ids import named_id
from kmworker.domain.message import Outgoing
from kmworker.domain.model import (
    Assignment,
    Cause,
    DataAction,
    Disposition,
    Encryption,
    Held,
    Item,
    Kind,
    Stored,
)
from kmworker.wire.envelope import (
    KINDS,
    AnnouncedCause,
    AnnouncedItem,
    message,
    read_as,
    read_so,
)
from kmworker.wire.fields import Cipher, ItemId, OneOf, ProjectId, ShortText, UtcTime, Uuid

__all__ = [
    "ASSIGNED_TYPE", "KeyAssigned", "announce", "announcement_id", "decode_data", "encode_data",
    "read_announcement",
]  # fmt: skip

ASSIGNED_TYPE: Final = "key-assigned"
# The members by value, as `KINDS`.
DISPOSITIONS: Final = {it.value: it for it in Disposition}
DATA_ACTIONS: Final = {it.value: it for it in DataAction}


@read_so
class AssignedSource(TypedDict):
    """What the item was derived from."""

    kind: Annotated[str, OneOf(Kind)]
    """What the source is; an `image` has no key here."""
    id: ItemId
    """The source's id within its project and kind."""
    project_id: ProjectId
    """The source's project."""


@read_so
class AssignedEncryption(TypedDict):
    """How the item's data is encrypted."""

    cipher: Cipher
    """As dm-crypt writes it, e.g. `aes-xts-plain64`."""
    key_bits: Annotated[int, Field(ge=8)]
    """The DEK's length."""


@read_so
class AssignedData(TypedDict):
    """The assignment; the same data, byte for byte, whenever it is announced."""

    item: AnnouncedItem
    project_id: ProjectId
    """The item's project."""
    key_id: Uuid | None
    """The public name under which the item's DEK is retrieved; null: it is not encrypted."""
    scope_id: Uuid | None
    """The key scope: all items whose data is encrypted under the same DEK; null without a key."""
    disposition: Annotated[str, OneOf(Disposition)]
    """How the item came by its key-id: new scope, same DEK under a fresh key-id, same key-id.

    `none`: the item is not encrypted; `key_id`, `scope_id` and `encryption` are null.
    """
    source: AssignedSource | None
    """What the item was derived from; null: it started blank."""
    node: ShortText | None
    """The host that will hold it, for replicas."""
    encryption: AssignedEncryption | None
    """How the item's data is encrypted; null: it is not."""
    data_action: Annotated[str, OneOf(DataAction)]
    """What the storage must do with the data it copies into the item.

    `none`: nothing, the data fits as it is, or the item is blank. `reencrypt`: from the key
    `reencrypt_from` to this one. `encrypt`: the source was not encrypted. `decrypt`: from the
    key `reencrypt_from`; the item is not encrypted.
    """
    reencrypt_from: Uuid | None
    """The source's key-id where `data_action` is `reencrypt` or `decrypt`, else null."""
    rule: ShortText
    """The policy rule that decided, or `guard:<name>`."""
    cause: AnnouncedCause
    assigned_at: UtcTime
    """When the assignment was made, in RFC 3339, UTC."""


@read_so
class KeyAssigned(TypedDict):
    """An item uses a key-id, or needs none, and this is durably recorded.

    Sent at least once, always with the same id and bytes: drop repeats by `id`. Items that
    are not encrypted are announced, too. An assignment may arrive before its source's.
    """

    specversion: Literal["1.0"]
    """The version of CloudEvents."""
    id: Uuid
    """The same for every announcement of an assignment; also the AMQP `message_id`."""
    source: ShortText
    """The setting `broker.source`."""
    type: Literal["key-assigned"]
    """What happened; also the AMQP property `type`."""
    subject: Annotated[str, Field(min_length=1)]
    """The item's project, a slash, and its item ref (`kind:id`)."""
    time: UtcTime
    """The same as `data.assigned_at`."""
    data: AssignedData


def encode_data(assignment: Assignment) -> bytes:
    """Return the announcement's data; what a `none` item has no key for is null."""
    item, cause = assignment.item, assignment.cause
    # `_value_`: a plain string, where `value` is a call.
    data: AssignedData = {
        "item": {"kind": item.kind._value_, "id": item.id},
        "project_id": item.project,
        "key_id": assignment.key_id,
        "scope_id": assignment.scope_id,
        "disposition": assignment.disposition._value_,
        "source": _source(assignment.source),
        "node": assignment.node,
        "encryption": _encryption(assignment.encryption),
        "data_action": assignment.data_action._value_,
        "reencrypt_from": assignment.reencrypt_from,
        "rule": assignment.rule,
        "cause": {"id": cause.id, "source": cause.source, "type": cause.type},
        "assigned_at": assignment.assigned_at,
    }
    return to_json(data)


def _source(source: Item | None) -> AssignedSource | None:
    if source is None:
        return None
    return {"kind": source.kind._value_, "id": source.id, "project_id": source.project}


def _encryption(encryption: Encryption | None) -> AssignedEncryption | None:
    if encryption is None:
        return None
    return {"cipher": encryption.cipher, "key_bits": encryption.key_bits}


def decode_data(data: bytes) -> Assignment:
    """Read stored data back.

    Raises:
        ValueError, KeyError, TypeError: it is not what `encode_data` writes.
    """
    return _assignment(from_json(data))


def _assignment(data: AssignedData) -> Assignment:
    item, source, encryption = data["item"], data["source"], data["encryption"]
    return Assignment(
        item=Item(data["project_id"], KINDS[item["kind"]], item["id"]),
        disposition=DISPOSITIONS[data["disposition"]],
        # Records of items without a key have not always said so.
        key_id=data.get("key_id"),
        scope_id=data.get("scope_id"),
        source=source and Item(source["project_id"], KINDS[source["kind"]], source["id"]),
        node=data["node"],
        encryption=encryption and Encryption(encryption["cipher"], encryption["key_bits"]),
        data_action=DATA_ACTIONS[data["data_action"]],
        reencrypt_from=data["reencrypt_from"],
        rule=data["rule"],
        cause=Cause(**data["cause"]),
        assigned_at=data["assigned_at"],
    )


def announcement_id(source: str, assignment: Assignment) -> str:
    """Return the CloudEvents id: the same for every announcement of an assignment.

    Without a key-id, the word ``None`` stands in its place. A first life has no number.
    """
    item, generation = assignment.item, assignment.generation
    parts = [source, item.project, item.ref, str(assignment.key_id)]
    return named_id("\0".join([*parts, str(generation)] if generation else parts))


def announce(held: Stored | Held, source: str, exchange: str) -> Outgoing:
    """Build the message that tells subscribers of an item's key-id, or that it needs none.

    Args:
        held: the stored assignment, with its data verbatim.
        source: the CloudEvents source that the store's announcements carry.
        exchange: the assignments exchange.
    """
    assignment = held.assignment
    item, at = assignment.item, assignment.assigned_at
    message_id = announcement_id(source, assignment)
    return message(ASSIGNED_TYPE, item, message_id, source, exchange, at=at, data=held.data)


def read_announcement(body: bytes) -> tuple[str, Assignment]:
    """Read an announcement as a subscriber does: its id, and the assignment.

    Raises:
        ValueError: it is none, or says something that this version does not know.
    """
    said = read_as(_announcements(), body)
    assignment = _assignment(said["data"])
    _check_key(assignment)
    return said["id"], assignment


# Workers write only, and need none.
@cache
def _announcements() -> TypeAdapter[KeyAssigned]:
    return TypeAdapter(KeyAssigned)


def _check_key(assignment: Assignment) -> None:
    """Refuse half a key: an item has a key-id, a scope and a cipher, or none of them."""
    disposition = assignment.disposition
    for name in ("key_id", "scope_id", "encryption"):
        if (getattr(assignment, name) is None) is not (disposition is Disposition.NONE):
            raise ValueError(f"data.{name}: not what goes with disposition {disposition}")
