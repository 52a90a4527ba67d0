"""Waiting events are taken with their try already counted, and leave without a trace."""

import pytest

from kmworker.domain.model import Item
from kmworker.domain.plan import Entry
from kmworker.domain.waiting import Taken
from kmworker.errors import UnknownKek
from tests.kit.store.builders import OTHER_CUSTODY, draft, snapshot, volume
from tests.kit.store.stand import Stand, attempts_on_disk, take

S1 = snapshot("s1")


def entry(name: str, attempts: int, source: Item = S1) -> Entry:
    return Entry(source, name, attempts, expired=False)


def names(taken: list[Taken]) -> list[str]:
    return [one.entry.name for one in taken]


def test_an_event_is_taken_as_its_producer_sent_it(stand: Stand) -> None:
    write = draft.park(volume("v1"), S1, "e1")
    stand.commit(write)
    assert stand.take() == [Taken(entry("e1", 1), write.original)]


def test_nothing_is_taken_where_nothing_waits(stand: Stand) -> None:
    assert stand.take() == []
    assert stand.contents() == {}
    stand.park("e1", source=snapshot("s2"))
    assert stand.take() == []


def test_each_try_is_on_disk_before_it_is_made(stand: Stand) -> None:
    stand.park("e1", "e2")
    assert attempts_on_disk(stand) == {"e1": 0, "e2": 0}
    for attempts in (1, 2, 3):
        assert [one.entry for one in stand.take()] == [entry("e1", attempts), entry("e2", attempts)]
        assert attempts_on_disk(stand) == {"e1": attempts, "e2": attempts}


def test_counting_a_try_changes_nothing_else(stand: Stand) -> None:
    stand.park("e1")
    before = stand.contents()
    stand.take()
    waiting = before[stand.key("p1", "waiting")]
    waiting[b"e1"] = waiting[b"e1"].replace(b'"attempts":0', b'"attempts":1')
    assert stand.contents() == before


def test_no_more_are_taken_than_asked_for_and_always_in_the_same_order(stand: Stand) -> None:
    stand.park("c", "a", "d", "b")
    assert names(stand.take(S1, 3)) == ["a", "b", "c"]
    assert attempts_on_disk(stand) == {"a": 1, "b": 1, "c": 1, "d": 0}
    assert names(take(stand.store(), S1, 1)) == ["a"]
    stand.first.remove([entry("a", 2)])
    assert names(stand.take()) == ["b", "c", "d"]


def test_only_the_sources_own_events_are_taken(stand: Stand) -> None:
    near = [volume(name) for name in ("a", "a0", "ab", "a/1", "A", "a-", "a.", "a:b", "a@b")]
    for source in near:
        stand.park(f"for-{source.id}", source=source)
    stand.park("for-snapshot", source=snapshot("a"))
    stand.park("for-p2", source=volume("a", "p2"))
    for source in near:
        assert names(stand.take(source)) == [f"for-{source.id}"]
    assert names(stand.take(volume("a", "p2"))) == ["for-p2"]


def test_several_sources_are_taken_from_in_the_order_asked(stand: Stand) -> None:
    one, other, far = volume("a"), volume("b"), volume("a", "p2")
    for source, events in ((one, "hgfe"), (other, "x"), (far, "ij")):
        stand.park(*events, source=source)
    found = stand.first.take([far, one, volume("nobody"), other], 2)
    assert [names(each) for each in found if isinstance(each, list)] == [
        ["i", "j"], ["e", "f"], [], ["x"],
    ]  # fmt: skip
    assert {it.entry.source for each in found if isinstance(each, list) for it in each} == {
        one, other, far,
    }  # fmt: skip


def test_a_removed_event_leaves_no_trace(stand: Stand) -> None:
    stand.park("e1", "e2")
    one, two = (taken.entry for taken in stand.take())
    stand.first.remove([one, two])
    assert stand.contents() == {
        stand.top("projects"): {b"p1"},
        stand.key("p1", "stats"): {b"waiting": b"0"},
    }


def test_removing_one_event_leaves_the_others(stand: Stand) -> None:
    stand.park("e1")
    before = stand.contents()
    stand.park("e0", "e2")
    stand.park("e3", source=volume("a", "p2"))
    stand.first.remove([entry("e0", 1), entry("e2", 1), entry("e3", 1, volume("a", "p2"))])
    del before[stand.top("projects")]
    assert {n: v for n, v in stand.contents().items() if "{p1}" in n} == before
    assert stand.value(stand.key("p2", "stats")) == {b"waiting": b"0"}


def test_removing_twice_does_no_harm(stand: Stand) -> None:
    stand.park("e1", "e2")
    stand.first.remove([entry("e1", 1)])
    with stand.untouched():
        stand.first.remove([entry("e1", 1), entry("e1", 1), entry("unknown", 1)])
        stand.store().remove([entry("e1", 1)])
    assert stand.value(stand.key("p1", "stats")) == {b"waiting": b"1"}


def test_a_removed_event_may_be_parked_again(stand: Stand) -> None:
    stand.park("e1")
    stand.first.remove([entry("e1", 1)])
    stand.park("e1")
    assert [one.entry for one in stand.take()] == [entry("e1", 1)]


def test_a_released_try_does_not_count(stand: Stand) -> None:
    stand.park("e1", "e2")
    one, two = (taken.entry for taken in stand.take())
    stand.first.release([one])
    assert attempts_on_disk(stand) == {"e1": 0, "e2": 1}
    stand.first.release([one, two])
    assert attempts_on_disk(stand) == {"e1": 0, "e2": 0}


def test_tries_past_nine_are_counted_and_released_as_numbers(stand: Stand) -> None:
    stand.park("e1")
    tries = [stand.take()[0].entry for _ in range(11)]
    assert [tried.attempts for tried in tries] == list(range(1, 12))
    stand.first.release(tries[:2])
    assert attempts_on_disk(stand) == {"e1": 9}


def test_releasing_what_has_left_does_no_harm(stand: Stand) -> None:
    stand.park("e1")
    stand.first.remove([entry("e1", 1)])
    with stand.untouched():
        stand.first.release([entry("e1", 1), entry("unknown", 1, volume("a", "p2"))])


def damaged(stand: Stand, damage: str) -> bytes | None:
    """Damage the parked record e1, and return what is in its place."""
    key = stand.secret("p1", "parked")
    record: bytes = stand.value(key)[b"e1"]
    edited: bytes | None = {
        "body-edited": record.replace(b"77aa", b"77ab"),
        "seal-edited": record[:-3] + b'x"}',
        "cut": record[:-1],
        "empty": b"",
        "no-text": b"\xff\x00",
        "anothers": stand.value(key)[b"e2"],
        "missing": None,
    }[damage]
    if edited is None:
        stand.raw.hdel(key, "e1")
    else:
        stand.raw.hset(key, "e1", edited)
    return edited


DAMAGES = ["body-edited", "seal-edited", "cut", "empty", "no-text", "anothers", "missing"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_event_is_handed_over_with_its_problem_and_whatever_is_left_of_it(
    stand: Stand, damage: str
) -> None:
    stand.park("e1", "e2")
    left = damaged(stand, damage)
    one, two = stand.take()
    assert one.entry == entry("e1", 1)
    assert "e1" in one.problem
    assert one.original.body == (left or b"")
    assert (two.entry, two.problem) == (entry("e2", 1), "")
    stand.first.remove([one.entry, two.entry])
    assert set(stand.contents()) == {stand.top("projects"), stand.key("p1", "stats")}


@pytest.mark.parametrize("text", [None, b"", b"{}", b"\xff", b'{"attempts":"x"}'])
def test_an_event_whose_dashboard_entry_is_damaged_is_taken_all_the_same(
    stand: Stand, text: bytes | None
) -> None:
    write = draft.park(volume("v1"), S1, "e1")
    stand.commit(write)
    stand.raw.hdel(stand.key("p1", "waiting"), "e1")
    if text is not None:
        stand.raw.hset(stand.key("p1", "waiting"), "e1", text)
    assert stand.take() == [Taken(entry("e1", 1), write.original)]
    stand.first.release([entry("e1", 1)])
    stand.first.remove([entry("e1", 1)])
    assert set(stand.contents()) == {stand.top("projects"), stand.key("p1", "stats")}


@pytest.mark.parametrize("member", ["snapshot:s1 ", "snapshot:s1  ", "snapshot:s1 a b"])
def test_an_odd_index_entry_is_a_problem_and_can_be_removed(stand: Stand, member: str) -> None:
    stand.park("e1")
    stand.raw.zadd(stand.key("p1", "waiting:sources"), {member: 0})
    taken = stand.take()
    odd = [one for one in taken if one.problem]
    assert names(taken) != names(odd) == [member.removeprefix("snapshot:s1 ")]
    stand.first.remove([one.entry for one in odd])
    assert stand.value(stand.key("p1", "waiting:sources")) == {b"snapshot:s1 e1": 0}


def test_an_event_under_a_kek_that_another_worker_has_is_no_problem_of_the_event(
    stand: Stand,
) -> None:
    newcomer = stand.store(custody=OTHER_CUSTODY)
    newcomer.admit()
    stand.register(stand.custody)
    stand.park("e1", "e2")
    stand.park("e3", source=volume("a"))
    for _ in range(3):
        with pytest.raises(UnknownKek):
            newcomer.take([S1, volume("a")], 9)
    # Or its attempts would be used up by the time the keyring is.
    assert attempts_on_disk(stand) == {"e1": 0, "e2": 0, "e3": 0}
    assert [one.entry for one in stand.take()] == [entry("e1", 1), entry("e2", 1)]


def test_an_event_under_a_kek_that_nobody_has_is_forged_and_can_be_removed(stand: Stand) -> None:
    stand.first.admit()
    stand.store(custody=OTHER_CUSTODY).commit([draft.park(volume("v1"), S1, "e1")]).result()
    stand.park("e2")
    forged, sound = stand.take()
    assert (forged.entry, sound.entry) == (entry("e1", 1), entry("e2", 1))
    assert "it is forged" in forged.problem
    stand.first.remove([forged.entry])
    assert attempts_on_disk(stand) == {"e2": 1}


def test_what_is_no_name_is_taken_out_of_the_index(stand: Stand) -> None:
    stand.park("e1")
    stand.raw.zadd(
        stand.key("p1", "waiting:sources"), {b"snapshot:s1 \xff": 0, "snapshot:s1 \u00e9": 0}
    )
    assert [one.entry for one in stand.take()] == [entry("e1", 1)]
    assert stand.value(stand.key("p1", "waiting:sources")) == {b"snapshot:s1 e1": 0}
