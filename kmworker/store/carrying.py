"""One record of layout 1 to one of layouts 2 and 3: what is new is added, all else keeps its bytes.

Layout 2 binds seals and wrapped DEKs to the installation, has each key-id name its DEK, and
gives items without encryption the two fields that say so. What was announced from a record
is announced from it again with the same bytes.

Every function returns what is to be written, or None where a run before this one has written
it; they raise `PermanentError` with `Reason.INTEGRITY`, or `UnknownKek`, for what is not
authentic: nothing of that sort gets a new seal.
"""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from pydantic_core import from_json

from kmworker.domain.model import Place, ScopeRecord
from kmworker.errors import PermanentError, Reason
from kmworker.store.key_records import scope_in

__all__ = ["Carrier", "Former", "Present"]


class Former(Protocol):
    """The custody of layout 1."""

    def check_seal(self, place: Place, record: bytes) -> bytes:
        """Return a sealed record's body; see `kmworker.ports.Custody.check_seal`."""
        ...

    def rewrap(self, project: str, scope: ScopeRecord, blob: bytes) -> bytes:
        """Return the scope's wrapped DEK, wrapped for the installation.

        Raises:
            UnknownKek: ``scope.kek_id`` is not in the keyring.
            PermanentError: with `Reason.INTEGRITY`: it does not unwrap.
        """
        ...


class Present(Protocol):
    """The custody of layout 2, which has entered the installation."""

    def seal(self, place: Place, body: bytes) -> bytes:
        """Return the sealed record; see `kmworker.ports.Custody.seal`."""
        ...

    def check_seal(self, place: Place, record: bytes) -> bytes:
        """Return a sealed record's body; see `kmworker.ports.Custody.check_seal`."""
        ...

    def check_dek(self, project: str, scope: ScopeRecord, blob: bytes) -> None:
        """See that the scope's DEK unwraps to its length; raises as `Former.rewrap` does."""
        ...


class Carrier:
    """Carries records over, one at a time."""

    def __init__(self, former: Former, present: Present) -> None:
        self._former = former
        self._present = present

    def item(self, place: Place, record: bytes) -> bytes | None:
        """Carry an item over; one without encryption gets a key-id and a scope-id of null."""
        body, is_former = self._opened(place, record)
        if not is_former:
            return None
        # The first of its kind: item ids and projects hold no quotes.
        head, found, tail = body.partition(b',"disposition":')
        is_keyless = found and b',"key_id":' not in head
        nulls = b',"key_id":null,"scope_id":null' if is_keyless else b""
        return self._present.seal(place, head + nulls + found + tail)

    def key(self, place: Place, record: bytes, scopes: Mapping[str, bytes | None]) -> bytes | None:
        """Carry a key-id over, naming the DEK that its scope has.

        Args:
            place: of its record.
            record: as it is.
            scopes: records by scope-id, of whichever layout; its own among them if there is one.
        """
        body, is_former = self._opened(place, record)
        if not is_former:
            return None
        fields = _fields(body)
        scope = scopes.get(fields["scope_id"])
        if scope is None:
            raise _wrong("its scope is missing")
        its = self._scope(Place(place.project, "scopes", fields["scope_id"]), scope)
        # A scope's first key-id is made with it, in one step. Another moment's was put back beside
        # a scope that was minted anew, and must not come to name that one's DEK.
        if fields["cloned_from"] is None and fields["created_at"] != its.created_at:
            raise _wrong("it was not made with its scope: one of them was put back")
        dek_id = json.dumps(its.dek_id).encode()
        head, state, tail = body.partition(b',"state":')
        return self._present.seal(place, head + b',"dek_id":' + dek_id + state + tail)

    def as_it_is(self, place: Place, record: bytes) -> bytes | None:
        """Carry a record over of which nothing but the seal changes."""
        body, is_former = self._opened(place, record)
        return self._present.seal(place, body) if is_former else None

    def dek(self, place: Place, record: bytes, blob: bytes) -> bytes | None:
        """Wrap the DEK of the scope in this place for the installation."""
        scope = self._scope(place, record)
        try:
            self._present.check_dek(place.project, scope, blob)
        except PermanentError:
            return self._former.rewrap(place.project, scope, blob)
        return None

    def _scope(self, place: Place, record: bytes) -> ScopeRecord:
        """Return what a scope's record says, of whichever layout."""
        return scope_in(place.field, _fields(self._opened(place, record)[0]))

    def _opened(self, place: Place, record: bytes) -> tuple[bytes, bool]:
        """Return a record's body, and whether it is of layout 1."""
        try:
            return self._former.check_seal(place, record), True
        except PermanentError:
            return self._present.check_seal(place, record), False


def _fields(body: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = from_json(body + b"}")
    return fields


def _wrong(says: str) -> PermanentError:
    return PermanentError(Reason.INTEGRITY, says)
