"""What a store remembers of what it has written or verified, and who finds it untrue."""

from collections.abc import Callable

import pytest

from kmworker.domain.model import Held
from kmworker.domain.plan import Committed, WriteStatus
from tests.kit.store.builders import draft, held, partition, replica, snapshot, volume
from tests.kit.store.stand import Stand, only

V1, S1 = volume("v1"), snapshot("s1")
STALE = Committed(WriteStatus.STALE)

of_each_record = pytest.mark.parametrize("key", ["items", "keys", "scopes"])


def fields_of(source: Held) -> dict[str, str]:
    """Return where an item's three records are: hash to field."""
    a = source.assignment
    return {"items": a.item.ref, "keys": str(a.key_id), "scopes": str(a.scope_id)}


def test_what_is_recalled_is_what_a_look_up_says(stand: Stand) -> None:
    one, none = draft.create(partition("4711")), draft.none(V1)
    two = draft.reuse(replica("4711@a"), held(one))
    three = draft.clone(volume("v2"), held(two, held(one)))
    stand.commit(one, two, three, none)
    items = [write.assignment.item for write in (one, two, three, none)]
    written = stand.first.recall(items)
    assert written == stand.look_up(*items)
    assert stand.first.recall(items) == written


@pytest.mark.parametrize("number", [1, 2])
def test_after_a_second_write_for_an_item_that_was_not_made_it_is_looked_up(
    stand: Stand, number: int
) -> None:
    writes = [draft.create(V1), draft.create(V1)]
    for batch in [writes] if number == 1 else [[it] for it in writes]:
        stand.commit(*batch)
    assert stand.first.recall([V1]) == {}
    assert stand.look_up(V1) == {V1: held(writes[0])}


def test_what_is_on_its_way_can_be_rested_on(stand: Stand) -> None:
    source = draft.create(V1)
    first = stand.first.commit([source])
    assert stand.first.recall([V1]) == {V1: held(source)}
    second = stand.first.commit([draft.reuse(S1, held(source))])
    for pending in (first, second):
        assert only(pending.result()).status is WriteStatus.WRITTEN


def test_what_rests_on_what_another_has_written_first_is_stale(stand: Stand) -> None:
    stand.store(stand.client()).commit([draft.create(V1)]).result()
    source = draft.create(V1)
    first = stand.first.commit([source])
    second = stand.first.commit([draft.reuse(S1, held(source))])
    assert only(first.result()).status is WriteStatus.EXISTS
    assert second.result() == [STALE]
    assert stand.first.recall([V1]) == {}


def test_what_is_not_written_is_not_recalled(stand: Stand) -> None:
    stand.store().commit([draft.create(V1)]).result()
    stand.commit(draft.create(V1), draft.clone(volume("v2"), held(draft.create(volume("v3")))))
    stand.look_up(volume("v4"))
    assert stand.first.recall([V1, *(volume(f"v{n}") for n in (2, 3, 4))]) == {}


@of_each_record
@pytest.mark.parametrize(
    "edit",
    [
        lambda record: record.replace(b"{", b"{ ", 1),
        lambda record: record[:-2] + bytes([record[-2] ^ 1]) + record[-1:],
        lambda _record: None,
    ],
    ids=["a byte more", "another seal", "gone"],
)
def test_a_record_that_is_edited_behind_its_back_is_noticed(
    stand: Stand, key: str, edit: Callable[[bytes], bytes | None]
) -> None:
    source = draft.create(V1)
    stand.commit(source)
    name, field = stand.key("p1", key), fields_of(held(source))[key]
    edited = edit(stand.raw.hget(name, field))
    if edited is None:
        stand.raw.hdel(name, field)
    else:
        stand.raw.hset(name, field, edited)
    with stand.untouched():
        assert stand.commit(draft.clone(volume("v2"), held(source))) == [STALE]
    assert stand.first.recall([V1]) == {}


@of_each_record
def test_a_record_that_is_replaced_by_an_authentic_one_is_noticed(stand: Stand, key: str) -> None:
    one, two = draft.create(V1), draft.create(volume("v2"))
    stand.commit(one, two)
    name = stand.key("p1", key)
    other = stand.raw.hget(name, fields_of(held(two))[key])
    stand.raw.hset(name, fields_of(held(one))[key], other)
    with stand.untouched():
        assert stand.commit(draft.reuse(S1, held(one))) == [STALE]


def test_a_lost_dek_is_noticed(stand: Stand) -> None:
    source = draft.create(V1)
    stand.commit(source)
    stand.raw.delete(stand.secret("p1", "deks"))
    with stand.untouched():
        assert stand.commit(draft.reuse(S1, held(source))) == [STALE]


def test_another_store_is_no_worse_than_an_edited_one(stand: Stand) -> None:
    source = draft.create(V1)
    stand.commit(source)
    stand.clear()
    assert stand.commit(draft.reuse(S1, held(source))) == [STALE]


def test_each_admission_forgets_everything(stand: Stand) -> None:
    stand.first.admit()
    stand.commit(draft.create(V1))
    stand.first.admit()
    assert stand.first.recall([V1]) == {}
    source = stand.known(V1)
    assert only(stand.commit(draft.reuse(S1, source))).status is WriteStatus.WRITTEN
