"""Raw records to what `kmworker.verify.rules` judges."""

import json
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from kmworker.clock import unix_s
from kmworker.delegation.clients import ClientRecord
from kmworker.domain.endings import EndingEntry
from kmworker.domain.grants import Grants, released_life
from kmworker.domain.model import ItemRecord, KeyRecord, Place, ScopeRecord
from kmworker.errors import PermanentError, UnknownKek
from kmworker.store.client_records import client_in
from kmworker.store.encoding import due_score
from kmworker.store.grant_records import grants_in, over_in
from kmworker.store.item_records import item_in
from kmworker.store.kek_states import KekCustody
from kmworker.store.key_records import key_in, scope_in
from kmworker.store.recordable import UNRECORDED, grants_changed_in
from kmworker.store.records import CHAIN, CLIENTS, ENDINGS, LIST, TRUST, ending_in, original_in
from kmworker.verify.rules.findings import Problem
from kmworker.verify.rules.opened import Flawed, Opened, Sound
from kmworker.verify.rules.records import item_named
from kmworker.verify.rules.waiting import Parked

__all__ = ["Opening", "ScanCustody"]

T = TypeVar("T")


class ScanCustody(KekCustody, Protocol):
    """What a custody must do for an audit: it shows no DEK, only whether there is one."""

    def check_seal(self, place: Place, record: bytes) -> bytes:
        """Return a sealed record's body; see `kmworker.ports.Custody.check_seal`."""
        ...

    def check_dek(self, project: str, scope: ScopeRecord, blob: bytes) -> None:
        """See that the scope's DEK unwraps to its length.

        Raises:
            UnknownKek: ``scope.kek_id`` is not in the keyring.
            PermanentError: with `Reason.INTEGRITY`, whatever else is wrong with it.
        """
        ...


class Opening:
    """Opens records; whatever is wrong with one becomes a `Flawed`."""

    def __init__(self, custody: ScanCustody) -> None:
        self._custody = custody

    def item(self, project: str, ref: str, raw: bytes | None) -> Opened[ItemRecord]:
        """Open an item's record."""

        def read(body: bytes) -> ItemRecord:
            item = item_named(project, ref)
            if item is None:
                raise ValueError("no item has this name")
            record = item_in(item, body)
            # Rules go by these times.
            if record.assignment is not None:
                unix_s(record.assignment.assigned_at)
            if record.tombstone is not None:
                unix_s(record.tombstone.released_at)
            return record

        return self._open(Place(project, "items", ref), raw, read)

    def key(self, project: str, key_id: str, raw: bytes | None) -> Opened[KeyRecord]:
        """Open a key-id's record."""

        def read(body: bytes) -> KeyRecord:
            record = key_in(key_id, _fields(body))
            due_score(record)
            return record

        return self._open(Place(project, "keys", key_id), raw, read)

    def scope(self, project: str, scope_id: str, raw: bytes | None) -> Opened[ScopeRecord]:
        """Open a scope's record."""

        def read(body: bytes) -> ScopeRecord:
            record = scope_in(scope_id, _fields(body))
            unix_s(record.created_at)
            return record

        return self._open(Place(project, "scopes", scope_id), raw, read)

    def grants(self, project: str, ref: str, raw: bytes | None) -> Opened[Grants]:
        """Open a record of grants."""

        def read(body: bytes) -> Grants:
            grants = grants_in(_fields(body))
            for it in grants.attachments:
                if it.grant is not None and it.grant.expires_at is not None:
                    unix_s(it.grant.expires_at)
            return grants

        return self._open(Place(project, "grants", ref), raw, read)

    def ending(self, project: str, raw: bytes | None) -> Opened[tuple[EndingEntry, str]]:
        """Open an entry of a chain of endings; give its digest, too."""
        return self._open(Place(project, ENDINGS, CHAIN), raw, ending_in)

    def client(self, name: str, raw: bytes | None) -> Opened[ClientRecord]:
        """Open a client's record."""
        place = Place("", CLIENTS, name)
        return self._open(place, raw, lambda body: client_in(name, _fields(body)))

    def trust(self, raw: bytes | None) -> Opened[dict[str, Any]]:
        """Open the trust list that is handed out."""
        return self._open(Place("", TRUST, LIST), raw, _fields)

    def unrecorded(self, project: str, entry: str, raw: bytes | None) -> Opened[None]:
        """Open what is to be recorded of an item's attachments."""
        ref, _space, name = entry.partition(" ")

        def read(body: bytes) -> None:
            item = item_named(project, ref)
            if item is None:
                raise ValueError("no item has this name")
            fields = _fields(body)
            if released_life(name) is None:
                grants_changed_in(item, name, fields)
            else:
                over_in(fields)

        return self._open(Place(project, UNRECORDED, entry), raw, read)

    def parked(self, project: str, entry: str, raw: bytes | None) -> Opened[Parked]:
        """Open a waiting event's record."""

        def read(body: bytes) -> Parked:
            fields = _fields(body)
            return Parked(fields["source"], fields.get("project", ""), original_in(fields))

        return self._open(Place(project, "parked", entry), raw, read)

    def dek(self, project: str, scope: ScopeRecord, blob: bytes | None) -> Opened[None]:
        """See whether a scope's DEK unwraps."""
        if blob is None:
            return None
        try:
            self._custody.check_dek(project, scope, blob)
        except UnknownKek:
            return Flawed(Problem.UNKNOWN_KEK, f"it is under KEK {scope.kek_id}")
        except PermanentError:
            return Flawed(Problem.DEK_BROKEN, f"it does not unwrap under KEK {scope.kek_id}")
        return Sound(None, blob)

    def _open(self, place: Place, raw: bytes | None, read: Callable[[bytes], T]) -> Opened[T]:
        if raw is None:
            return None
        try:
            body = self._custody.check_seal(place, raw)
        except UnknownKek as unknown:
            return Flawed(Problem.UNKNOWN_KEK, str(unknown))
        except PermanentError:
            return Flawed(Problem.SEAL_BROKEN, "its seal does not fit what it says, or its place")
        try:
            return Sound(read(body), raw)
        except PermanentError as contradiction:
            return Flawed(Problem.CONTRADICTION, contradiction.detail)
        except (AttributeError, KeyError, TypeError, ValueError):
            return Flawed(Problem.RECORD_WRONG, "its seal fits, but this release cannot read it")


def _fields(body: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(body + b"}")
    return fields
