"""Records to sealed bytes and back.

A record is written in one fixed order with its seal last, and the seal covers the raw
bytes before it: what is checked is what was stored, not what a parser made of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from pydantic_core import from_json, to_json

from kmworker.delegation.clients import ClientRecord
from kmworker.delegation.trust_list import HandedOut
from kmworker.domain.endings import EndingEntry
from kmworker.domain.grants import Grants, GrantsSeen
from kmworker.domain.message import Original, within_bounds
from kmworker.domain.model import (
    Assignment,
    Broken,
    Held,
    Item,
    ItemRecord,
    KeyRecord,
    Kind,
    Place,
    Released,
    ScopeRecord,
    State,
)
from kmworker.domain.plan import Entry, ParkWrite
from kmworker.domain.waiting import Taken
from kmworker.errors import PermanentError, Reason, UnknownKek
from kmworker.ports import Custody
from kmworker.store.client_records import client_fields, client_in
from kmworker.store.grant_records import grants_fields, grants_in
from kmworker.store.item_records import HEAD, NO_DATA, item_in, tail_of, tail_of_released
from kmworker.store.key_records import key_fields, key_in, scope_fields, scope_in
from kmworker.wire.assignments import encode_data
from kmworker.wire.envelope import KINDS
from kmworker.wire.properties import bounded, pack, unpack

__all__ = [
    "CHAIN", "CLIENTS", "ENDINGS", "LIST", "SEAL_BYTES", "TRUST", "RecordCodec",
    "ending_in", "item_at", "life_at", "original_in", "refuse_other_dek",
]  # fmt: skip

# What belongs to no project is sealed as that of one without a name, which no project has.
CLIENTS: Final = "clients"
TRUST: Final = "trust"
LIST: Final = "list"
ENDINGS: Final = "endings"
CHAIN: Final = "chain"
"""What all entries of a chain are sealed as: their numbers say where in it they are."""
SEAL_BYTES: Final = 63
"""Of a seal at a record's end; see `kmworker.crypto.record_mac`."""
DIGEST_DIGITS: Final = 32

# Of 2 to the 53rd: what has more was written by no worker.
MAX_LIFE_DIGITS: Final = 16


class RecordCodec:
    """Encodes, seals, checks and decodes the records of the Redis contract."""

    def __init__(self, custody: Custody, may_open: Callable[[str], bool] | None = None) -> None:
        """Take what the records rest on.

        Args:
            custody: whose seals they bear.
            may_open: whether anything may be under this KEK, by what the store says; None: nobody
                asks.
        """
        self._custody = custody
        self._may_open = may_open

    @property
    def term(self) -> int:
        """Return the term of the KEK that these are sealed under."""
        return self._custody.term

    def item(self, assignment: Assignment) -> tuple[bytes, bytes]:
        """Return the item's sealed record and the announcement's data inside it."""
        data = encode_data(assignment)
        item = assignment.item
        place = Place(item.project, "items", item.ref)
        return self._custody.seal(place, HEAD + data + tail_of(assignment)), data

    def tombstone(self, released: Released) -> bytes:
        """Return the sealed record of an item that is gone; its data keeps its bytes."""
        item, held = released.item, released.held
        # Of what is assigned in the same step, the data is not written yet.
        data = NO_DATA if held is None else held.data or encode_data(held.assignment)
        place = Place(item.project, "items", item.ref)
        return self._custody.seal(place, HEAD + data + tail_of_released(released))

    def key(self, project: str, key: KeyRecord) -> bytes:
        """Return the key-id's sealed record."""
        return self.sealed(Place(project, "keys", key.key_id), key_fields(key))

    def scope(self, project: str, scope: ScopeRecord) -> bytes:
        """Return the scope's sealed record."""
        return self.sealed(Place(project, "scopes", scope.scope_id), scope_fields(scope))

    def grants(self, item: Item, grants: Grants) -> bytes:
        """Return the sealed record of who may have an item's key."""
        return self.sealed(Place(item.project, "grants", item.ref), grants_fields(grants))

    def read_grants(self, item: Item, record: bytes) -> GrantsSeen:
        """Return who may have an item's key; raises as `read_item` does."""
        fields = self.opened(Place(item.project, "grants", item.ref), record)
        return GrantsSeen(grants_in(fields), record)

    def client(self, client: ClientRecord) -> bytes:
        """Return a client's sealed record."""
        return self.sealed(Place("", CLIENTS, client.name), client_fields(client))

    def read_client(self, name: str, record: bytes) -> ClientRecord:
        """Return a client; raises as `read_item` does."""
        return client_in(name, self.opened(Place("", CLIENTS, name), record))

    def trust(self, trust: HandedOut) -> bytes:
        """Return the sealed record of the trust list that is handed out."""
        fields = {"root": trust.root, "text": trust.text, "signature": trust.signature}
        return self.sealed(Place("", TRUST, LIST), fields)

    def read_trust(self, record: bytes) -> HandedOut:
        """Return the trust list that is handed out; raises as `read_item` does."""
        return HandedOut(**self.opened(Place("", TRUST, LIST), record))

    def ending(self, project: str, entry: EndingEntry) -> tuple[bytes, str]:
        """Return a sealed entry of a chain of endings, and its digest."""
        fields = {"number": entry.number, "after": entry.after, "of": dict(entry.of)}
        sealed = self.sealed(Place(project, ENDINGS, CHAIN), fields)
        return sealed, _digest_of(sealed[:-SEAL_BYTES])

    def read_ending(self, project: str, record: bytes) -> tuple[EndingEntry, str]:
        """Return an entry of a chain of endings, and its digest; raises as `read_item` does.

        The digest is of what it says, not of its seal, which turns over with KEKs.
        """
        return ending_in(self.checked(Place(project, ENDINGS, CHAIN), record))

    def parked(self, write: ParkWrite) -> bytes:
        """Return the waiting event's sealed record."""
        properties = write.original.properties
        # Without headers there is nothing that could be large.
        if "application_headers" in properties:
            properties = bounded(properties)
        body = {
            "source": write.source_ref,
            "project": write.item.project,
            "routing_key": write.original.routing_key,
            "properties": pack(properties),
            "body": write.original.body.decode(),
        }
        return self.sealed(Place(write.source.project, "parked", write.name), body)

    def read_parked(self, project: str, name: str, record: bytes) -> Original:
        """Return the event as its producer sent it.

        Raises:
            PermanentError: with `Reason.INTEGRITY`.
            UnknownKek: its KEK is not in the keyring.
        """
        return original_in(self.opened(Place(project, "parked", name), record))

    def read_item(self, item: Item, record: bytes) -> ItemRecord:
        """Return what an item's record says.

        Raises:
            PermanentError: with `Reason.INTEGRITY`.
            UnknownKek: its KEK is not in the keyring.
        """
        return item_in(item, self.checked(Place(item.project, "items", item.ref), record))

    def read_key(self, project: str, key_id: str, record: bytes) -> KeyRecord:
        """Return a key-id's record; raises as `read_item` does."""
        return key_in(key_id, self.opened(Place(project, "keys", key_id), record))

    def read_scope(self, project: str, scope_id: str, record: bytes) -> ScopeRecord:
        """Return a scope's record; raises as `read_item` does."""
        return scope_in(scope_id, self.opened(Place(project, "scopes", scope_id), record))

    def state(self, item: Item, found: list[Any]) -> State:
        """Turn one item's part of a `lookup.lua` reply into what is known of it.

        Raises:
            UnknownKek: a KEK is missing here, which says nothing against the record.
        """
        record, key, scope, has_dek, has_waiting = found
        if record is None:
            return None
        try:
            read = self.read_item(item, record)
            held = self._held(read, key, scope, has_dek)
        except PermanentError as broken:
            return Broken(broken.detail)
        if read.tombstone is not None:
            return Released(item, read.tombstone, held, bool(has_waiting))
        return None if held is None else replace(held, has_waiting=bool(has_waiting))

    def _held(
        self, read: ItemRecord, key: bytes | None, scope: bytes | None, has_dek: int
    ) -> Held | None:
        assignment = read.assignment
        if assignment is None:
            return None
        if assignment.key_id is None:
            return Held(assignment, None, None, read.data)
        pair = self._key_and_scope(assignment, key, scope, has_dek)
        return Held(assignment, *pair, read.data)

    def _key_and_scope(
        self, assignment: Assignment, key: bytes | None, scope: bytes | None, has_dek: int
    ) -> tuple[KeyRecord, ScopeRecord]:
        item = assignment.item
        if key is None or scope is None:
            raise _missing("key" if key is None else "scope", item)
        key_record = self.read_key(item.project, str(assignment.key_id), key)
        scope_record = self.read_scope(item.project, str(assignment.scope_id), scope)
        if not has_dek and scope_record.destroyed_at is None:
            raise _missing("wrapped DEK", item)
        if (key_record.scope_id, scope_record.encryption) != (
            assignment.scope_id,
            assignment.encryption,
        ):
            raise _contradiction(f"the records of {item.ref} contradict each other")
        refuse_other_dek(key_record, scope_record)
        return key_record, scope_record

    def taken(self, source: Item, found: list[Any]) -> Taken:
        """Turn one part of a `take.lua` reply into a waiting event, or into what is wrong.

        Raises:
            UnknownKek: a KEK is missing here, which says nothing against the event.
        """
        name, attempts, record, expired, life = found
        _item, generation = life_at(source.project, life)
        entry = Entry(source, name.decode(), attempts, bool(expired), generation)
        if record is None:
            problem = f"the body of waiting event {entry.name} is missing from the store"
            return Taken(entry, Original(b"", "", {}), problem)
        try:
            return Taken(entry, self.read_parked(source.project, entry.name, record))
        except PermanentError as broken:
            problem = broken.detail
        # The record itself goes to the dead letters, if it is no larger than these may be.
        return Taken(entry, within_bounds(Original(record, "", {})), problem)

    def due(self, project: str, found: list[Any]) -> Taken:
        """Turn one part of a `sweep.lua` reply into a waiting event; raises as `taken` does."""
        *event, life, shown = found
        source, _generation = life_at(project, life)
        taken = self.taken(source, [*event, life])
        if not taken.problem:
            return taken
        # What a broken record says of its source counts only if nothing else does.
        source, generation = life_at(project, shown or life)
        return replace(taken, entry=replace(taken.entry, source=source, generation=generation))

    def _forgery(self, unknown: UnknownKek) -> str:
        """Return what is to be said of a record under a KEK that nobody has.

        A worker writes under the active KEK alone, and a KEK is retired when nothing is under it:
        what is under any other was not written by one. Were it waited for like an old keyring,
        one forged record would stop all workers for everybody.

        Raises:
            UnknownKek: the store says that it may be: ours is old.
        """
        if self._may_open is None or self._may_open(unknown.kek_id):
            raise unknown
        return f"{unknown}, and by the store nothing is under it: it is forged"

    def sealed(self, place: Place, body: dict[str, Any]) -> bytes:
        """Return a sealed record of these fields."""
        return self._custody.seal(place, to_json(body)[:-1])

    def opened(self, place: Place, record: bytes) -> dict[str, Any]:
        """Return a sealed record's fields; raises as `read_item` does."""
        fields: dict[str, Any] = from_json(self.checked(place, record) + b"}")
        return fields

    def checked(self, place: Place, record: bytes) -> bytes:
        """Return a sealed record's body, unread; raises as `read_item` does.

        What is under a KEK that nobody has is not authentic.
        """
        try:
            return self._custody.check_seal(place, record)
        except UnknownKek as unknown:
            raise PermanentError(Reason.INTEGRITY, self._forgery(unknown)) from None


def refuse_other_dek(key: KeyRecord, scope: ScopeRecord) -> None:
    """Refuse a key-id whose DEK is not the one that its scope has now.

    A scope-id follows from the root item. Whoever deletes a scope, lets it be minted anew and
    puts the old key-id back has authentic records that name each other, and another DEK.

    Raises:
        PermanentError: with `Reason.INTEGRITY`.
    """
    if key.dek_id != scope.dek_id:
        raise _contradiction(f"key-id {key.key_id} is of another DEK than scope {scope.scope_id}")


# What a record says whose seal has been checked. ValueError, KeyError and TypeError mean
# that another release wrote it.


def original_in(fields: Mapping[str, Any]) -> Original:
    """Return the event in a parked record's fields, as its producer sent it."""
    return Original(fields["body"].encode(), fields["routing_key"], unpack(fields["properties"]))


def item_at(project: str, ref: bytes) -> Item:
    """Return the item that a ref in the store names."""
    kind, _colon, identifier = ref.decode(errors="replace").partition(":")
    # Nothing waits for an image, so it stands for a ref that someone has damaged.
    return Item(project, KINDS.get(kind, Kind.IMAGE), identifier)


def life_at(project: str, ref: bytes) -> tuple[Item, int]:
    """Return the item, and its life, that events wait for by this name; see `life_ref`."""
    name, _brace, generation = ref.partition(b"{")
    number = generation.removesuffix(b"}")
    is_one = number.isdigit() and len(number) <= MAX_LIFE_DIGITS
    return item_at(project, name), int(number) if is_one else 0


def ending_in(body: bytes) -> tuple[EndingEntry, str]:
    """Return an entry of a chain of endings, and its digest."""
    fields = from_json(body + b"}")
    return EndingEntry(fields["number"], fields["after"], fields["of"]), _digest_of(body)


def _digest_of(body: bytes) -> str:
    return sha256(body).hexdigest()[:DIGEST_DIGITS]


def _missing(lost: str, item: Item) -> PermanentError:
    return _contradiction(f"the {lost} of {item.ref} is missing from the store")


def _contradiction(detail: str) -> PermanentError:
    return PermanentError(Reason.INTEGRITY, detail)
