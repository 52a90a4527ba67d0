"""The sweep finds what the waiting room would otherwise keep, and marks only what is lost."""

import pytest

from kmworker.domain.model import Item
from kmworker.domain.plan import Entry
from kmworker.domain.waiting import Swept, Taken
from kmworker.errors import UnknownKek
from kmworker.store.redis_store import RedisStore
from tests.kit.store.builders import OTHER_CUSTODY, draft, snapshot, volume
from tests.kit.store.stand import DEADLINE_S, Stand, attempts_on_disk

S1, S2 = snapshot("s1"), snapshot("s2")
NOTHING = Swept([], [], "")


def due(swept: Swept) -> list[Entry]:
    return [taken.entry for taken in swept.due]


def lost(name: str, attempts: int = 1, source: Item = S1) -> Entry:
    return Entry(source, name, attempts, expired=True)


def found(name: str, attempts: int = 1, source: Item = S1) -> Entry:
    return Entry(source, name, attempts, expired=False)


def pages(store: RedisStore, limit: int) -> list[Swept]:
    """Sweep a project to its end."""
    swept = [store.sweep("p1", limit, "")]
    while swept[-1].after:
        assert len(swept) < 100
        swept.append(store.sweep("p1", limit, swept[-1].after))
    return swept


def test_an_empty_waiting_room_needs_no_sweeping(stand: Stand) -> None:
    assert stand.first.sweep("p1", 9, "") == NOTHING
    assert stand.contents() == {}


def test_an_event_within_its_deadline_is_left_alone(stand: Stand) -> None:
    stand.park("e1")
    stand.clock.sleep(DEADLINE_S - 0.001)
    with stand.untouched():
        assert stand.first.sweep("p1", 9, "") == NOTHING


def test_an_event_past_its_deadline_is_due_and_marked(stand: Stand) -> None:
    write = draft.park(volume("v1"), S1, "e1")
    stand.commit(write)
    stand.clock.sleep(DEADLINE_S)
    assert stand.first.sweep("p1", 9, "") == Swept([Taken(lost("e1"), write.original)], [], "")
    assert set(stand.value(stand.secret("p1", "expired"))) == {b"e1"}


def test_the_earliest_deadlines_come_first_and_no_more_than_asked_for(stand: Stand) -> None:
    for name in ("c", "a", "b"):
        stand.park(name)
        stand.clock.sleep(1)
    stand.clock.sleep(DEADLINE_S)
    assert due(stand.first.sweep("p1", 2, "")) == [lost("c"), lost("a")]
    stand.first.remove([lost("c"), lost("a")])
    assert due(stand.first.sweep("p1", 2, "")) == [lost("b")]
    stand.first.remove([lost("b")])
    assert set(stand.contents()) == {stand.top("projects"), stand.key("p1", "stats")}


def test_each_sweep_counts_a_try_before_it_hands_an_event_over(stand: Stand) -> None:
    stand.park("e1")
    stand.take()
    stand.clock.sleep(DEADLINE_S)
    assert due(stand.first.sweep("p1", 9, "")) == [lost("e1", 2)]
    assert attempts_on_disk(stand) == {"e1": 2}
    assert due(stand.first.sweep("p1", 9, "")) == [lost("e1", 3)]


def test_a_due_event_whose_source_is_there_is_not_marked(stand: Stand) -> None:
    stand.park("e1")
    stand.park("e2", source=S2)
    stand.commit(draft.create(S1))
    stand.clock.sleep(DEADLINE_S)
    swept = stand.first.sweep("p1", 9, "")
    assert due(swept) == [found("e1"), lost("e2", source=S2)]
    assert swept.present == [S1]
    assert set(stand.value(stand.secret("p1", "expired"))) == {b"e2"}


def test_an_expired_event_stays_expired_when_its_source_comes_after_all(stand: Stand) -> None:
    stand.park("e1")
    stand.clock.sleep(DEADLINE_S)
    stand.first.sweep("p1", 9, "")
    stand.commit(draft.create(S1))
    stand.park("e2")
    assert due(stand.first.sweep("p1", 9, "")) == [lost("e1", 2)]
    assert [taken.entry for taken in stand.take()] == [lost("e1", 3)]


def test_an_expired_event_that_left_and_came_again_is_not_expired(stand: Stand) -> None:
    stand.park("e1")
    stand.clock.sleep(DEADLINE_S)
    stand.first.remove(due(stand.first.sweep("p1", 9, "")))
    stand.park("e1")
    assert [taken.entry for taken in stand.take()] == [found("e1")]


def test_sources_that_came_while_nobody_took_their_events_are_found(stand: Stand) -> None:
    stand.park("e1", "e2")
    stand.park("e3", source=S2)
    stand.commit(draft.none(S1), draft.create(snapshot("s3")))
    with stand.untouched():
        assert stand.first.sweep("p1", 9, "") == Swept([], [S1], "")


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 100])
def test_every_source_is_visited_once_however_small_the_pages(stand: Stand, limit: int) -> None:
    names = ("a", "a-", "a.", "a/1", "a0", "a:b", "a@b", "ab")
    for name in names:
        stand.park(f"{name}-1", f"{name}-2", f"{name}-3", source=volume(name))
    there = [volume(name) for name in names[::2]]
    stand.commit(*(draft.create(item) for item in there))
    swept = pages(stand.first, limit)
    assert sorted(item for page in swept for item in page.present) == sorted(there)
    assert all(len(page.present) <= limit for page in swept)
    assert len(swept) <= len(names) // limit + 1


def test_due_events_come_with_the_first_page_only(stand: Stand) -> None:
    for name in ("a", "b", "c"):
        stand.park(name, source=volume(name))
    stand.clock.sleep(DEADLINE_S)
    first, *others = pages(stand.first, 1)
    assert [entry.name for entry in due(first)] == ["a"]
    assert others
    assert all(page.due == [] for page in others)
    assert attempts_on_disk(stand) == {"a": 1, "b": 0, "c": 0}


def test_a_sweep_sees_one_project_only(stand: Stand) -> None:
    source = snapshot("s1", "p2")
    stand.park("e1", source=source)
    stand.clock.sleep(DEADLINE_S)
    assert stand.first.sweep("p1", 9, "") == NOTHING
    assert due(stand.first.sweep("p2", 9, "")) == [lost("e1", source=source)]


BAD_WAITING = [None, b"", b"{}", b"\xff", b'{"source":"x"}', b'{"source":"snapshot:s9"}']


@pytest.mark.parametrize("there", [True, False], ids=["source-there", "source-absent"])
@pytest.mark.parametrize("text", BAD_WAITING)
def test_an_event_whose_dashboard_entry_is_damaged_expires_like_any_other(
    stand: Stand, text: bytes | None, there: bool
) -> None:
    write = draft.park(volume("v1"), S1, "e1")
    stand.commit(write)
    if there:
        stand.commit(draft.create(S1))
    replace(stand, stand.key("p1", "waiting"), text)
    stand.clock.sleep(DEADLINE_S)
    (taken,) = stand.first.sweep("p1", 9, "").due
    assert taken == Taken(found("e1") if there else lost("e1"), write.original)
    stand.first.remove([taken.entry])
    assert not [name for name in stand.contents() if "waiting" in name or "parked" in name]


FAR_LIFE = b'{"source":"snapshot:s1{' + b"9" * 5000 + b'}"'


@pytest.mark.parametrize("text", [None, b"", b"\xff\x00", b'{"source":"x"}', b"{", FAR_LIFE])
def test_an_event_whose_body_is_damaged_expires_with_its_problem(
    stand: Stand, text: bytes | None
) -> None:
    stand.park("e1")
    replace(stand, stand.secret("p1", "parked"), text)
    stand.clock.sleep(DEADLINE_S)
    (taken,) = stand.first.sweep("p1", 9, "").due
    assert taken.entry == lost("e1")
    assert "e1" in taken.problem
    assert taken.original.body == (text or b"")
    stand.first.remove([taken.entry])
    assert set(stand.contents()) == {stand.top("projects"), stand.key("p1", "stats")}


def test_an_event_of_which_only_the_deadline_is_left_can_be_removed(stand: Stand) -> None:
    stand.park("e1", "e2")
    replace(stand, stand.secret("p1", "parked"), None)
    replace(stand, stand.key("p1", "waiting"), None)
    stand.clock.sleep(DEADLINE_S)
    taken = {one.entry.name: one for one in stand.first.sweep("p1", 9, "").due}
    assert set(taken) == {"e1", "e2"}
    assert (bool(taken["e1"].problem), taken["e2"].problem) == (True, "")
    stand.first.remove([taken["e1"].entry])
    assert [entry.name for entry in due(stand.first.sweep("p1", 9, ""))] == ["e2"]


def replace(stand: Stand, key: str, text: bytes | None) -> None:
    """Let e1 have this value in a hash, or none."""
    if text is None:
        stand.raw.hdel(key, "e1")
    else:
        stand.raw.hset(key, "e1", text)


@pytest.mark.parametrize("member", [" ", "  x", "garbage", "volume: ", "a\tb c", "é x y"])
@pytest.mark.parametrize("limit", [1, 9])
def test_odd_index_entries_do_not_stop_a_sweep(stand: Stand, member: str, limit: int) -> None:
    stand.park("e1")
    stand.commit(draft.create(S1))
    stand.raw.zadd(stand.key("p1", "waiting:sources"), {member: 0})
    assert [item for page in pages(stand.first, limit) for item in page.present] == [S1]


def test_a_due_event_under_a_kek_that_nobody_has_is_forged_and_stops_no_sweep(stand: Stand) -> None:
    stand.first.admit()
    stand.store(custody=OTHER_CUSTODY).commit([draft.park(volume("v1"), S1, "e1")]).result()
    stand.park("e2")
    stand.clock.sleep(DEADLINE_S)
    problems = {one.entry.name: one.problem for one in stand.first.sweep("p1", 9, "").due}
    assert problems.keys() == {"e1", "e2"}
    assert "it is forged" in problems["e1"]
    assert problems["e2"] == ""


def test_a_due_event_under_a_kek_that_another_worker_has_is_no_problem_of_the_event(
    stand: Stand,
) -> None:
    newcomer = stand.store(custody=OTHER_CUSTODY)
    newcomer.admit()
    stand.register(stand.custody)
    stand.park("e1")
    stand.clock.sleep(DEADLINE_S)
    for _ in range(3):
        with pytest.raises(UnknownKek):
            newcomer.sweep("p1", 9, "")
    assert attempts_on_disk(stand) == {"e1": 0}
    assert due(stand.first.sweep("p1", 9, "")) == [lost("e1")]


@pytest.mark.parametrize("limit", [1, 9])
def test_what_is_no_name_is_taken_out_of_the_indexes(stand: Stand, limit: int) -> None:
    stand.park("e1")
    stand.raw.zadd(stand.key("p1", "waiting:deadlines"), {b"\xff": 0})
    stand.raw.zadd(
        stand.key("p1", "waiting:sources"), {b"\xff x": 0, b"a\xff": 0, b"volume:v1\n \x00": 0}
    )
    stand.clock.sleep(DEADLINE_S)
    list(pages(stand.first, limit))
    assert [entry.name for entry in due(stand.first.sweep("p1", 9, ""))] == ["e1"]
    assert stand.value(stand.key("p1", "waiting:deadlines")).keys() == {b"e1"}
    assert stand.value(stand.key("p1", "waiting:sources")).keys() == {b"snapshot:s1 e1"}
