"""A decision stands only if what it rested on is still there when it is written."""

from collections.abc import Callable
from typing import Any

import pytest

from kmworker.domain.model import Encryption, Held, Item
from kmworker.domain.plan import AssignWrite, Committed, WriteStatus
from tests.kit.store.builders import (
    NEWER_CUSTODY,
    Drafts,
    draft,
    held,
    partition,
    replica,
    snapshot,
    volume,
)
from tests.kit.store.stand import Stand, only

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
    other, item = draft.create(volume("other")), source.assignment.item
    write = draft.clone(item, source) if source.key else draft.reuse(item, held(other))
    stand.store().commit([other, write]).result()


def decrypt(stand: Stand, source: Held) -> None:
    lose_item(stand, source)
    stand.store().commit([draft.none(source.assignment.item)]).result()


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
Derive = Callable[[Item, Held], AssignWrite]
DERIVED = (draft.create, draft.clone, draft.reuse, draft.none)
derived = pytest.mark.parametrize("derive", DERIVED, ids=lambda it: it.__name__)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@derived
def test_a_write_is_stale_and_writes_nothing_once_its_source_has_changed(
    stand: Stand, change: Change, derive: Derive
) -> None:
    source = stand.put(draft.create(volume("v1")))
    write = derive(volume("v2"), source)
    change(stand, source)
    with stand.untouched():
        assert stand.commit(write) == [STALE]


@pytest.mark.parametrize("change", [lose_item, assign_anew], ids=["absent", "assigned-anew"])
def test_a_write_from_an_unencrypted_source_is_stale_once_that_has_changed(
    stand: Stand, change: Change
) -> None:
    source = stand.put(draft.none(volume("v1")))
    write = draft.none(snapshot("s1"), source)
    change(stand, source)
    with stand.untouched():
        assert stand.commit(write) == [STALE]


def rewrap(stand: Stand, source: Held) -> None:
    """Wrap the source's DEK under a newer KEK, and seal all its records under it."""
    kek_id, key_id, scope_id = NEWER_CUSTODY.kek_id, key_of(source), scope_of(source)
    stand.rewrite("p1", "items", source.assignment.item.ref, custody=NEWER_CUSTODY)
    stand.rewrite("p1", "keys", key_id, custody=NEWER_CUSTODY, version=2)
    stand.rewrite("p1", "scopes", scope_id, custody=NEWER_CUSTODY, kek_id=kek_id)
    stand.raw.hset(stand.secret("p1", "deks"), scope_id, b"wrapped anew")


@pytest.mark.parametrize("disposition", ["create", "clone", "reuse", "none"])
def test_after_a_rewrap_a_source_is_looked_up_once(stand: Stand, disposition: str) -> None:
    newer = stand.store(custody=NEWER_CUSTODY)
    derive: Derive = getattr(Drafts(NEWER_CUSTODY.kek_id), disposition)
    stand.put(draft.create(volume("v1"), encryption=Encryption('o"d\\d é', 512)))
    before = newer.look_up([volume("v1")]).result()[volume("v1")]
    assert isinstance(before, Held)
    rewrap(stand, before)
    assert newer.commit([derive(volume("v2"), before)]).result() == [STALE]
    assert newer.recall([volume("v1")]) == {}
    after = newer.look_up([volume("v1")]).result()[volume("v1")]
    assert isinstance(after, Held)
    assert only(newer.commit([derive(volume("v2"), after)]).result()).status is WriteStatus.WRITTEN


def test_a_source_may_be_written_just_before_what_is_derived_from_it(stand: Stand) -> None:
    one = draft.create(partition("4711"))
    two = draft.reuse(replica("4711@a"), held(one))
    three = draft.clone(volume("v1"), held(two, held(one)))
    assert [c.status for c in stand.commit(one, two, three)] == [WriteStatus.WRITTEN] * 3
    assert stand.known(replica("4711@a")) == held(two, held(one))
    assert stand.known(volume("v1")) == held(three, held(one))


def test_what_comes_before_its_source_in_a_batch_is_stale(stand: Stand) -> None:
    one = draft.create(volume("v1"))
    two = draft.clone(volume("v2"), held(one))
    stale, written = stand.commit(two, one)
    assert (stale, written.status) == (STALE, WriteStatus.WRITTEN)
    stand.look_up(volume("v1"))
    assert only(stand.commit(two)).status is WriteStatus.WRITTEN


def test_what_rests_on_a_candidate_that_lost_is_stale(stand: Stand) -> None:
    winner = stand.put(draft.create(volume("v1")))
    loser = draft.create(volume("v1"))
    with stand.untouched():
        exists, *stale = stand.commit(
            loser, draft.clone(volume("v2"), held(loser)), draft.reuse(snapshot("s1"), held(loser))
        )
        assert (exists.status, exists.assignment) == (WriteStatus.EXISTS, winner.assignment)
        assert stale == [STALE, STALE]


def test_a_stale_write_keeps_no_other_from_being_written(stand: Stand) -> None:
    absent = held(draft.create(volume("v0")))
    answers = stand.commit(
        draft.create(volume("v1")), draft.reuse(snapshot("s1"), absent), draft.none(volume("v2"))
    )
    assert [answer.status.name for answer in answers] == ["WRITTEN", "STALE", "WRITTEN"]


def test_an_item_that_is_assigned_already_is_never_stale(stand: Stand) -> None:
    source = stand.put(draft.create(volume("v1")))
    write = draft.clone(volume("v2"), source)
    stand.put(write)
    lose_item(stand, source)
    assert only(stand.commit(write)).status is WriteStatus.EXISTS


@pytest.mark.parametrize(
    "also_lost",
    [lambda *_: None, lose_dek, lose_scope],
    ids=["item-lost", "item-and-dek-lost", "item-and-scope-record-lost"],
)
def test_a_scope_without_its_root_is_never_minted_over(stand: Stand, also_lost: Change) -> None:
    lost = stand.put(draft.create(volume("v1")))
    lose_item(stand, lost)
    also_lost(stand, lost)
    with stand.untouched():
        again = draft.create(volume("v1"))
        assert stand.commit(again, draft.reuse(snapshot("s1"), held(again))) == [ORPHAN, STALE]
