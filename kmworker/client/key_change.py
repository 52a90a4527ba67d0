"""What has become of key-ids, as subscribers get it."""

from kmworker.domain.keys import By, KeyEvent, KeyState
from kmworker.domain.values import value
from kmworker.wire.key_changes import read_key_change

__all__ = ["KeyChange", "read_changed"]


@value
class KeyChange:
    """The fact that something has become of a key-id, as it was announced."""

    id: str
    """The announcement's: repeats have the same one."""
    event: KeyEvent
    project: str
    key_id: str
    scope_id: str
    state: KeyState
    """Since then: the worse of the key-id's own and its scope's."""
    version: int
    """Grows with each change of the key-id: ignore lower ones than you have seen."""
    by: By
    """An event (`Cause`), a person (`Operator`), or the janitor."""
    at: str
    """RFC 3339, UTC."""
    destroy_at: str | None
    """RFC 3339, UTC, or ``manual``; None where it is not to be destroyed."""
    dek_destroyed: bool | None
    """Of what is destroyed: whether the DEK is gone with it; else None."""


def read_changed(body: bytes) -> KeyChange:
    """Read a change.

    Raises:
        ValueError: it is none, or says something that this version does not know.
    """
    change_id, it = read_key_change(body)
    key, change = it.key, it.change
    return KeyChange(
        id=change_id,
        event=change.event,
        project=it.project,
        key_id=key.key_id,
        scope_id=key.scope_id,
        state=change.state,
        version=key.version,
        by=change.by,
        at=change.at,
        destroy_at=key.destroy_at,
        dek_destroyed=change.dek_destroyed,
    )
