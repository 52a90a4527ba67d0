"""Whoever can write to the store, but lacks the KEK, cannot pass off one record as another."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from kmworker.crypto import KeyringCustody
from kmworker.domain.model import Broken, Held, Item
from kmworker.domain.plan import Committed, WriteStatus
from kmworker.errors import PermanentError, UnknownKek
from kmworker.store.export import read_wrapped
from kmworker.store.inspection import Views
from kmworker.store.names import Names
from kmworker.store.redis_store import RedisStore
from tests.kit.store.builders import Drafts, replica, snapshot, volume
from tests.kit.store.filling import brief, found_in
from tests.kit.store.stand import Stand, known, only, put

V1, V2, R1 = volume("v1"), volume("v2"), replica("r1")

Raw = Any


@pytest.fixture
def one(store: RedisStore, draft: Drafts) -> Held:
    """A replica with every field of its records filled."""
    source = put(store, draft.create(V1))
    return put(store, draft.create(R1, source, node="obj-07"))


@pytest.fixture
def two(store: RedisStore, draft: Drafts) -> Held:
    return put(store, draft.create(V2))


def fields_of(held: Held) -> dict[str, str]:
    """Return where an item's three records are: hash to field."""
    a = held.assignment
    return {"items": a.item.ref, "keys": str(a.key_id), "scopes": str(a.scope_id)}


def broken(store: RedisStore, item: Item) -> str:
    """Return what the store says is wrong with an item, alone or among others."""
    alone = store.look_up([item]).result()[item]
    assert isinstance(alone, Broken)
    assert store.look_up([V1, item, volume("absent")]).result()[item] == alone
    return alone.detail


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from leaves(part, (*path, name))
    else:
        yield path


def edited(record: bytes, path: tuple[str, ...]) -> bytes:
    """Change one field and leave all others, and the seal, as they are."""
    fields = json.loads(record)
    place = fields
    for name in path[:-1]:
        place = place[name]
    old = place[path[-1]]
    place[path[-1]] = {str: f"{old}x", int: 256}.get(type(old), "x")
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("key", ["items", "keys", "scopes"])
def test_an_edit_of_any_field_breaks_the_item(
    stand: Stand, store: RedisStore, one: Held, key: str
) -> None:
    raw: Raw = stand.raw
    name, field = stand.key("p1", key), fields_of(one)[key]
    record = raw.hget(name, field)
    paths = [path for path in leaves(json.loads(record)) if path != ("seal",)]
    assert len(paths) >= 5
    for path in paths:
        raw.hset(name, field, edited(record, path))
        assert "authenti" in broken(store, R1) or "missing" in broken(store, R1), path
    raw.hset(name, field, record)
    assert known(store, R1) == one


@pytest.mark.parametrize("key", ["items", "keys", "scopes"])
def test_an_edit_that_changes_no_meaning_breaks_the_item_too(
    stand: Stand, store: RedisStore, one: Held, key: str
) -> None:
    raw: Raw = stand.raw
    name, field = stand.key("p1", key), fields_of(one)[key]
    record = raw.hget(name, field)
    for other in (record.replace(b":", b": ", 1), record + b" ", b" " + record, record * 2):
        raw.hset(name, field, other)
        assert "authenti" in broken(store, R1)


@pytest.mark.parametrize("record", [b"", b"{}", b"\xff\x00", b'{"seal":""}', b"null", b"[" * 999])
@pytest.mark.parametrize("key", ["items", "keys", "scopes"])
def test_garbage_in_place_of_a_record_breaks_the_item(
    stand: Stand, store: RedisStore, one: Held, key: str, record: bytes
) -> None:
    raw: Raw = stand.raw
    raw.hset(stand.key("p1", key), fields_of(one)[key], record)
    assert "authenti" in broken(store, R1)


@pytest.mark.parametrize("key", ["items", "keys", "scopes"])
def test_a_seal_that_is_cut_or_changed_breaks_the_item(
    stand: Stand, store: RedisStore, one: Held, key: str
) -> None:
    raw: Raw = stand.raw
    name, field = stand.key("p1", key), fields_of(one)[key]
    record = raw.hget(name, field)
    last = b"0" if record[-3:-2] != b"0" else b"1"
    for other in (
        record[:-3] + last + b'"}',
        record.replace(b"v2.", b"v1."),
        record[: record.rindex(b',"seal"')] + b"}",
        record[:-35].upper() + record[-35:],
    ):
        raw.hset(name, field, other)
        assert "authenti" in broken(store, R1)


@pytest.mark.parametrize("key", ["items", "keys", "scopes"])
def test_a_record_in_the_place_of_another_breaks_both(
    stand: Stand, store: RedisStore, one: Held, two: Held, key: str
) -> None:
    raw: Raw = stand.raw
    name, mine, other = stand.key("p1", key), fields_of(one)[key], fields_of(two)[key]
    record = raw.hget(name, mine)
    raw.hset(name, mine, raw.hget(name, other))
    raw.hset(name, other, record)
    assert "authenti" in broken(store, R1)
    assert "authenti" in broken(store, V2)


def test_a_record_in_a_hash_of_another_kind_breaks_the_item(
    stand: Stand, store: RedisStore, one: Held
) -> None:
    raw: Raw = stand.raw
    fields = fields_of(one)
    record = raw.hget(stand.key("p1", "keys"), fields["keys"])
    raw.hset(stand.key("p1", "scopes"), fields["scopes"], record)
    assert "authenti" in broken(store, R1)


def test_records_copied_to_another_project_are_not_of_that_project(
    stand: Stand, store: RedisStore, one: Held, draft: Drafts
) -> None:
    raw: Raw = stand.raw
    for key, field in fields_of(one).items():
        raw.hset(stand.key("p2", key), field, raw.hget(stand.key("p1", key), field))
    dek = raw.hget(stand.secret("p1", "deks"), one.assignment.scope_id)
    raw.hset(stand.secret("p2", "deks"), one.assignment.scope_id, dek)
    assert "authenti" in broken(store, R1._replace(project="p2"))
    assert known(store, R1) == one


LOSSES: dict[str, Callable[[Stand], str]] = {
    "key": lambda stand: stand.key("p1", "keys"),
    "scope": lambda stand: stand.key("p1", "scopes"),
    "wrapped DEK": lambda stand: stand.secret("p1", "deks"),
}


@pytest.mark.parametrize(("what", "where"), LOSSES.items(), ids=LOSSES)
def test_an_item_without_its_key_its_scope_or_its_dek_is_broken(
    stand: Stand, store: RedisStore, one: Held, what: str, where: Callable[[Stand], str]
) -> None:
    field = one.assignment.key_id if what == "key" else one.assignment.scope_id
    assert stand.raw.hdel(where(stand), str(field)) == 1
    assert broken(store, R1) == f"the {what} of replica:r1 is missing from the store"


def test_records_that_contradict_each_other_break_the_item(
    stand: Stand, store: RedisStore, one: Held, two: Held
) -> None:
    # Sealed, so not by an outsider: a fault of ours, or an older record put back.
    fields = fields_of(one)
    stand.rewrite("p1", "keys", fields["keys"], scope_id=two.assignment.scope_id)
    assert "contradict" in broken(store, R1)
    stand.rewrite("p1", "keys", fields["keys"], scope_id=fields["scopes"])
    assert known(store, R1) == one
    stand.rewrite("p1", "scopes", fields["scopes"], key_bits=256)
    assert "contradict" in broken(store, R1)
    stand.rewrite("p1", "scopes", fields["scopes"], key_bits=512, cipher="another")
    assert "contradict" in broken(store, R1)


def test_another_items_data_under_the_seal_of_its_own_place_breaks_the_item(
    stand: Stand, store: RedisStore, one: Held, two: Held
) -> None:
    # Sealed again: a fault of ours.
    data = stand.record("p1", "items", two.assignment.item.ref)["data"]
    stand.rewrite("p1", "items", R1.ref, data=data)
    assert broken(store, R1) == "replica:r1 holds another item's record"


def test_an_item_whose_key_is_not_active_is_held_and_says_so(
    stand: Stand, store: RedisStore, one: Held
) -> None:
    for state in ("suspended", "compromised", "destroyed"):
        stand.rewrite("p1", "keys", fields_of(one)["keys"], state=state)
        key = known(store, R1).key
        assert key is not None
        assert key.state == state


@pytest.mark.parametrize("key", ["items", "keys", "scopes"])
def test_a_record_under_a_kek_that_the_stores_keyring_has_says_nothing_against_its_item(
    stand: Stand, store: RedisStore, one: Held, other_custody: KeyringCustody, key: str
) -> None:
    stand.rewrite("p1", key, fields_of(one)[key], custody=other_custody)
    stand.register(other_custody)
    with pytest.raises(UnknownKek, match=other_custody.kek_id):
        store.look_up([R1]).result()
    if key == "items":
        with pytest.raises(UnknownKek, match=other_custody.kek_id):
            store.commit([Drafts(stand.custody.kek_id).none(R1)]).result()


@pytest.mark.parametrize("key", ["items", "keys", "scopes"])
def test_a_record_under_a_kek_that_nobody_has_is_forged_and_stops_nobody(
    stand: Stand, store: RedisStore, one: Held, other_custody: KeyringCustody, key: str
) -> None:
    field = fields_of(one)[key]
    stand.rewrite("p1", key, field, custody=other_custody)
    said = f"under KEK {other_custody.kek_id}, not in the keyring, nor in the store's: it is forged"
    assert broken(store, R1) == f"{field!r} in {key} is {said}"
    if key == "items":
        (result,) = store.commit([Drafts(stand.custody.kek_id).none(R1)]).result()
        assert result.status is WriteStatus.STALE


def test_a_newer_keyring_reads_what_is_under_older_keks(
    stand: Stand, one: Held, newer_custody: KeyringCustody
) -> None:
    newer = stand.store(custody=newer_custody)
    assert known(newer, R1) == one
    clone = put(newer, Drafts(newer_custody.kek_id).clone(V2, one))
    assert clone.scope == one.scope
    assert newer_custody.kek_id.encode() in stand.value(stand.key("p1", "items"))[b"volume:v2"]


def test_an_item_with_a_broken_record_is_not_written_over(
    stand: Stand, store: RedisStore, one: Held, draft: Drafts
) -> None:
    raw: Raw = stand.raw
    raw.hset(stand.key("p1", "items"), R1.ref, b"{}")
    before = stand.contents()
    # Stale: it is looked up again, and the decision says that it is broken.
    assert only(store.commit([draft.create(R1)]).result()) == Committed(WriteStatus.STALE)
    assert stand.contents() == before


def test_a_forged_source_does_not_lend_its_key(
    stand: Stand, store: RedisStore, one: Held, two: Held, draft: Drafts
) -> None:
    """The item names another scope's key, whose records are in order."""
    raw: Raw = stand.raw
    record = raw.hget(stand.key("p1", "items"), R1.ref)
    for mine, other in zip(fields_of(one).values(), fields_of(two).values(), strict=True):
        record = record.replace(mine.encode(), other.encode())
    raw.hset(stand.key("p1", "items"), R1.ref, record)
    assert "authenti" in broken(store, R1)
    before = stand.contents()
    assert (
        only(store.commit([draft.reuse(snapshot("s1"), one)]).result()).status is WriteStatus.STALE
    )
    assert stand.contents() == before


@pytest.fixture
def put_back(stand: Stand, store: RedisStore, draft: Drafts) -> Held:
    """An item and its key-id put back after their scope was deleted and minted anew.

    What is known of them is what a reader would that compares no DEK-ids: the old key-id with
    the new scope.
    """
    store.admit()
    old = put(store, draft.create(V1))
    raw: Raw = stand.raw
    kept = {key: raw.hget(stand.key("p1", key), fields_of(old)[key]) for key in ("items", "keys")}
    for key, field in fields_of(old).items():
        raw.hdel(stand.key("p1", key), field)
    raw.hdel(stand.secret("p1", "deks"), fields_of(old)["scopes"])
    new = put(store, draft.create(V1))
    for key, record in kept.items():
        raw.hset(stand.key("p1", key), fields_of(old)[key], record)
    return replace(old, scope=new.scope)


def test_a_key_id_put_back_over_a_scope_that_was_minted_anew_breaks_its_item(
    store: RedisStore, put_back: Held
) -> None:
    assert "is of another DEK than scope" in broken(store, V1)


def test_a_key_id_put_back_over_a_scope_that_was_minted_anew_lends_no_key(
    store: RedisStore, draft: Drafts, put_back: Held
) -> None:
    for write in (draft.reuse(snapshot("s1"), put_back), draft.clone(V2, put_back)):
        assert only(store.commit([write]).result()).status is WriteStatus.STALE


def test_a_key_id_put_back_over_a_scope_that_was_minted_anew_exports_no_dek(
    stand: Stand, put_back: Held
) -> None:
    views = Views(stand.client("key-operator"), Names(stand.prefix))
    with pytest.raises(PermanentError, match="is of another DEK than scope"):
        read_wrapped(views, stand.custody, "p1", fields_of(put_back)["keys"])


def test_a_key_id_put_back_over_a_scope_that_was_minted_anew_is_found(
    stand: Stand, put_back: Held
) -> None:
    key_id = fields_of(put_back)["keys"]
    assert ("contradiction", "p1", "keys", key_id) in brief(found_in(stand))
