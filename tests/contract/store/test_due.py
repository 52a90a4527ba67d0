"""The index of projects that have something due never lacks what is acknowledged."""

from kmworker.domain.waiting import Due
from kmworker.store.redis_store import RedisStore
from tests.kit.store.builders import AT_S, snapshot
from tests.kit.store.stand import DEADLINE_S, Stand

S1 = snapshot("s1")


def due(store: RedisStore, limit: int = 9) -> list[str]:
    return [found.project for found in store.due(limit)]


def look_at(store: RedisStore, after_s: float | None = None) -> None:
    store.look_again([(found, after_s) for found in store.due(9)])


def test_a_project_is_due_when_the_first_of_its_events_is(stand: Stand) -> None:
    stand.park("e1")
    stand.clock.sleep(60)
    stand.park("e2")
    assert due(stand.first) == []
    stand.clock.sleep(DEADLINE_S - 60)
    assert due(stand.first) == ["p1"]


def test_the_longest_due_come_first_and_no_more_than_asked_for(stand: Stand) -> None:
    for project in ("c", "a", "b"):
        stand.park("e", source=snapshot("s1", project))
        stand.clock.sleep(1)
    stand.clock.sleep(DEADLINE_S)
    assert due(stand.first, 2) == ["c", "a"]


def test_a_project_where_something_has_come_is_due_at_once(stand: Stand) -> None:
    stand.park("e1")
    stand.first.mark_due(["p1", "p2"])
    assert sorted(due(stand.first)) == ["p1", "p2"]


def test_a_project_that_was_looked_at_is_due_again_at_its_next_deadline(stand: Stand) -> None:
    stand.park("e1")
    stand.first.mark_due(["p1"])
    look_at(stand.first)
    assert due(stand.first) == []
    assert stand.value(stand.top("due")) == {b"p1": AT_S + DEADLINE_S}


def test_a_project_where_nothing_waits_leaves_the_index(stand: Stand) -> None:
    stand.park("e1")
    stand.first.remove([taken.entry for taken in stand.take()])
    stand.first.mark_due(["p1"])
    look_at(stand.first)
    assert stand.value(stand.top("due")) is None


def test_what_was_found_is_looked_at_again_after_a_while(stand: Stand) -> None:
    stand.park("e1")
    stand.first.mark_due(["p1"])
    look_at(stand.first, 10.0)
    assert due(stand.first) == []
    stand.clock.sleep(10)
    assert due(stand.first) == ["p1"]
    # Also what is past its deadline: it is being handled.
    stand.clock.sleep(DEADLINE_S)
    look_at(stand.first, 10.0)
    assert due(stand.first) == []


def test_what_comes_during_a_look_is_not_put_off_by_it(stand: Stand) -> None:
    for is_parked in (False, True):
        stand.first.mark_due(["p1"])
        found = stand.first.due(9)
        if is_parked:
            stand.park("e1")
        else:
            stand.first.mark_due(["p1"])
        stand.first.look_again([(one, None) for one in found])
        assert due(stand.first) == ["p1"]
        look_at(stand.first)


def test_an_event_that_is_parked_after_its_room_was_seen_empty_is_in_the_index(
    stand: Stand,
) -> None:
    stand.first.mark_due(["p1"])
    look_at(stand.first)
    stand.park("e1")
    assert stand.value(stand.top("due")).keys() == {b"p1"}


def test_a_name_that_no_project_has_does_not_stay(stand: Stand) -> None:
    stand.raw.zadd(stand.top("due"), {b"\xff": 1, "no project": 1})
    assert due(stand.first) == ["no project"]
    look_at(stand.first)
    assert stand.value(stand.top("due")) is None


def test_an_index_of_the_wrong_type_keeps_nobody_from_parking(stand: Stand) -> None:
    stand.raw.set(stand.top("due"), "text")
    stand.park("e1")
    assert len(stand.take()) == 1


def test_a_project_that_moved_meanwhile_is_left_where_it_is(stand: Stand) -> None:
    stand.first.mark_due(["p1"])
    before = stand.value(stand.top("due"))
    stand.first.look_again([(Due("p1", 1.0), None)])
    assert stand.value(stand.top("due")) == before
