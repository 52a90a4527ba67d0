"""An assignment as `commit.lua` takes it, and as it is known once it is written."""

from typing import Any

from kmworker.domain.plan import AssignWrite
from kmworker.ports import Custody
from kmworker.store.recent import Recent, Sealed
from kmworker.store.records import RecordCodec

__all__ = ["encode_write"]


def encode_write(
    codec: RecordCodec, custody: Custody, write: AssignWrite, source: Sealed
) -> tuple[list[Any], Recent]:
    """Return the arguments of an assignment for `commit.lua`, and what they write.

    Args:
        codec: seals the records.
        custody: mints the DEK of a new scope.
        write: what is to be written.
        source: what must be there of what it rests on.
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
    ]
    held = write.stored(data)
    if held.key is None:
        return arguments, Recent(held, Sealed(record))
    return arguments, Recent(held, Sealed(record, key or source.key, scope or source.scope))
