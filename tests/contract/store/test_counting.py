"""A count reads only what could matter, and comes to what all that is written says."""

from collections import defaultdict

import pytest

from kmworker.domain.event import UNENCRYPTED
from kmworker.domain.model import Disposition, Kind, Place
from kmworker.domain.retention import Count
from kmworker.store.records import RecordCodec, item_at
from kmworker.store.retention import RedisRetention
from tests.kit.builders import event_of, release_of
from tests.kit.store.builders import CUSTODY, replica, snapshot, volume
from tests.kit.store.playing import play
from tests.kit.store.stand import Stand

V, W, X, S, T, C = (
    volume("v1"), volume("w1"), volume("x1"), snapshot("s1"), snapshot("t1"), volume("c1"),
)  # fmt: skip
CODEC = RecordCodec(CUSTODY)


@pytest.fixture(autouse=True)
def filled(stand: Stand) -> None:
    """Shared, cloned, unencrypted, gone, gone before it came, and in another life."""
    stand.first.admit()
    play(stand, event_of(V), event_of(S, V), event_of(T, V), event_of(X, encryption=UNENCRYPTED))
    play(stand, event_of(C, S, requested=Disposition.CLONE), event_of(W))
    play(stand, release_of(T), release_of(W), release_of(volume("early")))
    play(stand, event_of(W, generation=1))
    play(stand, event_of(replica("r1"), V))


def counted(stand: Stand, key_ids: set[str], scope_ids: set[str]) -> Count:
    retention = RedisRetention(stand.views("janitor"), CODEC)
    return retention.count("p1", key_ids, scope_ids, lambda _size: None)


def all_keys(stand: Stand) -> dict[str, str]:
    """Scope-ids by key-id."""
    keys = stand.value(stand.key("p1", "keys"))
    read = (CODEC.read_key("p1", it.decode(), raw) for it, raw in keys.items())
    return {key.key_id: key.scope_id for key in read}


def held(stand: Stand) -> dict[str, set[str]]:
    """Items by the key-id that they hold, by all that is written."""
    found = defaultdict(set)
    for ref, raw in stand.value(stand.key("p1", "items")).items():
        read = CODEC.read_item(item_at("p1", ref), raw)
        if read.assignment is not None and read.tombstone is None and read.assignment.key_id:
            found[read.assignment.key_id].add(ref.decode())
    return dict(found)


def test_for_any_of_them_it_comes_to_what_is_written(stand: Stand) -> None:
    scopes = all_keys(stand)
    assert len(scopes) == 4
    for key_id, scope_id in scopes.items():
        found = counted(stand, {key_id}, {scope_id})
        assert found.holders[key_id] == len(held(stand).get(key_id, ()))
        assert found.holders.keys() <= {key_id}
        assert found.named == {scope_id: {it for it in scopes if scopes[it] == scope_id}}
        assert not found.flawed


def test_for_all_of_them_too(stand: Stand) -> None:
    scopes = all_keys(stand)
    found = counted(stand, set(scopes), set(scopes.values()))
    assert found.holders == {it: len(refs) for it, refs in held(stand).items()}


@pytest.mark.parametrize("key", ["items", "keys"])
def test_an_edited_record_is_flawed_whatever_it_names(stand: Stand, key: str) -> None:
    """It could have held the key-id that is due."""
    due, *others = all_keys(stand).items()
    table = stand.key("p1", key)
    field = W.ref if key == "items" else others[0][0]
    record = stand.raw.hget(table, field)
    CODEC.checked(Place("p1", key, field), record)
    stand.raw.hset(table, field, record.replace(b'"2026', b'"2027', 1))
    found = counted(stand, {due[0]}, {due[1]})
    assert found.flawed == [f"{key} {field}"]


def test_a_partition_is_named_and_holds_nothing(stand: Stand) -> None:
    partition = item_at("p1", b"partition:1")
    assert partition.kind is Kind.PARTITION
    play(stand, event_of(replica("1@a"), partition))
    key_id = next(it for it, refs in held(stand).items() if "partition:1" in refs)
    found = counted(stand, {key_id}, set())
    assert found.partitions == {key_id: partition}
    assert found.holders == {key_id: 1}
