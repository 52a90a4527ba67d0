"""An item's record: the announcement's data, verbatim, and behind it what becomes of the item.

What most items do not have is not written: a first life that goes on ends with its state.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic_core import from_json, to_json

from kmworker.domain.model import (
    Assignment,
    Cause,
    Item,
    ItemRecord,
    KeyReleased,
    Released,
    Tombstone,
)
from kmworker.errors import PermanentError, Reason
from kmworker.wire.assignments import decode_data

__all__ = ["HEAD", "NO_DATA", "RELEASED", "item_in", "tail_of", "tail_of_released"]

HEAD: Final = b'{"data":'
NO_DATA: Final = b"null"
STATE: Final = b',"state":'
ACTIVE: Final = "active"
RELEASED: Final = "released"
FIRST_LIFE: Final = b',"state":"active"'


def item_in(item: Item, body: bytes) -> ItemRecord:
    """Return what an item's record says, the data in it verbatim.

    Raises:
        PermanentError: with `Reason.INTEGRITY`: it is another item's.
    """
    at = body.rindex(STATE)
    data, tail = body[len(HEAD) : at], body[at:]
    if data == NO_DATA:
        return ItemRecord(None, b"", _tombstone_in(_fields_of(tail)))
    assignment = decode_data(data)
    if assignment.item != item:
        raise PermanentError(Reason.INTEGRITY, f"{item.ref} holds another item's record")
    if tail == FIRST_LIFE:
        return ItemRecord(assignment, data)
    fields = _fields_of(tail)
    generation = fields.get("generation", 0)
    lived = fields.get("assigned_generation", generation)
    assignment = replace(
        assignment,
        generation=lived,
        source_generation=fields.get("source_generation", 0),
        former=_former_in(assignment, fields),
    )
    is_gone = fields["state"] != ACTIVE
    return ItemRecord(assignment, data, _tombstone_in(fields) if is_gone else None)


def _fields_of(tail: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = from_json(b"{" + tail[1:] + b"}")
    return fields


def _tombstone_in(fields: Mapping[str, Any]) -> Tombstone:
    return Tombstone(
        generation=fields.get("generation", 0),
        cause=Cause(**fields["released_by"]),
        released_at=fields["released_at"],
        was_early=fields.get("early", False),
    )


def _former_in(assignment: Assignment, fields: Mapping[str, Any]) -> KeyReleased | None:
    former = fields.get("former")
    if former is None:
        return None
    by = former.get("by")
    return KeyReleased(
        item=assignment.item,
        key_id=former["key_id"],
        generation=former["generation"],
        cause=assignment.cause if by is None else Cause(**by),
        at=former["at"],
    )


def tail_of(assignment: Assignment) -> bytes:
    """Return what stands behind an item's data."""
    if not (assignment.generation or assignment.source_generation or assignment.former):
        return FIRST_LIFE
    return _encoded({"state": ACTIVE, **_life(assignment)})


def _life(assignment: Assignment) -> dict[str, Any]:
    generation, former = assignment.generation, assignment.former
    fields: dict[str, Any] = {"generation": generation} if generation else {}
    if assignment.source_generation:
        fields["source_generation"] = assignment.source_generation
    if former is not None:
        told = {"key_id": former.key_id, "generation": former.generation, "at": former.at}
        is_ours = former.cause == assignment.cause
        fields["former"] = told if is_ours else {**told, "by": former.cause._asdict()}
    return fields


def tail_of_released(released: Released) -> bytes:
    """Return what stands behind the data of an item that is gone."""
    tombstone, held = released.tombstone, released.held
    fields: dict[str, Any] = {"state": RELEASED}
    if held is not None:
        fields |= _life(held.assignment)
        if held.assignment.generation != tombstone.generation:
            fields["assigned_generation"] = held.assignment.generation
    if tombstone.generation:
        fields["generation"] = tombstone.generation
    fields["released_at"] = tombstone.released_at
    fields["released_by"] = tombstone.cause._asdict()
    if tombstone.was_early:
        fields["early"] = True
    return _encoded(fields)


def _encoded(fields: Mapping[str, Any]) -> bytes:
    return b"," + to_json(fields)[1:-1]
