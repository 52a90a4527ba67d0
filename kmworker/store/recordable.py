"""The sealed records of what the audit trail is to be told; each names its own change."""

from collections.abc import Mapping
from typing import Any, Final

from kmworker.domain.audit import KeptRecord
from kmworker.domain.grants import GrantsChanged, Over, released_name
from kmworker.domain.model import Item, Place, Released
from kmworker.store.grant_records import (
    attachment_fields,
    attachment_in,
    over_fields,
    over_in,
)
from kmworker.store.records import RecordCodec
from kmworker.wire.audit_records import record_fields, record_in

__all__ = [
    "UNRECORDED", "grants_changed_in", "read_grants_changed", "read_kept", "read_release",
    "seal_grants_changed", "seal_kept", "seal_release",
]  # fmt: skip

UNRECORDED: Final = "unrecorded"


def seal_grants_changed(codec: RecordCodec, changed: GrantsChanged) -> tuple[str, bytes]:
    """Return the name and the record of what has become of an item's grants."""
    place = _place(changed.item, changed.name)
    made, ended = (list(map(attachment_fields, it)) for it in (changed.made, changed.ended))
    return place.field, codec.sealed(place, {"made": made, "ended": ended})


def read_grants_changed(codec: RecordCodec, item: Item, name: str, record: bytes) -> GrantsChanged:
    """Return what has become of an item's grants.

    Raises:
        PermanentError: with `Reason.INTEGRITY`.
        UnknownKek: its KEK is not in the keyring.
        ValueError, KeyError, TypeError: another release wrote it.
    """
    return grants_changed_in(item, name, codec.opened(_place(item, name), record))


def grants_changed_in(item: Item, name: str, fields: Mapping[str, Any]) -> GrantsChanged:
    """Return what has become of an item's grants, by the fields of its record.

    Raises:
        ValueError, KeyError, TypeError: another release wrote it.
    """
    made, ended = (tuple(map(attachment_in, fields[it])) for it in ("made", "ended"))
    return GrantsChanged(item, name, made, ended)


def seal_release(codec: RecordCodec, released: Released) -> tuple[str, bytes]:
    """Return the name and the record of the end of an item that may be attached."""
    tombstone = released.tombstone
    place = _place(released.item, released_name(tombstone.generation))
    return place.field, codec.sealed(
        place, over_fields(Over(tombstone.cause, tombstone.released_at))
    )


def read_release(codec: RecordCodec, item: Item, name: str, record: bytes) -> Over:
    """Return by what an item was released; raises as `read_grants_changed` does."""
    return over_in(codec.opened(_place(item, name), record))


def seal_kept(codec: RecordCodec, kept: KeptRecord) -> bytes:
    """Return the record of an operator's act."""
    return codec.sealed(Place("", UNRECORDED, kept.name), record_fields(kept.record))


def read_kept(codec: RecordCodec, name: str, record: bytes) -> KeptRecord:
    """Return an operator's act; raises as `read_grants_changed` does."""
    return KeptRecord(name, record_in(codec.opened(Place("", UNRECORDED, name), record)))


def _place(item: Item, name: str) -> Place:
    return Place(item.project, UNRECORDED, f"{item.ref} {name}")
