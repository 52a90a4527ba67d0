"""Keyrings, items, and the writes that a plan would draw up for them."""

import uuid
from collections.abc import Mapping
from typing import Any

from kmworker.crypto import Keyring, KeyringCustody
from kmworker.crypto.kek import Kek
from kmworker.domain.message import Original
from kmworker.domain.model import (
    Assignment,
    Cause,
    DataAction,
    Disposition,
    Encryption,
    Held,
    Item,
    KeyRecord,
    KeyState,
    ScopeRecord,
    scope_id_for,
)
from kmworker.domain.plan import AssignWrite, ParkWrite
from kmworker.wire.assignments import encode_data
from tests.kit.builders import NOW, XTS, partition, replica, snapshot, volume

__all__ = [
    "AT", "AT_S", "BOTH_KEYRINGS", "CAUSE", "CUSTODY", "INSTALLATION", "KEYRING", "NEWER_CUSTODY",
    "OTHER_CUSTODY", "OTHER_KEYRING", "XTS", "Drafts", "draft", "held", "opened_anew",
    "partition", "replica", "snapshot", "volume",
]  # fmt: skip

AT = NOW
AT_S = 1_795_449_600.0
CAUSE = Cause("6d1c", "/cinder/blk01", "volume-created")
# Of every store here: so what is written before a store was admitted is its own, too.
INSTALLATION = "1d8f7e52-0000-4000-8000-000000000001"


def _keyring(letter: bytes) -> Keyring:
    kek = Kek(letter * 32, AT)
    return Keyring(kek.kek_id, {kek.kek_id: kek})


KEYRING, OTHER_KEYRING = _keyring(b"k"), _keyring(b"o")
BOTH_KEYRINGS = Keyring(OTHER_KEYRING.newest, {**KEYRING.keks, **OTHER_KEYRING.keks})
CUSTODY = KeyringCustody(KEYRING, INSTALLATION)
OTHER_CUSTODY = KeyringCustody(OTHER_KEYRING, INSTALLATION)
NEWER_CUSTODY = KeyringCustody(BOTH_KEYRINGS, INSTALLATION)
"""After a rotation: another KEK is active, the first is still there."""


def opened_anew(custody: KeyringCustody) -> KeyringCustody:
    """The same keyring, for the same installation, that no store has said anything to."""
    return KeyringCustody(custody._keyring, custody._installation)


def held(write: AssignWrite, source: Held | None = None, *, has_waiting: bool = False) -> Held:
    """What the store should know of an item once `write` is in it.

    ``source`` is what the item shares its key or scope with.
    """
    key, scope = write.key, write.scope
    if write.assignment.disposition is Disposition.CREATE:
        source = None
    if source is not None and write.assignment.key_id is not None:
        key, scope = key or source.key, scope or source.scope
    return Held(write.assignment, key, scope, encode_data(write.assignment), has_waiting)


class Drafts:
    """Draws up writes; their ids are random, as a plan's are."""

    def __init__(self, kek_id: str) -> None:
        """Let new scopes be wrapped under this KEK."""
        self._kek_id = kek_id

    def create(
        self,
        item: Item,
        source: Held | None = None,
        /,
        *,
        encryption: Encryption = XTS,
        **fields: Any,
    ) -> AssignWrite:
        """A new scope and key-id; from a source, its data is re-encrypted."""
        scope = ScopeRecord(
            scope_id=scope_id_for(item),
            root=item.ref,
            dek_id=str(uuid.uuid4()),
            encryption=encryption,
            kek_id=self._kek_id,
            derived_from=None if source is None or source.scope is None else source.scope.scope_id,
            created_at=AT,
        )
        key = KeyRecord(str(uuid.uuid4()), scope.scope_id, scope.dek_id, KeyState.ACTIVE, None, AT)
        fields = {"disposition": Disposition.CREATE, "encryption": encryption, **fields}
        if source is not None and source.key is not None:
            copying = {
                "data_action": DataAction.REENCRYPT,
                "reencrypt_from": source.key.key_id,
            }
            fields = {**copying, **fields}
        return AssignWrite(_assignment(item, key, source, fields), key, scope, source)

    def clone(self, item: Item, source: Held, /, **fields: Any) -> AssignWrite:
        """A fresh key-id for the source's scope."""
        assert source.key is not None
        scope_id, dek_id, cloned_from = source.key.scope_id, source.key.dek_id, source.key.key_id
        key = KeyRecord(str(uuid.uuid4()), scope_id, dek_id, KeyState.ACTIVE, cloned_from, AT)
        fields = {"disposition": Disposition.CLONE, **_shared(source), **fields}
        return AssignWrite(_assignment(item, key, source, fields), key, None, source)

    def reuse(self, item: Item, source: Held, /, **fields: Any) -> AssignWrite:
        """The source's key-id."""
        fields = {"disposition": Disposition.REUSE, **_shared(source), **fields}
        return AssignWrite(_assignment(item, source.key, source, fields), None, None, source)

    def none(self, item: Item, source: Held | None = None, /, **fields: Any) -> AssignWrite:
        """No key: the item is not encrypted."""
        fields = {"disposition": Disposition.NONE, **fields}
        return AssignWrite(_assignment(item, None, source, fields), None, None, source)

    def park(
        self,
        item: Item,
        source: Item,
        name: str = "",
        *,
        body: bytes = b'{"id": "77aa"}',
        properties: Mapping[str, Any] | None = None,
    ) -> ParkWrite:
        """An event whose source is not there, under a name of its own unless told otherwise."""
        original = Original(body, "volume-created", properties or {"delivery_mode": 2})
        return ParkWrite(source, item, name or uuid.uuid4().hex, original)


draft = Drafts(CUSTODY.kek_id)
"""Draws up what workers with the first keyring write."""


def _shared(source: Held) -> dict[str, Any]:
    assert source.scope is not None
    return {"encryption": source.scope.encryption}


def _assignment(
    item: Item, key: KeyRecord | None, source: Held | None, fields: Mapping[str, Any]
) -> Assignment:
    return Assignment(
        **{
            "item": item,
            "key_id": None if key is None else key.key_id,
            "scope_id": None if key is None else key.scope_id,
            "source": None if source is None else source.assignment.item,
            "node": None,
            "encryption": None,
            "data_action": DataAction.NONE,
            "reencrypt_from": None,
            "rule": "a-rule",
            "cause": CAUSE,
            "assigned_at": AT,
            **fields,
        }
    )
