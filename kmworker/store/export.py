"""What it takes to export a DEK: its records, checked, and its wrapped form.

Nothing here unwraps it. That is done where key material belongs, straight into a file.
"""

from typing import NamedTuple

from kmworker.domain.model import KeyRecord, KeyState, ScopeRecord
from kmworker.errors import NotFound, PermanentError, Reason
from kmworker.ports import Custody
from kmworker.store.inspection import Views
from kmworker.store.records import RecordCodec, refuse_other_dek

__all__ = ["WrappedDek", "read_wrapped"]


class WrappedDek(NamedTuple):
    """A key-id's DEK as it lies in the store."""

    key: KeyRecord
    scope: ScopeRecord
    blob: bytes


def read_wrapped(views: Views, custody: Custody, project: str, key_id: str) -> WrappedDek:
    """Read a key-id's wrapped DEK, with the records that say whose it is.

    Raises:
        NotFound: there is no such key-id, or its key is destroyed.
        PermanentError: with `Reason.INTEGRITY`: a record fails authentication, is missing,
            or is of another DEK.
        UnknownKek: a record is under a KEK that the keyring lacks.
    """
    codec = RecordCodec(custody)
    (raw_key,) = views.records(project, "keys", [key_id])
    if raw_key is None:
        raise NotFound(f"no key-id {key_id} in project {project}", "kmworker show finds key-ids")
    key = codec.read_key(project, key_id, raw_key)
    if key.state is KeyState.DESTROYED:
        raise NotFound(f"the key of key-id {key_id} is destroyed", "nothing can bring it back")
    (raw_scope,) = views.records(project, "scopes", [key.scope_id])
    (blob,) = views.records(project, "deks", [key.scope_id])
    if raw_scope is None or blob is None:
        lost = "scope" if raw_scope is None else "wrapped DEK"
        raise PermanentError(
            Reason.INTEGRITY, f"the {lost} of key-id {key_id} is missing from the store"
        )
    scope = codec.read_scope(project, key.scope_id, raw_scope)
    refuse_other_dek(key, scope)
    return WrappedDek(key, scope, blob)
