"""The fields of the records of key-ids and scopes.

What most of them do not have is not written: a key-id of which nothing has become ends with its
version.
"""

from collections.abc import Mapping
from typing import Any, Final

from kmworker.domain.keys import Compromise, LastChange, Operator
from kmworker.domain.model import Encryption, KeyRecord, KeyState, ScopeRecord
from kmworker.wire.key_changes import EVENTS, STATES, by_fields, by_in

__all__ = ["key_fields", "key_in", "scope_fields", "scope_in"]

COMPROMISED: Final = KeyState.COMPROMISED.value


def key_fields(key: KeyRecord) -> dict[str, Any]:
    """Return what stands in a key-id's record; its `state` is what readers of it alone are told."""
    fields: dict[str, Any] = {
        "scope_id": key.scope_id,
        "dek_id": key.dek_id,
        "state": key.state._value_,
        "cloned_from": key.cloned_from,
        "created_at": key.created_at,
        "version": key.version,
    }
    if key.changed is None and not key.is_compromised:
        # As nearly all are: nothing has become of it.
        return fields
    if key.shown is KeyState.COMPROMISED:
        fields |= {"state": COMPROMISED, "own_state": key.state._value_}
    elif key.is_compromised:
        fields["compromised"] = True
    if key.destroy_at is not None:
        fields["destroy_at"] = key.destroy_at
    if key.active_until is not None:
        fields["active_until"] = key.active_until
    if key.changed is not None:
        fields["changed"] = _change_fields(key.changed)
    return fields


def _change_fields(change: LastChange) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "type": change.event._value_,
        "at": change.at,
        "by": by_fields(change.by),
        "state": change.state._value_,
    }
    if change.dek_destroyed is not None:
        fields["dek_destroyed"] = change.dek_destroyed
    if change.dek_named_by:
        fields["dek_named_by"] = change.dek_named_by
    return fields


def key_in(key_id: str, fields: Mapping[str, Any]) -> KeyRecord:
    """Return a key-id's record from its fields.

    Raises:
        ValueError, KeyError, TypeError: another release wrote it.
    """
    own = STATES[fields.get("own_state", fields["state"])]
    changed = fields.get("changed")
    return KeyRecord(
        key_id=key_id,
        scope_id=fields["scope_id"],
        dek_id=fields["dek_id"],
        state=KeyState.ACTIVE if own is KeyState.COMPROMISED else own,
        cloned_from=fields["cloned_from"],
        created_at=fields["created_at"],
        version=fields["version"],
        is_compromised=fields["state"] == COMPROMISED or fields.get("compromised", False),
        destroy_at=fields.get("destroy_at"),
        active_until=fields.get("active_until"),
        changed=None if changed is None else _change_in(changed),
    )


def _change_in(fields: Mapping[str, Any]) -> LastChange:
    return LastChange(
        event=EVENTS[fields["type"]],
        at=fields["at"],
        by=by_in(fields["by"]),
        state=STATES[fields["state"]],
        dek_destroyed=fields.get("dek_destroyed"),
        dek_named_by=tuple(fields.get("dek_named_by", ())),
    )


def scope_fields(scope: ScopeRecord) -> dict[str, Any]:
    """Return what stands in a scope's record."""
    fields: dict[str, Any] = {
        "root": scope.root,
        "dek_id": scope.dek_id,
        "cipher": scope.encryption.cipher,
        "key_bits": scope.encryption.key_bits,
        "kek_id": scope.kek_id,
        "derived_from": scope.derived_from,
        "created_at": scope.created_at,
    }
    if scope.generation:
        fields["generation"] = scope.generation
    if scope.compromised is not None:
        at, by = scope.compromised.at, scope.compromised.by
        fields["compromised"] = {"at": at, "name": by.name, "reason": by.reason}
    if scope.destroyed_at is not None:
        fields["destroyed_at"] = scope.destroyed_at
    if scope.former_keks:
        fields["former_keks"] = scope.former_keks
    return fields


def scope_in(scope_id: str, fields: Mapping[str, Any]) -> ScopeRecord:
    """Return a scope's record from its fields; raises as `key_in` does."""
    found = fields.get("compromised")
    return ScopeRecord(
        scope_id=scope_id,
        root=fields["root"],
        dek_id=fields["dek_id"],
        encryption=Encryption(fields["cipher"], fields["key_bits"]),
        kek_id=fields["kek_id"],
        derived_from=fields["derived_from"],
        created_at=fields["created_at"],
        generation=fields.get("generation", 0),
        destroyed_at=fields.get("destroyed_at"),
        former_keks=tuple(fields.get("former_keks", ())),
        compromised=found and Compromise(found["at"], Operator(found["name"], found["reason"])),
    )
