"""What is written of an item as `commit.lua` takes it, and as it is known once it is written."""

from typing import Any

from kmworker.domain.model import Held
from kmworker.domain.plan import AssignWrite, ReleaseWrite
from kmworker.ports import Custody
from kmworker.store.recent import Recent, Sealed
from kmworker.store.records import RecordCodec

__all__ = ["encode_assignment", "encode_release"]


def encode_assignment(
    codec: RecordCodec, custody: Custody, write: AssignWrite, source: Sealed, before: Sealed
) -> tuple[list[Any], Recent]:
    """Return the arguments of an assignment for `commit.lua`, and what they write.

    Args:
        codec: seals the records.
        custody: mints the DEK of a new scope.
        write: what is to be written.
        source: what must be there of what it rests on.
        before: the tombstone whose place it takes.
    """
    assignment = write.assignment
    project = assignment.item.project
    record, data = codec.item(assignment)
    key = b"" if write.key is None else codec.key(project, write.key)
    scope = b"" if write.scope is None else codec.scope(project, write.scope)
    arguments = [
        b"A",
        assignment.item.ref,
        record,
        assignment.disposition,
        assignment.scope_id or "",
        assignment.key_id or "",
        key,
        scope,
        b"" if write.scope is None else custody.mint(project, write.scope),
        "" if write.source is None else write.source.assignment.item.ref,
        *source,
        before.item,
    ]
    held = write.stored(data)
    if held.key is None:
        return arguments, Recent(held, Sealed(record))
    return arguments, Recent(held, Sealed(record, key or source.key, scope or source.scope))


def encode_release(
    codec: RecordCodec, write: ReleaseWrite, before: Sealed
) -> tuple[list[Any], Recent]:
    """Return the arguments of a release for `commit.lua`, and what they write; as above."""
    released = write.released
    record = codec.tombstone(released)
    # What is a tombstone already holds nothing any more.
    held = write.before.assignment.key_id if isinstance(write.before, Held) else None
    arguments = [b"R", released.item.ref, before.item, record, held or ""]
    return arguments, Recent(released, before._replace(item=record))
