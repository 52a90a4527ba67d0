"""What is written for an item that comes to be: its assignment, its key-id, its scope. Pure."""

from dataclasses import replace

from kmworker.domain.answers import Create, Join, NoKey
from kmworker.domain.event import Event
from kmworker.domain.lifecycle import joined, state_of
from kmworker.domain.model import (
    Assignment,
    DataAction,
    Disposition,
    Held,
    KeyRecord,
    KeyState,
    Released,
    ScopeRecord,
    scope_id_for,
)
from kmworker.domain.plan import Fresh

__all__ = ["new_assignment", "new_records"]


def new_records(
    event: Event, decision: Create | Join | NoKey, source: Held | None, fresh: Fresh
) -> tuple[KeyRecord | None, ScopeRecord | None]:
    """Return the new key and the new scope: both for `create`, a key alone for `clone`.

    A key-id that is reused while nobody holds it is active again: another record of it.
    """
    if isinstance(decision, NoKey):
        return None, None
    if isinstance(decision, Join):
        return _joined(event, decision, fresh), None
    scope_id = scope_id_for(event.item, event.generation)
    scope = ScopeRecord(
        scope_id=scope_id,
        root=event.item.ref,
        dek_id=fresh.new_id(),
        encryption=decision.encryption,
        kek_id=fresh.kek_id,
        derived_from=None if source is None or source.scope is None else source.scope.scope_id,
        created_at=fresh.now,
        generation=event.generation,
    )
    return _key(fresh, scope_id, scope.dek_id, cloned_from=None), scope


def _joined(event: Event, decision: Join, fresh: Fresh) -> KeyRecord | None:
    shared, scope = decision.source.key, decision.source.scope
    if shared is None:
        return None
    if decision.disposition is Disposition.REUSE:
        # What is active stays so, as nearly all are.
        is_active = shared.state is KeyState.ACTIVE
        return None if is_active else joined(shared, scope, event.cause, fresh.now)
    clone = _key(fresh, shared.scope_id, shared.dek_id, cloned_from=shared.key_id)
    is_compromised = state_of(clone, scope) is KeyState.COMPROMISED
    return replace(clone, is_compromised=True) if is_compromised else clone


def _key(fresh: Fresh, scope_id: str, dek_id: str, cloned_from: str | None) -> KeyRecord:
    return KeyRecord(fresh.new_id(), scope_id, dek_id, KeyState.ACTIVE, cloned_from, fresh.now)


def new_assignment(
    event: Event,
    decision: Create | Join | NoKey,
    key: KeyRecord | None,
    now: str,
    before: Released | None,
) -> Assignment:
    """Return the assignment that a decision comes to.

    Args:
        event: of the item.
        decision: how it comes by its key-id.
        key: its new key-id, if it gets one.
        now: RFC 3339, UTC.
        before: the tombstone that it takes the place of.
    """
    disposition, encryption = Disposition.NONE, None
    data_action, reencrypt_from = DataAction.NONE, None
    if isinstance(decision, Join):
        key, scope = key or decision.source.key, decision.source.scope
        disposition = decision.disposition
        encryption = None if scope is None else scope.encryption
    else:
        data_action, reencrypt_from = decision.data_action, decision.reencrypt_from
        if isinstance(decision, Create):
            disposition, encryption = Disposition.CREATE, decision.encryption
    return Assignment(
        item=event.item,
        disposition=disposition,
        key_id=None if key is None else key.key_id,
        scope_id=None if key is None else key.scope_id,
        source=event.derived_from,
        node=event.node,
        encryption=encryption,
        data_action=data_action,
        reencrypt_from=reencrypt_from,
        rule=decision.rule,
        cause=event.cause,
        assigned_at=now,
        generation=event.generation,
        source_generation=event.source_generation,
        # Told with it, whoever ended it: what comes of that event again finds this life in the
        # place of its tombstone, and tells nothing.
        former=None if before is None or before.generation == event.generation else before.told,
    )
