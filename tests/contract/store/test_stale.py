"""A decision stands only if what it rested on is still there when it is written."""

from collections.abc import Callable
from typing import Any

import pytest

from kmworker.crypto import KeyringCustody
from kmworker.domain.model import Encryption, Held
from kmworker.domain.plan import AssignWrite, Committed, WriteStatus
from kmworker.store.redis_store import RedisStore
from tests.kit.store.builders import Drafts, held, partition, replica, snapshot, volume
from tests.kit.store.stand import Stand, known, only, put

STALE = Committed(WriteStatus.STALE)
ORPHAN = Committed(WriteStatus.ORPHAN)

Change = Callable[[Stand, Held], Any]


def scope_of(source: Held) -> str:
    assert source.scope is not None
    return source.scope.scope_id


def key_of(source: Held) -> str:
    assert source.key is not None
    return source.key.key_id


def change_key(**fields: Any) -> Change:
    return lambda stand, source: stand.rewrite("p1", "keys", key_of(source), **fields)


def change_scope(**fields: Any) -> Change:
    return lambda stand, source: stand.rewrite("p1", "scopes", scope_of(source), **fields)


def lose_item(stand: Stand, source: Held) -> None:
    stand.raw.hdel(stand.key("p1", "items"), source.assignment.item.ref)


def lose_key(stand: Stand, source: Held) -> None:
    stand.raw.hdel(stand.key("p1", "keys"), key_of(source))


def lose_scope(stand: Stand, source: Held) -> None:
    stand.raw.hdel(stand.key("p1", "scopes"), scope_of(source))


def lose_dek(stand: Stand, source: Held) -> None:
    stand.raw.hdel(stand.secret("p1", "deks"), scope_of(source))


def assign_anew(stand: Stand, source: Held) -> None:
    """Let another worker have assigned the source, as an unencrypted or a keyed item."""
    lose_item(stand, source)
    drafts, store = Drafts(stand.custody.kek_id), stand.store()
    other = put(store, drafts.create(volume("other")))
    item = source.assignment.item
    if source.key is None:
        store.commit([drafts.reuse(item, other)]).result()
    else:
        store.commit([drafts.clone(item, source)]).result()


def decrypt(stand: Stand, source: Held) -> None:
    lose_item(stand, source)
    stand.store().commit([Drafts(stand.custody.kek_id).none(source.assignment.item)]).result()


CHANGES = {
    "absent": lose_item,
    "key-suspended": change_key(state="suspended"),
    "key-destroyed": change_key(state="destroyed"),
    "other-dek": change_scope(dek_id="another"),
    "other-cipher": change_scope(cipher="aes-cbc-plain64"),
    "other-key-size": change_scope(key_bits=256),
    "key-missing": lose_key,
    "scope-missing": lose_scope,
    "dek-missing": lose_dek,
    "assigned-anew": assign_anew,
    "unencrypted": decrypt,
}
DRAFTS: dict[str, Callable[[Drafts, Held], AssignWrite]] = {
    "create": lambda draft, source: draft.create(volume("v2"), source),
    "clone": lambda draft, source: draft.clone(volume("v2"), source),
    "reuse": lambda draft, source: draft.reuse(snapshot("s1"), source),
    "none": lambda draft, source: draft.none(snapshot("s1"), source),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("derive", DRAFTS.values(), ids=DRAFTS)
def test_a_write_is_stale_and_writes_nothing_once_its_source_has_changed(
    stand: Stand,
    store: RedisStore,
    draft: Drafts,
    change: Change,
    derive: Callable[[Drafts, Held], AssignWrite],
) -> None:
    source = put(store, draft.create(volume("v1")))
    write = derive(draft, source)
    change(stand, source)
    before = stand.contents()
    assert store.commit([write]).result() == [STALE]
    assert stand.contents() == before


@pytest.mark.parametrize("change", [lose_item, assign_anew], ids=["absent", "assigned-anew"])
def test_a_write_from_an_unencrypted_source_is_stale_once_that_has_changed(
    stand: Stand, store: RedisStore, draft: Drafts, change: Change
) -> None:
    source = put(store, draft.none(volume("v1")))
    write = draft.none(snapshot("s1"), source)
    change(stand, source)
    before = stand.contents()
    assert store.commit([write]).result() == [STALE]
    assert stand.contents() == before


def rewrap(stand: Stand, source: Held, newer_custody: KeyringCustody) -> None:
    """Wrap the source's DEK under a newer KEK, and seal all its records under it."""
    kek_id, key_id, scope_id = newer_custody.kek_id, key_of(source), scope_of(source)
    stand.rewrite("p1", "items", source.assignment.item.ref, custody=newer_custody)
    stand.rewrite("p1", "keys", key_id, custody=newer_custody, version=2)
    stand.rewrite("p1", "scopes", scope_id, custody=newer_custody, kek_id=kek_id)
    stand.raw.hset(stand.secret("p1", "deks"), scope_id, b"wrapped anew")


@pytest.mark.parametrize("derive", DRAFTS.values(), ids=DRAFTS)
def test_a_rewrap_makes_no_write_stale(
    stand: Stand,
    store: RedisStore,
    draft: Drafts,
    newer_custody: KeyringCustody,
    derive: Callable[[Drafts, Held], AssignWrite],
) -> None:
    source = put(store, draft.create(volume("v1"), encryption=Encryption('o"d\\d é', 512)))
    write = derive(draft, source)
    rewrap(stand, source, newer_custody)
    assert only(store.commit([write]).result()).status is WriteStatus.WRITTEN


def test_a_source_may_be_written_just_before_what_is_derived_from_it(
    store: RedisStore, draft: Drafts
) -> None:
    one = draft.create(partition("4711"))
    two = draft.reuse(replica("4711@a"), held(one))
    three = draft.clone(volume("v1"), held(two, held(one)))
    assert [c.status for c in store.commit([one, two, three]).result()] == [WriteStatus.WRITTEN] * 3
    assert known(store, replica("4711@a")) == held(two, held(one))
    assert known(store, volume("v1")) == held(three, held(one))


def test_what_comes_before_its_source_in_a_batch_is_stale(store: RedisStore, draft: Drafts) -> None:
    one = draft.create(volume("v1"))
    two = draft.clone(volume("v2"), held(one))
    stale, written = store.commit([two, one]).result()
    assert (stale, written.status) == (STALE, WriteStatus.WRITTEN)
    assert only(store.commit([two]).result()).status is WriteStatus.WRITTEN


def test_what_rests_on_a_candidate_that_lost_is_stale(
    stand: Stand, store: RedisStore, draft: Drafts
) -> None:
    winner = put(store, draft.create(volume("v1")))
    loser = draft.create(volume("v1"))
    before = stand.contents()
    exists, *stale = store.commit(
        [loser, draft.clone(volume("v2"), held(loser)), draft.reuse(snapshot("s1"), held(loser))]
    ).result()
    assert (exists.status, exists.assignment) == (WriteStatus.EXISTS, winner.assignment)
    assert stale == [STALE, STALE]
    assert stand.contents() == before


def test_a_stale_write_keeps_no_other_from_being_written(store: RedisStore, draft: Drafts) -> None:
    absent = held(draft.create(volume("v0")))
    answers = store.commit(
        [draft.create(volume("v1")), draft.reuse(snapshot("s1"), absent), draft.none(volume("v2"))]
    ).result()
    assert [a.status for a in answers] == [
        WriteStatus.WRITTEN,
        WriteStatus.STALE,
        WriteStatus.WRITTEN,
    ]


def test_an_item_that_is_assigned_already_is_never_stale(
    stand: Stand, store: RedisStore, draft: Drafts
) -> None:
    source = put(store, draft.create(volume("v1")))
    write = draft.clone(volume("v2"), source)
    put(store, write)
    lose_item(stand, source)
    assert only(store.commit([write]).result()).status is WriteStatus.EXISTS


@pytest.mark.parametrize(
    "also_lost",
    [lambda *_: None, lose_dek, lose_scope],
    ids=["item-lost", "item-and-dek-lost", "item-and-scope-record-lost"],
)
def test_a_scope_without_its_root_is_never_minted_over(
    stand: Stand, store: RedisStore, draft: Drafts, also_lost: Change
) -> None:
    lost = put(store, draft.create(volume("v1")))
    lose_item(stand, lost)
    also_lost(stand, lost)
    before = stand.contents()
    again = draft.create(volume("v1"))
    assert store.commit([again, draft.reuse(snapshot("s1"), held(again))]).result() == [
        ORPHAN,
        STALE,
    ]
    assert stand.contents() == before
