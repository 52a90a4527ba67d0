"""A person lets waiting events expire: their deadline becomes now, and nothing else changes."""

import json
from datetime import datetime

import pytest

from kmworker.domain.plan import Entry
from kmworker.domain.waiting import Taken
from kmworker.errors import PermanentError, StoreUnavailable
from kmworker.store.inspection import Views
from kmworker.store.names import Names
from kmworker.store.views.waiting_room import Expired, WaitingEvent, WaitingRoom
from tests.kit.store.builders import AT_S, draft, snapshot, volume
from tests.kit.store.stand import DEADLINE_S, Stand

S1 = snapshot("s1")
NOW_S = AT_S + 60


@pytest.fixture
def room(stand: Stand) -> WaitingRoom:
    return WaitingRoom(stand.views("operator"))


def waiting(room: WaitingRoom, project: str = "p1") -> list[WaitingEvent]:
    return [event for events in room.events(project) for event in events]


def test_an_expired_event_is_due_for_the_sweep_and_shown_so(
    stand: Stand, room: WaitingRoom
) -> None:
    writes = [draft.park(volume("v1"), S1, name) for name in ("e1", "e2")]
    stand.commit(*writes)
    before = stand.contents()
    stand.clock.sleep(60)
    assert room.expire("p1", ["e1"], NOW_S) == [Expired.NOW]
    # And the sweep looks there.
    assert [due.project for due in stand.first.due(9)] == ["p1"]
    first, second = waiting(room)
    assert (first.entry, first.deadline_s) == ("e1", NOW_S)
    # What dashboards read, and what the sweep goes by, say the same.
    assert datetime.fromisoformat(first.deadline).timestamp() == first.deadline_s
    assert (second.entry, second.deadline_s) == ("e2", AT_S + DEADLINE_S)
    (taken,) = stand.first.sweep("p1", 9, "").due
    assert taken == Taken(Entry(S1, "e1", 1, expired=True), writes[0].original)
    stand.first.remove([taken.entry])
    stand.first.remove([Entry(S1, "e2", 0, expired=False)])
    assert before.keys() - stand.contents().keys() == {
        stand.key("p1", name)
        for name in ("waiting", "waiting:deadlines", "waiting:sources", "waiting:shares")
    } | {stand.secret("p1", "parked")}


def test_nothing_but_the_deadline_changes(stand: Stand, room: WaitingRoom) -> None:
    stand.park("e1", "e2")
    stand.take(S1, 1)
    before = stand.contents()
    room.expire("p1", ["e1"], NOW_S)
    after = stand.contents()
    shown, deadlines = stand.key("p1", "waiting"), stand.key("p1", "waiting:deadlines")
    assert {key for key in before if before[key] != after[key]} == {shown, deadlines}
    old, new = (json.loads(it[shown][b"e1"]) for it in (before, after))
    assert new.pop("deadline") != old.pop("deadline")
    assert new == old
    assert list(new) == ["item", "source", "since", "attempts"]
    assert after[shown][b"e2"] == before[shown][b"e2"]


def test_an_expired_event_whose_source_has_come_is_assigned(
    stand: Stand, room: WaitingRoom
) -> None:
    stand.park("e1")
    room.expire("p1", ["e1"], NOW_S)
    stand.commit(draft.create(S1))
    stand.clock.sleep(61)
    swept = stand.first.sweep("p1", 9, "")
    assert [taken.entry.expired for taken in swept.due] == [False]
    assert swept.present == [S1]


def test_what_has_left_is_not_brought_back(stand: Stand, room: WaitingRoom) -> None:
    stand.park("e1")
    stand.first.remove([Entry(S1, "e1", 0, expired=False)])
    with stand.untouched():
        assert room.expire("p1", ["e1", "never-there"], NOW_S) == [Expired.GONE, Expired.GONE]


@pytest.mark.parametrize("left", ["waiting", "waiting:deadlines"])
def test_half_of_an_entry_is_left_alone(stand: Stand, room: WaitingRoom, left: str) -> None:
    stand.park("e1")
    stand.raw.delete(stand.key("p1", left))
    with stand.untouched():
        assert room.expire("p1", ["e1"], NOW_S) == [Expired.GONE]


def test_a_deadline_that_is_past_stays_as_it_is(stand: Stand, room: WaitingRoom) -> None:
    stand.park("e1")
    with stand.untouched():
        assert room.expire("p1", ["e1"], AT_S + DEADLINE_S) == [Expired.PAST]


def test_a_record_without_a_deadline_expires_all_the_same(stand: Stand, room: WaitingRoom) -> None:
    stand.park("e1")
    stand.raw.hset(stand.key("p1", "waiting"), "e1", "odd")
    assert room.expire("p1", ["e1"], NOW_S) == [Expired.NOW]
    stand.clock.sleep(61)
    assert len(stand.first.sweep("p1", 9, "").due) == 1


def test_more_than_one_portion_expires(stand: Stand, room: WaitingRoom) -> None:
    names = [f"e{number}" for number in range(501)]
    stand.park(*names)
    assert len(waiting(room)) == 501
    assert room.expire("p1", names, NOW_S) == [Expired.NOW] * 501


@pytest.mark.parametrize("key", ["waiting", "waiting:deadlines"])
def test_a_key_of_the_wrong_type_is_seen_before_anything_is_written(
    stand: Stand, room: WaitingRoom, key: str
) -> None:
    stand.park("e1")
    stand.raw.set(stand.key("p1", key), "text")
    with stand.untouched(), pytest.raises(PermanentError, match="wrong type"):
        room.expire("p1", ["e1"], NOW_S)


@pytest.mark.parametrize("backend", ["redis", "valkey"], indirect=True)
@pytest.mark.parametrize("lacks", ["-zadd", "-hset", "-zscore", "-hget"])
def test_without_a_right_nothing_is_written_by_halves(stand: Stand, lacks: str) -> None:
    stand.park("e1")
    with stand.untouched():
        client = stand.client_with(f"~* +@all {lacks}")
        with pytest.raises(StoreUnavailable):
            WaitingRoom(Views(client, Names(stand.prefix))).expire("p1", ["e1"], NOW_S)
