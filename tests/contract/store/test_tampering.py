"""Whoever can write to the store, but lacks the KEK, cannot pass off one record as another."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from kmworker.domain.model import Broken, Held, Item
from kmworker.domain.plan import Committed, WriteStatus
from kmworker.errors import PermanentError, UnknownKek
from kmworker.store.export import read_wrapped
from kmworker.store.redis_store import RedisStore
from tests.kit.store.builders import (
    NEWER_CUSTODY,
    OTHER_CUSTODY,
    draft,
    held,
    replica,
    snapshot,
    volume,
)
from tests.kit.store.filling import brief, found_in
from tests.kit.store.stand import Stand, only

V1, V2, R1 = volume("v1"), volume("v2"), replica("r1")

Raw = Any
of_each_kind = pytest.mark.parametrize("key", ["items", "keys", "scopes"])


@pytest.fixture
def one(stand: Stand) -> Held:
    """A replica with every field of its records filled."""
    stand.first.admit()
    source = stand.put(draft.create(V1))
    return stand.put(draft.create(R1, source, node="obj-07"))


@pytest.fixture
def two(stand: Stand) -> Held:
    return stand.put(draft.create(V2))


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


def record_of(stand: Stand, held: Held, key: str) -> tuple[str, str, bytes]:
    """Return where one of an item's three records is, and the record."""
    name, field = stand.key("p1", key), fields_of(held)[key]
    return name, field, stand.value(name)[field.encode()]


@of_each_kind
def test_an_edit_of_any_field_breaks_the_item(stand: Stand, one: Held, key: str) -> None:
    name, field, record = record_of(stand, one, key)
    paths = [path for path in leaves(json.loads(record)) if path != ("seal",)]
    assert len(paths) >= 5
    for path in paths:
        stand.raw.hset(name, field, edited(record, path))
        assert "authenti" in broken(stand.first, R1) or "missing" in broken(stand.first, R1), path
    stand.raw.hset(name, field, record)
    assert stand.known(R1) == one


def replaced(record: bytes) -> Iterator[bytes]:
    # Edits that change no meaning.
    yield from (record.replace(b":", b": ", 1), record + b" ", b" " + record, record * 2)
    # Seals that are cut or changed.
    last = b"0" if record[-3:-2] != b"0" else b"1"
    yield from (record[:-3] + last + b'"}', record.replace(b"v2.", b"v1."))
    yield from (record[: record.rindex(b',"seal"')] + b"}", record[:-35].upper() + record[-35:])
    # Garbage.
    yield from (b"", b"{}", b"\xff\x00", b'{"seal":""}', b"null", b"[" * 999)


@of_each_kind
def test_whatever_else_is_in_a_records_place_breaks_the_item(
    stand: Stand, one: Held, key: str
) -> None:
    name, field, record = record_of(stand, one, key)
    for other in replaced(record):
        stand.raw.hset(name, field, other)
        assert "authenti" in broken(stand.first, R1), other


@of_each_kind
def test_a_record_in_the_place_of_another_breaks_both(
    stand: Stand, one: Held, two: Held, key: str
) -> None:
    (name, mine, record), (_, other, others) = (record_of(stand, it, key) for it in (one, two))
    stand.raw.hset(name, mine, others)
    stand.raw.hset(name, other, record)
    assert "authenti" in broken(stand.first, R1)
    assert "authenti" in broken(stand.first, V2)


def test_a_record_in_a_hash_of_another_kind_breaks_the_item(stand: Stand, one: Held) -> None:
    fields = fields_of(one)
    record = stand.raw.hget(stand.key("p1", "keys"), fields["keys"])
    stand.raw.hset(stand.key("p1", "scopes"), fields["scopes"], record)
    assert "authenti" in broken(stand.first, R1)


def test_records_copied_to_another_project_are_not_of_that_project(stand: Stand, one: Held) -> None:
    for key, field in fields_of(one).items():
        stand.raw.hset(stand.key("p2", key), field, stand.raw.hget(stand.key("p1", key), field))
    dek = stand.raw.hget(stand.secret("p1", "deks"), one.assignment.scope_id)
    stand.raw.hset(stand.secret("p2", "deks"), one.assignment.scope_id, dek)
    assert "authenti" in broken(stand.first, R1._replace(project="p2"))
    assert stand.known(R1) == one


LOSSES: dict[str, Callable[[Stand], str]] = {
    "key": lambda stand: stand.key("p1", "keys"),
    "scope": lambda stand: stand.key("p1", "scopes"),
    "wrapped DEK": lambda stand: stand.secret("p1", "deks"),
}


@pytest.mark.parametrize(("what", "where"), LOSSES.items(), ids=LOSSES)
def test_an_item_without_its_key_its_scope_or_its_dek_is_broken(
    stand: Stand, one: Held, what: str, where: Callable[[Stand], str]
) -> None:
    field = one.assignment.key_id if what == "key" else one.assignment.scope_id
    assert stand.raw.hdel(where(stand), str(field)) == 1
    assert broken(stand.first, R1) == f"the {what} of replica:r1 is missing from the store"


def test_records_that_contradict_each_other_break_the_item(
    stand: Stand, one: Held, two: Held
) -> None:
    # Sealed, so not by an outsider: a fault of ours, or an older record put back.
    fields = fields_of(one)
    stand.rewrite("p1", "keys", fields["keys"], scope_id=two.assignment.scope_id)
    assert "contradict" in broken(stand.first, R1)
    stand.rewrite("p1", "keys", fields["keys"], scope_id=fields["scopes"])
    assert stand.known(R1) == one
    stand.rewrite("p1", "scopes", fields["scopes"], key_bits=256)
    assert "contradict" in broken(stand.first, R1)
    stand.rewrite("p1", "scopes", fields["scopes"], key_bits=512, cipher="another")
    assert "contradict" in broken(stand.first, R1)


def test_another_items_data_under_the_seal_of_its_own_place_breaks_the_item(
    stand: Stand, one: Held, two: Held
) -> None:
    # Sealed again: a fault of ours.
    data = stand.record("p1", "items", two.assignment.item.ref)["data"]
    stand.rewrite("p1", "items", R1.ref, data=data)
    assert broken(stand.first, R1) == "replica:r1 holds another item's record"


def test_an_item_whose_key_is_not_active_is_held_and_says_so(stand: Stand, one: Held) -> None:
    for state in ("suspended", "compromised", "destroyed"):
        stand.rewrite("p1", "keys", fields_of(one)["keys"], state=state)
        assert stand.known(R1).key_state == state


@of_each_kind
def test_a_record_under_a_kek_that_the_stores_keyring_has_says_nothing_against_its_item(
    stand: Stand, one: Held, key: str
) -> None:
    stand.rewrite("p1", key, fields_of(one)[key], custody=OTHER_CUSTODY)
    stand.register(OTHER_CUSTODY)
    with pytest.raises(UnknownKek, match=OTHER_CUSTODY.kek_id):
        stand.look_up(R1)
    if key == "items":
        with pytest.raises(UnknownKek, match=OTHER_CUSTODY.kek_id):
            stand.commit(draft.none(R1))


@of_each_kind
def test_a_record_under_a_kek_that_nobody_has_is_forged_and_stops_nobody(
    stand: Stand, one: Held, key: str
) -> None:
    field = fields_of(one)[key]
    stand.rewrite("p1", key, field, custody=OTHER_CUSTODY)
    said = broken(stand.first, R1)
    assert f"{field!r} in {key} is under KEK {OTHER_CUSTODY.kek_id}, not in the keyring" in said
    assert "by the store nothing is under it: it is forged" in said
    if key == "items":
        (result,) = stand.commit(draft.none(R1))
        assert result.status is WriteStatus.STALE


def test_a_newer_keyring_reads_what_is_under_older_keks(stand: Stand, one: Held) -> None:
    newer = stand.store(custody=NEWER_CUSTODY)
    assert newer.look_up([R1]).result() == {R1: one}
    write = draft.clone(V2, one)
    newer.commit([write]).result()
    assert newer.look_up([V2]).result() == {V2: held(write, one)}
    assert NEWER_CUSTODY.kek_id.encode() in stand.value(stand.key("p1", "items"))[b"volume:v2"]


def test_an_item_with_a_broken_record_is_not_written_over(stand: Stand, one: Held) -> None:
    stand.raw.hset(stand.key("p1", "items"), R1.ref, b"{}")
    with stand.untouched():
        # Stale: it is looked up again, and the decision says that it is broken.
        assert only(stand.commit(draft.create(R1))) == Committed(WriteStatus.STALE)


def test_a_forged_source_does_not_lend_its_key(stand: Stand, one: Held, two: Held) -> None:
    """The item names another scope's key, whose records are in order."""
    record = stand.raw.hget(stand.key("p1", "items"), R1.ref)
    for mine, other in zip(fields_of(one).values(), fields_of(two).values(), strict=True):
        record = record.replace(mine.encode(), other.encode())
    stand.raw.hset(stand.key("p1", "items"), R1.ref, record)
    assert "authenti" in broken(stand.first, R1)
    with stand.untouched():
        assert only(stand.commit(draft.reuse(snapshot("s1"), one))).status is WriteStatus.STALE


def test_a_key_id_put_back_over_a_scope_that_was_minted_anew_exports_no_dek(stand: Stand) -> None:
    stand.first.admit()
    old = stand.put(draft.create(V1))
    kept = {
        key: stand.raw.hget(stand.key("p1", key), fields_of(old)[key]) for key in ("items", "keys")
    }
    for key, field in fields_of(old).items():
        stand.raw.hdel(stand.key("p1", key), field)
    stand.raw.hdel(stand.secret("p1", "deks"), fields_of(old)["scopes"])
    new = stand.put(draft.create(V1))
    for key, record in kept.items():
        stand.raw.hset(stand.key("p1", key), fields_of(old)[key], record)
    assert "is of another DEK than scope" in broken(stand.first, V1)
    # As a reader would know them that compares no DEK-ids.
    known = replace(old, scope=new.scope)
    for write in (draft.reuse(snapshot("s1"), known), draft.clone(V2, known)):
        assert only(stand.commit(write)).status is WriteStatus.STALE
    key_id = fields_of(old)["keys"]
    with pytest.raises(PermanentError, match="is of another DEK than scope"):
        read_wrapped(stand.views("key-operator"), stand.custody, "p1", key_id)
    assert ("contradiction", "p1", "keys", key_id) in brief(found_in(stand))
