"""The job, as the author of a service on one of the peers would write it: one event at a time.

It is the worker's job with the worker's guarantees, and leaves the same records in the same
keys, so `kmworker verify` passes over a peer's store. What needs no store is shared: reading the
event, sealing and wrapping, the assignment's bytes. Two round trips remain. The record that is
written depends on the source's, and is sealed where the keyring is, so the store cannot make it.
Each is a script: what is read is the source's record and the record of its key-id, which says of
which DEK the key-id is.

What the peers are spared: waiting rooms, guards, policy files, counted commits, reports.
"""

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import redis
import redis.asyncio

from kmworker.clock import rfc3339
from kmworker.crypto import Keyring, KeyringCustody
from kmworker.domain.event import Event
from kmworker.domain.message import Outgoing
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
    Kind,
    ScopeRecord,
    scope_id_for,
)
from kmworker.settings import Settings
from kmworker.store.layout import layout_in
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec
from kmworker.wire.assignments import announce
from kmworker.wire.events.definition import EVENTS, Envelope, data_of
from kmworker.wire.topology import Topology

Document = Mapping[str, Any]

FOUND_IN = ("items", "keys")
KEYS = ("items", "keys", "scopes", "deks", "lineage", "holders", "stats")
ENCRYPTION = Encryption("aes-xts-plain64", 512)
FIND, ASSIGN = (
    resources.files("bench").joinpath(name).read_text() for name in ("find.lua", "assign.lua")
)
STALE = b"stale"
RULES = {
    Disposition.CREATE: "blank-volumes-get-a-key",
    Disposition.REUSE: "snapshots-share-the-key-id",
    Disposition.CLONE: "derived-volumes-get-a-clone",
}


class SourceMissingError(Exception):
    """The source has no key yet. The framework delivers the event again, as its users have it."""


@dataclass(frozen=True, slots=True)
class Writing:
    """What to ask of the store, and what to publish if the answer is that it is written."""

    keys: list[str]
    argv: list[str | bytes]
    held: Held


class _Work:
    """What is the same with and without asyncio: all but the two round trips."""

    def __init__(self, settings: Settings, now: Callable[[], float]) -> None:
        self._names = Names(settings.store.prefix)
        self._custody = _custody(settings, self._names)
        self._codec = RecordCodec(self._custody)
        self._source = settings.broker.source
        self._exchange = Topology(settings.broker.namespace).assignments
        self._now = now
        self.projects = self._names.top("projects")

    def read(self, document: Document) -> Event:
        """Check an event that is JSON already; pydantic raises what is wrong with it."""
        envelope = Envelope.model_validate(document)
        cause = Cause(envelope.id, envelope.source, envelope.type)
        event = EVENTS[envelope.type]
        data = data_of(event).validate_python(document["data"])
        said = event(id=envelope.id, time="", **data).to_event(cause)
        # What is measured beside its peers makes items, and ends none.
        assert isinstance(said, Event)
        return said

    def asked(self, event: Event) -> tuple[list[str], list[str]]:
        """Return the keys and arguments of `find.lua` for what the decision needs."""
        source = "" if event.derived_from is None else event.derived_from.ref
        return self._names.all_of(event.item.project, *FOUND_IN), [event.item.ref, source]

    def decide(self, event: Event, found: list[bytes | None]) -> Writing | Held:
        """Return what to write, or the assignment that is there already."""
        record, source, source_key = found
        if record is not None:
            return self._stored(event, record)
        if event.derived_from is None:
            return self._create(event)
        if source is None or source_key is None:
            raise SourceMissingError
        return self._derive(event, event.derived_from, source, source_key)

    def message(self, event: Event, writing: Writing | Held, before: bytes | None) -> Outgoing:
        """Return the announcement of what is stored, whoever stored it."""
        if before == STALE:
            raise SourceMissingError
        held = writing.held if isinstance(writing, Writing) else writing
        if before is not None:
            held = self._stored(event, before)
        return announce(held, self._source, self._exchange)

    def _stored(self, event: Event, record: bytes) -> Held:
        read = self._codec.read_item(event.item, record)
        assert read.assignment is not None
        return Held(read.assignment, None, None, read.data)

    def _create(self, event: Event) -> Writing:
        now = rfc3339(self._now())
        scope_id, dek_id, key_id = scope_id_for(event.item), str(uuid.uuid4()), str(uuid.uuid4())
        scope = ScopeRecord(
            scope_id, event.item.ref, dek_id, ENCRYPTION, self._custody.kek_id, None, now
        )
        key = KeyRecord(key_id, scope_id, dek_id, KeyState.ACTIVE, None, now)
        assignment = _assignment(event, Disposition.CREATE, key_id, scope_id, now)
        return self._writing(assignment, key, scope, b"")

    def _derive(self, event: Event, source: Item, record: bytes, key_record: bytes) -> Writing:
        # Seals are checked: whoever can write to the store must not choose a volume's key.
        theirs = self._codec.read_item(source, record).assignment
        assert theirs is not None
        scope_id, key_id, key = str(theirs.scope_id), str(theirs.key_id), None
        dek_id = self._codec.read_key(source.project, key_id, key_record).dek_id
        now = rfc3339(self._now())
        disposition = Disposition.REUSE
        if event.item.kind is not Kind.SNAPSHOT:
            disposition = Disposition.CLONE
            key = KeyRecord(str(uuid.uuid4()), scope_id, dek_id, KeyState.ACTIVE, key_id, now)
            key_id = key.key_id
        assignment = _assignment(event, disposition, key_id, scope_id, now)
        return self._writing(assignment, key, None, record)

    def _writing(
        self,
        assignment: Assignment,
        key: KeyRecord | None,
        scope: ScopeRecord | None,
        source_record: bytes,
    ) -> Writing:
        project = assignment.item.project
        record, data = self._codec.item(assignment)
        argv: list[str | bytes] = [
            assignment.item.ref,
            record,
            assignment.disposition.value,
            str(assignment.scope_id),
            str(assignment.key_id),
            b"" if key is None else self._codec.key(project, key),
            b"" if scope is None else self._codec.scope(project, scope),
            b"" if scope is None else self._custody.mint(project, scope),
            "" if assignment.source is None else assignment.source.ref,
            source_record,
        ]
        keys = self._names.all_of(project, *KEYS)
        return Writing(keys, argv, Held(assignment, key, scope, data))


def _custody(settings: Settings, names: Names) -> KeyringCustody:
    """Open the keyring for the installation whose store this is."""
    custody = KeyringCustody(Keyring.load(settings.keyring.path))
    with redis.Redis.from_url(str(settings.store.url), decode_responses=True) as client:
        fields: Any = client.hgetall(names.top("layout"))
    custody.enter(layout_in(fields, custody, names.top("layout")).installation)
    return custody


def _assignment(
    event: Event, disposition: Disposition, key_id: str, scope_id: str, now: str
) -> Assignment:
    return Assignment(
        item=event.item,
        disposition=disposition,
        key_id=key_id,
        scope_id=scope_id,
        source=event.derived_from,
        node=None,
        encryption=ENCRYPTION,
        data_action=DataAction.NONE,
        reencrypt_from=None,
        rule=RULES[disposition],
        cause=event.cause,
        assigned_at=now,
    )


class Job:
    """With the client library's blocking calls; safe to share between threads."""

    def __init__(self, settings: Settings, now: Callable[[], float]) -> None:
        self._client: Any = redis.Redis.from_url(str(settings.store.url))
        self._work = _Work(settings, now)
        self._find = self._client.register_script(FIND)
        self._script = self._client.register_script(ASSIGN)
        self._seen: set[str] = set()

    def assign(self, body: bytes) -> Outgoing:
        """Bring one event's item into the store and return the assignment to publish."""
        return self.assign_document(json.loads(body))

    def assign_document(self, document: Document) -> Outgoing:
        """Do the same for an event that the framework has decoded."""
        event = self._work.read(document)
        writing = self._work.decide(event, self._find(*self._work.asked(event)))
        before = None
        if isinstance(writing, Writing):
            self._register(event.item.project)
            before = self._script(writing.keys, writing.argv)
        return self._work.message(event, writing, before)

    def _register(self, project: str) -> None:
        if project not in self._seen:
            self._client.sadd(self._work.projects, project)
            self._seen.add(project)


class AsyncJob:
    """The same with asyncio."""

    def __init__(self, settings: Settings, now: Callable[[], float], connections: int) -> None:
        # Waits for a connection rather than making one more than the server would like.
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            str(settings.store.url), max_connections=connections
        )
        self._client: Any = redis.asyncio.Redis(connection_pool=pool)
        self._work = _Work(settings, now)
        self._find: Callable[..., Awaitable[Any]] = self._client.register_script(FIND)
        self._script: Callable[..., Awaitable[bytes | None]] = self._client.register_script(ASSIGN)
        self._seen: set[str] = set()

    async def assign(self, body: bytes) -> Outgoing:
        """Bring one event's item into the store and return the assignment to publish."""
        event = self._work.read(json.loads(body))
        writing = self._work.decide(event, await self._find(*self._work.asked(event)))
        before = None
        if isinstance(writing, Writing):
            await self._register(event.item.project)
            before = await self._script(writing.keys, writing.argv)
        return self._work.message(event, writing, before)

    async def _register(self, project: str) -> None:
        if project not in self._seen:
            await self._client.sadd(self._work.projects, project)
            self._seen.add(project)
