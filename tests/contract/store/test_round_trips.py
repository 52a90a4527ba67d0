"""Two round trips a batch, whatever is in it; and scripts that the server forgets."""

from collections import Counter
from typing import Any

import pytest

from kmworker.domain.model import Assignment, Held
from kmworker.domain.plan import AssignWrite, Entry, Write, WriteStatus
from kmworker.store.redis_store import RedisStore
from kmworker.store.writes import WORTH_HALVING
from tests.kit.store.builders import draft, held, snapshot, volume
from tests.kit.store.stand import Stand, take
from tests.kit.store.wiretap import Wiretap

# Values; the limit of the Lua in Redis, of which each item that is written takes two.
MAX_LUA = 8_000
PROJECTS = [f"p{n}" for n in range(20)]
# Adds the batch before, looks for an incident, counts the worker's own.
COUNTING = ["HINCRBY", "HGET", "HINCRBY"]


@pytest.fixture
def tap(stand: Stand) -> Wiretap:
    return stand.tap()


@pytest.fixture
def tapped(stand: Stand, tap: Wiretap) -> RedisStore:
    return stand.store(tap)


def names(trip: list[tuple[Any, ...]]) -> list[str]:
    return [str(command[0]) for command in trip]


def test_a_look_up_is_one_round_trip_whatever_the_number_of_items_and_projects(
    tap: Wiretap, tapped: RedisStore
) -> None:
    tapped.look_up([volume("v1")]).result()  # the server knows the script from here on
    tap.trips.clear()
    tapped.look_up([volume(f"v{n}", project) for project in PROJECTS for n in range(20)]).result()
    assert [names(trip) for trip in tap.trips] == [["EVALSHA"] * len(PROJECTS)]


def test_taking_is_one_round_trip_whatever_the_number_of_sources_and_projects(
    tap: Wiretap, tapped: RedisStore
) -> None:
    tapped.take([volume("v1")], 1)
    tap.trips.clear()
    sources = [volume(f"v{n}", project) for project in PROJECTS for n in range(20)]
    assert tapped.take(sources, 2) == [[] for _ in sources]
    assert [names(trip) for trip in tap.trips] == [["EVALSHA"] * len(sources)]


def test_a_commit_is_one_round_trip_whatever_the_number_of_writes_and_projects(
    tap: Wiretap, tapped: RedisStore
) -> None:
    tapped.commit([draft.none(volume("v0", project)) for project in PROJECTS]).result()
    tap.trips.clear()
    tapped.commit(
        [
            write
            for project in PROJECTS
            for write in (
                draft.create(volume("v1", project)),
                draft.park(volume("v2", project), snapshot("s1", project)),
            )
        ]
    ).result()
    indexing = ["ZADD", "ZINCRBY"] * len(PROJECTS)
    assert [names(trip) for trip in tap.trips] == [
        ["EVALSHA"] * len(PROJECTS) + COUNTING + indexing
    ]


def large(projects: list[str]) -> list[Write]:
    """A batch of which one half is worth sending before the other, project by project in turn."""
    return [
        draft.none(volume(f"v{n}", project))
        for n in range(-(-WORTH_HALVING // len(projects)))
        for project in projects
    ]


def test_a_large_batch_goes_in_two_halves_without_waiting_in_between(
    tap: Wiretap, tapped: RedisStore
) -> None:
    writes = large(["p1", "p2", "p3"])
    tapped.commit([draft.none(volume("v", project)) for project in ("p1", "p2", "p3")]).result()
    tap.trips.clear()
    commits = tapped.commit(writes)
    assert [names(trip) for trip in tap.trips] == [["EVALSHA"] * 2, ["EVALSHA", *COUNTING]]
    assert [it.assignment for it in commits.result()] == [
        it.assignment for it in writes if isinstance(it, AssignWrite)
    ]
    assert len(tap.trips) == 2


def test_a_projects_share_of_a_batch_is_one_script_however_large(
    tap: Wiretap, tapped: RedisStore
) -> None:
    tapped.commit([draft.none(volume("v", "p1"))]).result()
    tap.trips.clear()
    tapped.commit(large(["p1"])).result()
    assert [names(trip) for trip in tap.trips] == [["EVALSHA", *COUNTING]]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_commits_are_counted_behind_both_halves_whenever_the_scripts_are_forgotten(
    stand: Stand, tap: Wiretap, tapped: RedisStore, at: int
) -> None:
    writes = large(["p1", "p2", "p3"])
    tapped.commit([draft.none(volume("v", project)) for project in ("p1", "p2", "p3")]).result()
    tap.trips.clear()
    tap.before_trip = lambda _: stand.raw.script_flush() if len(tap.trips) == at else None
    answers = tapped.commit(writes).result()
    assert {answer.status for answer in answers} == {WriteStatus.WRITTEN}
    # What adds to the number of all is sent once, whatever is sent again.
    assert names(tap.trips[-1])[-2:] == COUNTING[1:]
    assert [name for trip in tap.trips for name in names(trip)].count("HINCRBY") == 1 + sum(
        "HGET" in names(trip) for trip in tap.trips
    )
    of_each = [int(stand.value(stand.key(project, "commits"))) for project in ("p1", "p2", "p3")]
    assert of_each == [2, 2, 2]
    assert tapped.commits() == sum(of_each)


def test_a_second_half_that_cannot_be_sealed_leaves_the_first_one_written(
    tapped: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tapped.commit([draft.none(volume("v", project)) for project in ("p1", "p2")]).result()
    writes = large(["p1", "p2"])
    real = tapped._writes._codec.item

    def seal(assignment: Assignment) -> tuple[bytes, bytes]:
        if assignment.item.project == "p2":
            raise ValueError("a bug")
        return real(assignment)

    monkeypatch.setattr(tapped._writes._codec, "item", seal)
    with pytest.raises(ValueError, match="a bug"):
        tapped.commit(writes).result()
    monkeypatch.undo()
    # Nobody takes the first half's replies for those to something else.
    known = tapped.look_up([volume("v0", "p1"), volume("v0", "p2")]).result()
    assert [state is not None for state in known.values()] == [True, False]
    outcomes = Counter(answer.status for answer in tapped.commit(writes).result())
    assert outcomes == {WriteStatus.EXISTS: len(writes) / 2, WriteStatus.WRITTEN: len(writes) / 2}


def test_a_script_takes_more_items_than_lua_hands_to_one_call(own: Stand) -> None:
    store = own.store()
    there = [volume(f"v{n}") for n in range(MAX_LUA // 2)]
    absent = [volume(f"absent{n}") for n in range(MAX_LUA // 2)]
    answers = store.commit([draft.none(item) for item in there]).result()
    assert {answer.status for answer in answers} == {WriteStatus.WRITTEN}
    known = store.look_up([*there, *absent]).result()
    assert [item for item, state in known.items() if isinstance(state, Held)] == there
    assert [item for item, state in known.items() if state is None] == absent


def test_projects_are_listed_before_their_first_record_once_by_each_worker(
    stand: Stand, tap: Wiretap, tapped: RedisStore
) -> None:
    tapped.commit([draft.none(volume("v1", "p0"))]).result()
    tap.trips.clear()
    tapped.commit([draft.none(volume("v2", project)) for project in ("p0", "p1", "p2")]).result()
    first, *others = tap.trips
    asked = ("HGET", stand.top("keyring"), "states")
    assert first == [("SADD", stand.top("projects"), "p1", "p2"), asked]
    tapped.commit([draft.park(volume("v3", "p1"), snapshot("s1", "p1"))]).result()
    assert [command for trip in others for command in names(trip) if command == "SADD"] == []


def test_a_project_is_on_the_list_when_its_first_record_is_written(
    stand: Stand, tap: Wiretap, tapped: RedisStore
) -> None:
    listed = []
    tap.before_trip = lambda commands: (
        None if "SADD" in names(commands) else listed.append(stand.value(stand.top("projects")))
    )
    tapped.commit([draft.none(volume("v1", "p1"))]).result()
    tapped.commit([draft.park(volume("v1", "p2"), snapshot("s1", "p2"))]).result()
    assert [b"p1" in found for found in listed if found] == [True] * len(listed)
    assert b"p2" in listed[-1]


def test_after_a_reconnection_projects_are_listed_again(stand: Stand) -> None:
    stand.commit(draft.none(volume("v1")))
    stand.clear()  # another server, say
    stand.first.admit()
    stand.commit(draft.none(volume("v2")))
    assert stand.value(stand.top("projects")) == {b"p1"}


def story(store: RedisStore) -> list[Any]:
    """Do a little of everything, each write twice."""
    one = draft.create(volume("v1"))
    writes: list[Write] = [
        draft.park(volume("v9"), volume("v1"), "e1"),
        draft.park(volume("v8", "p2"), snapshot("s1", "p2"), "e2"),
        one,
        draft.clone(volume("v2"), held(one)),
        draft.reuse(snapshot("s1"), held(one)),
        draft.none(volume("v3", "p2")),
    ]
    entry = Entry(volume("v1"), "e1", 1, expired=False)
    seen: list[Any] = [
        [answer.status for answer in store.commit(writes).result()] for _ in range(2)
    ]
    states = store.look_up([volume("v1"), volume("v9")]).result().values()
    seen += [[state is not None for state in states], taken(store)]
    store.release([entry])
    seen += [taken(store), store.sweep("p1", 9, "").present]
    store.remove([entry])
    store.remove([entry])
    return [*seen, taken(store)]


def taken(store: RedisStore) -> list[Entry]:
    return [one.entry for one in take(store, volume("v1"), 9)]


def test_a_server_that_forgets_the_scripts_before_each_call_changes_nothing(
    stand: Stand, tap: Wiretap, tapped: RedisStore
) -> None:
    tap.before_trip = lambda _: stand.raw.script_flush()
    written, repeated, *others = story(tapped)
    assert written == [WriteStatus.PARKED] * 2 + [WriteStatus.WRITTEN] * 4
    assert repeated == [WriteStatus.STALE, WriteStatus.PARKED] + [WriteStatus.EXISTS] * 4
    entry = Entry(volume("v1"), "e1", 1, expired=False)
    assert others == [[True, False], [entry], [entry], [volume("v1")], []]
    assert stand.stats("p1") == {
        b"create": b"1",
        b"clone": b"1",
        b"reuse": b"1",
        b"waiting": b"0",
    }
    assert stand.value(stand.key("p2", "stats")) == {b"none": b"1", b"waiting": b"1"}
    assert set(stand.value(stand.key("p1", "holders")).values()) == {b"2", b"1"}


@pytest.mark.parametrize("at", range(9))
def test_a_server_that_forgets_the_scripts_once_changes_nothing(
    stand: Stand, tap: Wiretap, tapped: RedisStore, at: int
) -> None:
    trips = iter(range(999))
    tap.before_trip = lambda _: stand.raw.script_flush() if next(trips) == at else None
    story(tapped)
    assert next(trips) > at
    assert stand.value(stand.key("p1", "stats"))[b"create"] == b"1"
    assert stand.value(stand.key("p2", "stats")) == {b"none": b"1", b"waiting": b"1"}


def test_scripts_that_the_server_has_forgotten_are_sent_once(
    stand: Stand, tap: Wiretap, tapped: RedisStore
) -> None:
    tapped.look_up([volume("v1")]).result()
    stand.raw.script_flush()
    tap.trips.clear()
    tapped.look_up([volume("v1"), volume("v1", "p2")]).result()
    tapped.look_up([volume("v1"), volume("v1", "p2")]).result()
    assert [names(trip) for trip in tap.trips] == [["EVALSHA"] * 2, ["EVAL"] * 2, ["EVALSHA"] * 2]
