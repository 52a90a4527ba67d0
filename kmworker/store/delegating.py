"""The store, as a key server sees it: it reads records and wrapped DEKs, and changes none.

Each record is looked at twice for a delivery, before it is recorded and after. What stands in the
store is asked for both times; where it is the same to the byte, its seals are not checked again.

What it writes is which requests it has seen, so that one that is sent again is known for the same,
whichever key server it comes to.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import chain
from typing import Any, Final, TypeVar

import structlog
from redis.exceptions import RedisError

from kmworker.delegation.clients import ClientRecord
from kmworker.domain.grants import NO_GRANTS
from kmworker.domain.model import Broken, Held, held_in
from kmworker.errors import PermanentError
from kmworker.keyserver.ports import FoundKey, HandedOut
from kmworker.store.admission import Admission
from kmworker.store.client import Client
from kmworker.store.connection import store_errors
from kmworker.store.names import Names
from kmworker.store.pipe import Command
from kmworker.store.records import CLIENTS, LIST, TRUST, RecordCodec, refuse_other_dek
from kmworker.store.scripts import Scripts
from kmworker.wire.answers.bodies import Asked

__all__ = ["DelegationStore"]

log = structlog.get_logger()

K = TypeVar("K")
V = TypeVar("V")

DELEGATE_KEYS: Final = ("items", "keys", "scopes", "deks", "grants")
PER_REQUEST: Final = 5
REMEMBERED_S: Final = 900
"""A request is fresh for 300 s around its time, so this is as long as any can be sent again."""
IF_NEW: Final = ("NX", "GET", "EX", REMEMBERED_S)
"""The first that asks is noted; the answer is what was noted before (Redis 7.0)."""
MAX_READ: Final = 4_096
"""Of each kind, some 20 MB in all."""
NOTHING: Final = FoundKey(None, None, None, None, NO_GRANTS)


class DelegationStore:
    """A `kmworker.keyserver.ports.KeyStore` on Redis or Valkey."""

    def __init__(
        self,
        client: Client,
        names: Names,
        codec: RecordCodec,
        admission: Admission,
        has_projects: Callable[[], bool],
    ) -> None:
        self._client: Any = client  # its types leave open whether replies are bytes
        self._names = names
        self._codec = codec
        self._admission = admission
        self._has_projects = has_projects
        self._scripts = Scripts(client)
        self._clients_read: dict[str, tuple[bytes, ClientRecord]] = {}
        self._keys_read: dict[tuple[str, str, str], tuple[Sequence[bytes | None], FoundKey]] = {}

    @property
    def installation(self) -> str:
        """Return the installation's id, once it is admitted."""
        return self._admission.installation

    def admit(self) -> str:
        """Check that this store may be used; see `Admission.admit`."""
        self._forget()
        return self._admission.admit_after_a_worker(self._has_projects)

    def follow_keyring(self) -> None:
        """Take up what has become of KEKs, and of the keyring file; see `Admission.follow`."""
        self._forget()
        self._admission.follow()

    def _forget(self) -> None:
        """Read everything anew: what opens a record may open it no more."""
        self._clients_read.clear()
        self._keys_read.clear()

    def clients(self, names: Sequence[str]) -> dict[str, ClientRecord]:
        """Return those of these that are clients; one whose record is forged is none."""
        asked = sorted(set(names))
        if not asked:
            return {}
        (records,) = self._replies([("HMGET", self._names.top(CLIENTS), *asked)])
        found = {}
        for name, record in zip(asked, records, strict=True):
            if record is None:
                continue
            try:
                found[name] = self._client_in(name, record)
            except PermanentError as forged:
                log.error("a client's record is not authentic", client=name, detail=forged.detail)  # noqa: TRY400
        return found

    def _client_in(self, name: str, record: bytes) -> ClientRecord:
        before = self._clients_read.get(name)
        if before is not None and before[0] == record:
            return before[1]
        client = self._codec.read_client(name, record)
        _keep(self._clients_read, name, (record, client))
        return client

    def is_first(self, asked: Sequence[tuple[str, Asked]]) -> list[bool | None]:
        """Note requests by client and id; say of each whether nobody has asked it before."""
        if not asked:
            return []
        commands = [
            ("SET", self._asked_name(client, request), request.digest, *IF_NEW)
            for client, request in asked
        ]
        kept = self._replies(commands)
        return [
            True if digest is None else (False if digest == request.digest.encode() else None)
            for digest, (_client, request) in zip(kept, asked, strict=True)
        ]

    def _replies(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip; the first error is raised."""
        with store_errors():
            replies: list[Any] = self._client.pipe.send(commands).result()
            for it in replies:
                if isinstance(it, RedisError):
                    raise it
        return replies

    def _asked_name(self, client: str, request: Asked) -> str:
        return self._names.asked(sha256(f"{client} {request.id}".encode()).hexdigest())

    def find(self, asked: Sequence[Asked]) -> list[FoundKey]:
        """Return what is asked for, in one round trip."""
        if not asked:
            return []
        shares: defaultdict[str, list[int]] = defaultdict(list)
        for index, request in enumerate(asked):
            shares[request.project].append(index)
        calls = [
            (
                "delegate",
                self._names.all_of(project, *DELEGATE_KEYS),
                list(chain.from_iterable(_named(asked[index]) for index in indexes)),
            )
            for project, indexes in shares.items()
        ]
        found = [NOTHING] * len(asked)
        for indexes, reply in zip(shares.values(), self._scripts.run_each(calls), strict=True):
            for place, index in enumerate(indexes):
                if isinstance(reply, Exception):
                    # A key of the project is no hash any more: its own tenants' alone.
                    found[index] = _flawed(str(reply))
                    continue
                at = place * PER_REQUEST
                found[index] = self._found(asked[index], reply[at : at + PER_REQUEST])
        return found

    def _found(self, asked: Asked, values: Sequence[bytes | None]) -> FoundKey:
        name = (asked.project, *_named(asked))
        before = self._keys_read.get(name)
        if before is not None and before[0] == values:
            return before[1]
        found = self._read(asked, values)
        _keep(self._keys_read, name, (values, found))
        return found

    def _read(self, asked: Asked, values: Sequence[bytes | None]) -> FoundKey:
        record, key, scope, wrapped, granted = values
        try:
            if asked.item is None:
                return self._by_key_id(asked, key, scope, wrapped)
            grants = NO_GRANTS
            if granted is not None:
                grants = self._codec.read_grants(asked.item, granted).grants
            has_dek = int(wrapped is not None)
            state = self._codec.state(asked.item, [record, key, scope, has_dek, 0])
        except PermanentError as broken:
            return _flawed(broken.detail)
        if isinstance(state, Broken):
            return FoundKey(None, None, None, None, grants, state.detail)
        held = held_in(state)
        if not isinstance(state, Held) or held is None:
            return FoundKey(state, None, None, None, grants)
        return FoundKey(state, held.key, held.scope, wrapped, grants)

    def _by_key_id(
        self, asked: Asked, key: bytes | None, scope: bytes | None, wrapped: bytes | None
    ) -> FoundKey:
        if key is None or scope is None:
            return NOTHING
        key_record = self._codec.read_key(asked.project, str(asked.key_id), key)
        scope_record = self._codec.read_scope(asked.project, key_record.scope_id, scope)
        refuse_other_dek(key_record, scope_record)
        return FoundKey(None, key_record, scope_record, wrapped, NO_GRANTS)

    def trust(self) -> HandedOut | None:
        """Return the trust list that is handed out."""
        with store_errors():
            record = self._client.hget(self._names.top(TRUST), LIST)
        if record is None:
            return None
        found = self._codec.read_trust(record)
        return HandedOut(found.root, found.text, found.signature)

    def time_s(self) -> float:
        """Return the store's time, Unix seconds."""
        with store_errors():
            seconds, microseconds = self._client.time()
        return float(seconds) + float(microseconds) / 1e6


def _keep(read: dict[K, V], name: K, found: V) -> None:
    if len(read) >= MAX_READ:
        read.clear()
    read[name] = found


def _named(asked: Asked) -> tuple[str, str]:
    return ("K", str(asked.key_id)) if asked.item is None else ("I", asked.item.ref)


def _flawed(detail: str) -> FoundKey:
    return FoundKey(None, None, None, None, NO_GRANTS, detail)
