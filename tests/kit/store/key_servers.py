"""The store as key servers see it, and what a Redis writer puts back there."""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any
from uuid import uuid4

from kmworker.bootstrap.admitting import anchor_identity, assemble_delegation_store
from kmworker.delegation.clients import ClientRecord, Right, Rights, Stamp, enrolled, revoked
from kmworker.delegation.identity import PublicIdentity
from kmworker.domain.audit import Act, Actor, ActorKind, AuditRecord
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import NoStep
from kmworker.domain.model import Item, Kind
from kmworker.keyserver.ports import FoundKey
from kmworker.settings import Settings, StoreSettings
from kmworker.store.client import Client
from kmworker.store.client_register import ClientRegister
from kmworker.store.delegating import DelegationStore
from kmworker.store.endings_read import EndingsRead
from kmworker.store.endings_seen import EndingsSeen
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec
from kmworker.store.remembering import RememberingCodec
from kmworker.wire.answers.bodies import Asked
from tests.kit.builders import NOW
from tests.kit.store.builders import CUSTODY, opened_anew
from tests.kit.store.stand import Stand

__all__ = [
    "asked_of", "enroll", "found_by", "key_server", "register", "revoke", "says_anchor",
    "unwatched",
]  # fmt: skip

MARK = Stamp(NOW, Operator("alice", "a drill"))
RIGHTS = Rights(frozenset({Right.GET}), frozenset({Kind.VOLUME}), ("*",), ("n1",))


def key_server(stand: Stand, *, anchored: int = 0) -> DelegationStore:
    """Return the store of a key server that starts now."""
    store = assemble_delegation_store(
        _settings(stand),
        stand.views("keyserver"),
        opened_anew(CUSTODY),
        stand.clock,
        server_id=f"ks-{uuid4()}",
        kept=lambda: says_anchor(stand, anchored),
    )
    store.admit()
    return store


def unwatched(
    stand: Stand, client: Client, codec: RememberingCodec, admission: Any
) -> DelegationStore:
    """Return the store of a key server that looks at no chains but of what it is asked."""
    names, plain = Names(stand.prefix), RecordCodec(stand.custody)
    endings = EndingsRead(client, names, plain, EndingsSeen(client, names, plain))
    watch: Any = Unwatching()
    return DelegationStore(
        client, names, codec, admission, lambda: True, endings=endings, watch=watch
    )


class Unwatching:
    """Looks at no chain."""

    def begin(self) -> None:
        """Begin."""

    def go_on(self) -> None:
        """Go on."""


def _settings(stand: Stand) -> Settings:
    return Settings(store=StoreSettings(prefix=stand.prefix, durability="vouched"))


def says_anchor(stand: Stand, endings: int, commits: int = 0) -> list[bytes]:
    """Return what the broker keeps of this store."""
    ours = sorted(anchor_identity(_settings(stand), CUSTODY)())
    return [json.dumps({"commits": commits, "endings": endings, "store": ours}).encode()]


def asked_of(item: Item | None = None, key_id: str | None = None) -> Asked:
    """Return a request."""
    name = str(uuid4())
    return Asked(name, sha256(name.encode()).hexdigest(), "p1", item, key_id)


def found_by(store: DelegationStore, *items: Item) -> Sequence[FoundKey]:
    """Return what a key server finds of items."""
    return store.find([asked_of(item) for item in items])


def register(stand: Stand) -> ClientRegister:
    """Return the clients in an operator's hands."""
    return ClientRegister(stand.views("key-operator"), RecordCodec(CUSTODY))


def enroll(stand: Stand, name: str, seed: bytes = b"a") -> ClientRecord:
    """Have somebody be a client."""
    identity = PublicIdentity(seed * 32, seed * 1216)
    return _made(
        register(stand).change(
            name,
            lambda it: enrolled(it, name, identity, RIGHTS, MARK),
            _record(Act.CLIENT_ENROLLED, name),
        )
    )


def revoke(stand: Stand, name: str) -> ClientRecord:
    """Have him be none any more."""

    def become(client: ClientRecord | None) -> ClientRecord | NoStep:
        assert client is not None
        return revoked(client, MARK)

    return _made(register(stand).change(name, become, _record(Act.CLIENT_REVOKED, name)))


def _record(what: Act, client: str) -> AuditRecord:
    return AuditRecord(what, Actor(ActorKind.OPERATOR, "alice"), NOW, client=client)


def _made(found: Any) -> ClientRecord:
    assert isinstance(found, ClientRecord), found
    return found
