"""What a key server sees of the store: each time what stands there, and repeats for what they are.

It looks twice at all that it delivers by. What is the same to the byte is not opened again; what is
not is, and so is everything once the keyring has been looked at.
"""

from dataclasses import replace
from typing import Any, Final

import pytest

from kmworker.delegation.clients import ClientRecord, Right, Rights, Stamp, revoked
from kmworker.delegation.identity import Identity
from kmworker.domain.grants import NO_GRANTS, Grants, granted
from kmworker.domain.keys import Operator
from kmworker.domain.model import Broken, Held, Kind, Place
from kmworker.domain.plan import GrantWrite
from kmworker.keyserver.ports import FoundKey
from kmworker.store.delegating import DelegationStore
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec
from kmworker.store.remembering import MAX_READ, RememberingCodec
from kmworker.wire.answers.bodies import Asked
from tests.kit.builders import NOW, attach
from tests.kit.store.builders import draft, volume
from tests.kit.store.key_servers import unwatched
from tests.kit.store.stand import Stand
from tests.kit.store.wiretap import Wiretap

V: Final = volume("v1")
AT: Final = "2026-11-23T16:00:00.000Z"
MARK: Final = Stamp(AT, Operator("alice", "a drill"))
RIGHTS: Final = Rights(frozenset({Right.GET}), frozenset(Kind), ("*",), ("n1",))
HOST: Final = Identity.generate(AT)
CLIENT: Final = ClientRecord("compute-17", 1, (HOST.public,), RIGHTS, MARK)


class Counting(RememberingCodec):
    """Counts the records whose seals are checked."""

    def __init__(self, stand: Stand) -> None:
        super().__init__(stand.custody)
        self.checks = 0

    def checked(self, place: Place, record: bytes) -> bytes:
        self.checks += 1
        return super().checked(place, record)


class Admitted:
    """An admission that follows nothing."""

    def follow(self) -> None:
        """Nothing has become of any KEK."""


@pytest.fixture
def codec(stand: Stand) -> Counting:
    return Counting(stand)


@pytest.fixture
def tap(stand: Stand) -> Wiretap:
    return stand.tap("keyserver")


@pytest.fixture
def store(stand: Stand, codec: Counting, tap: Wiretap) -> DelegationStore:
    """A key server's, with a volume that is attached, and a client."""
    stand.first.admit()
    stand.commit(draft.create(V))
    attached(stand, "a1")
    enrolled(stand, CLIENT)
    admission: Any = Admitted()
    return unwatched(stand, tap, codec, admission)


def attached(stand: Stand, name: str) -> None:
    before = stand.first.look_up_grants([V]).result()[V]
    assert not isinstance(before, Broken)
    after = granted(NO_GRANTS if before is None else before.grants, attach(name), NOW, 30.0)
    assert isinstance(after, Grants)
    stand.commit(GrantWrite(V, before, after))


def enrolled(stand: Stand, client: ClientRecord) -> None:
    record = RecordCodec(stand.custody).client(client)
    stand.raw.hset(f"{stand.prefix}:clients", client.name, record)


def asked(request: str = "r1", digest: str = "0" * 64) -> Asked:
    return Asked(request, digest, V.project, V, None)


def found(store: DelegationStore) -> FoundKey:
    (it,) = store.find([asked()])
    return it


def test_it_finds_the_key_the_grants_and_the_client(store: DelegationStore) -> None:
    it = found(store)
    assert isinstance(it.state, Held)
    assert it.key is not None
    assert it.scope is not None
    assert it.wrapped is not None
    assert [grant.id for grant in it.grants.live] == ["a1"]
    assert store.clients(["compute-17", "nobody"]) == {"compute-17": CLIENT}


def test_what_changes_between_two_looks_is_seen(stand: Stand, store: DelegationStore) -> None:
    found(store), store.clients(["compute-17"])
    attached(stand, "a2")
    over = revoked(CLIENT, MARK)
    assert isinstance(over, ClientRecord)
    enrolled(stand, over)
    assert [grant.id for grant in found(store).grants.live] == ["a1", "a2"]
    assert store.clients(["compute-17"]) == {"compute-17": over}


@pytest.mark.parametrize("key", ["items", "keys", "scopes", "grants"])
def test_what_is_forged_between_two_looks_is_noticed(
    stand: Stand, store: DelegationStore, key: str
) -> None:
    assert not found(store).flaw
    name = stand.key(V.project, key)
    ((field, record),) = stand.raw.hgetall(name).items()
    stand.raw.hset(name, field, record.replace(b'"', b"'", 1))
    assert found(store).flaw
    stand.raw.hset(name, field, record)
    assert not found(store).flaw


def test_a_client_that_is_forged_between_two_looks_is_none(
    stand: Stand, store: DelegationStore
) -> None:
    assert store.clients(["compute-17"])
    record = RecordCodec(stand.custody).client(replace(CLIENT, version=2))
    forged = record.replace(b'"version":2', b'"version":3')
    assert forged != record
    stand.raw.hset(f"{stand.prefix}:clients", "compute-17", forged)
    assert store.clients(["compute-17"]) == {}


def test_a_dek_that_is_gone_at_the_second_look_is_not_there(
    stand: Stand, store: DelegationStore
) -> None:
    assert found(store).wrapped is not None
    stand.raw.delete(Names(stand.prefix).of(V.project, "deks"))
    assert found(store).wrapped is None


def test_what_is_the_same_is_asked_for_and_not_checked_again(
    store: DelegationStore, codec: Counting, tap: Wiretap
) -> None:
    first = found(store), store.clients(["compute-17"])
    checks, trips = codec.checks, len(tap.trips)
    assert checks == 5
    assert (found(store), store.clients(["compute-17"])) == first
    assert codec.checks == checks
    assert len(tap.trips) == trips + 2


def test_all_is_checked_again_once_the_keyring_was_looked_at(
    store: DelegationStore, codec: Counting
) -> None:
    found(store), store.clients(["compute-17"])
    checks = codec.checks
    store.follow_keyring()
    found(store), store.clients(["compute-17"])
    assert codec.checks == 2 * checks


def test_what_is_remembered_is_bounded(
    store: DelegationStore, codec: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_READ > 128
    monkeypatch.setattr("kmworker.store.remembering.MAX_READ", 1)
    store.find([asked(), replace(asked(), item=volume("v2"))])
    checks = codec.checks
    found(store)
    assert codec.checks == 2 * checks


def test_a_request_is_new_until_it_is_noted_and_its_id_belongs_to_its_bytes(
    stand: Stand, store: DelegationStore, tap: Wiretap
) -> None:
    other = asked(digest="1" * 64)
    assert store.is_first([("c", asked()), ("c", asked())]) == [True, True]
    tap.trips.clear()
    noted = store.note([("c", asked()), ("c", asked()), ("c", other), ("d", other)])
    assert len(tap.trips) == 1
    # Something else may be asked for while the store writes it down.
    assert not found(store).flaw
    assert noted.result() == [True, False, None, True]
    assert store.is_first([("c", asked()), ("c", other), ("d", asked())]) == [False, None, None]
    assert store.note([("c", other)]).result() == [None]
    names = list(stand.raw.scan_iter(f"{stand.prefix}:asked:*"))
    assert [0 < stand.raw.ttl(it) <= 900 for it in names] == [True, True]


def test_nothing_is_asked_for_nobody(store: DelegationStore, tap: Wiretap) -> None:
    tap.trips.clear()
    assert (store.is_first([]), store.find([]), store.clients([])) == ([], [], {})
    assert store.note([]).result() == []
    assert tap.trips == []
