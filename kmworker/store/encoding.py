"""What is written of an item as `commit.lua` takes it, and as it is known once it is written."""

from collections.abc import Callable
from typing import Any

from kmworker.clock import unix_s
from kmworker.domain.keys import MANUAL
from kmworker.domain.model import Held, KeyRecord, Kind, ScopeRecord
from kmworker.domain.plan import AssignWrite, ReleaseWrite
from kmworker.store.recent import Recent, Sealed
from kmworker.store.recordable import seal_release
from kmworker.store.records import RecordCodec

__all__ = ["due_score", "encode_assignment", "encode_release"]


def encode_assignment(
    codec: RecordCodec,
    mint: Callable[[str, ScopeRecord], bytes],
    write: AssignWrite,
    source: Sealed,
    before: Sealed,
) -> tuple[list[Any], Recent]:
    """Return the arguments of an assignment for `commit.lua`, and what they write.

    Args:
        codec: seals the records.
        mint: returns the DEK of a project's new scope, wrapped.
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
        b"" if write.scope is None else mint(project, write.scope),
        "" if write.source is None else write.source.assignment.item.ref,
        *source,
        before.item,
    ]
    held = write.stored(data)
    if held.key is None:
        return arguments, Recent(held, Sealed(record))
    return arguments, Recent(held, Sealed(record, key or source.key, scope or source.scope))


def encode_release(
    codec: RecordCodec, write: ReleaseWrite, before: Sealed, *, is_told: bool
) -> tuple[list[Any], Recent]:
    """Return the arguments of a release for `commit.lua`, and what they write; as above.

    ``is_told``: whether it is recorded that attachments end with it.
    """
    released, holding = write.released, write.before
    record = codec.tombstone(released)
    arguments: list[Any] = [b"R", released.item.ref, before.item, record]
    # What is a tombstone already holds nothing any more.
    if not isinstance(holding, Held) or holding.assignment.key_id is None:
        arguments += [""] * 5
    else:
        left = write.deactivated
        arguments += [
            holding.assignment.key_id,
            before.key,
            before.scope,
            b"" if left is None else codec.key(released.item.project, left),
            "" if left is None else due_score(left),
        ]
    arguments.append(f"{unix_s(released.tombstone.released_at):.3f}")
    # Nothing else is attached.
    is_attachable = released.item.kind is Kind.VOLUME
    arguments += seal_release(codec, released) if is_told and is_attachable else ("", b"")
    return arguments, Recent(released, before._replace(item=record))


def due_score(key: KeyRecord) -> str:
    """Return when something is to be done about a key-id, Unix seconds; empty: never by itself."""
    at = key.destroy_at or key.active_until
    return "" if at is None or at == MANUAL else f"{unix_s(at):.3f}"
