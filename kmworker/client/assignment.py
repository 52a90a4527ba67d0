"""Assignments in: an announcement's bytes to a typed value.

Fields that a newer worker may add are passed over. A value that this version does not know
is refused, though: acting on a data action as if it were another would ruin the data.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from kmworker.model import Cause, DataAction, Disposition, Encryption, Item, Kind

__all__ = ["Assignment", "read_assignment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The fact that an item uses a key-id."""

    id: str
    """The announcement's: repeats have the same one."""
    item: Item
    key_id: str
    scope_id: str
    disposition: Disposition
    source: Item | None
    """What the item was derived from."""
    node: str | None
    """The host that will hold it, for a replica."""
    encryption: Encryption
    data_action: DataAction
    """What the storage must do with the data it copies into the item."""
    reencrypt_from: str | None
    """The source's key-id, where ``data_action`` is `DataAction.REENCRYPT`."""
    rule: str
    cause: Cause
    """The event that led to it."""
    assigned_at: str
    """RFC 3339, UTC."""


def read_assignment(body: bytes) -> Assignment:
    """Read an announcement.

    Raises:
        ValueError: it is none, or says something that this version does not know.
    """
    try:
        wire = _Wire.model_validate_json(body)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None
    data, source = wire.data, wire.data.source
    return Assignment(
        id=wire.id,
        item=Item(data.project_id, data.item.kind, data.item.id),
        key_id=data.key_id,
        scope_id=data.scope_id,
        disposition=data.disposition,
        source=None if source is None else Item(source.project_id, source.kind, source.id),
        node=data.node,
        encryption=Encryption(data.encryption.cipher, data.encryption.key_bits),
        data_action=data.data_action,
        reencrypt_from=data.reencrypt_from,
        rule=data.rule,
        cause=Cause(data.cause.id, data.cause.source, data.cause.type),
        assigned_at=data.assigned_at,
    )


class _Fields(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


class _Item(_Fields):
    kind: Kind
    id: str


class _Source(_Item):
    project_id: str


class _Encryption(_Fields):
    cipher: str
    key_bits: int


class _Cause(_Fields):
    id: str
    source: str
    type: str


class _Data(_Fields):
    item: _Item
    project_id: str
    key_id: str
    scope_id: str
    disposition: Disposition
    source: _Source | None
    node: str | None
    encryption: _Encryption
    data_action: DataAction
    reencrypt_from: str | None
    rule: str
    cause: _Cause
    assigned_at: str


class _Wire(_Fields):
    id: str
    type: Literal["key-assigned"]
    data: _Data
