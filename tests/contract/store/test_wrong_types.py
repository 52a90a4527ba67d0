"""A key of the wrong type stops what needs it, before anything is written."""

from collections.abc import Callable
from typing import Any

import pytest

from kmworker.domain.model import Held
from kmworker.domain.plan import Entry, WriteStatus
from kmworker.errors import PermanentError, Reason, StoreUnavailable
from kmworker.store.made_anew import MADE_ANEW
from kmworker.store.redis_store import RedisStore
from kmworker.verify.rules.findings import Problem
from tests.kit.store.builders import draft, snapshot, volume
from tests.kit.store.filling import found_in
from tests.kit.store.stand import DEADLINE_S, Stand, take

V1, V2, S1 = volume("v1"), volume("v2"), snapshot("s1")
ENTRIES = [Entry(S1, name, 1, expired=False) for name in ("e1", "e2")]

Work = Callable[[RedisStore, Held], Any]


def commit(store: RedisStore, source: Held) -> None:
    writes = draft.clone(volume("v7"), source), draft.reuse(volume("v6"), source)
    park = draft.park(volume("v9"), snapshot("s9"))
    store.commit([park, draft.create(volume("v8")), *writes]).result()


USED: dict[str, tuple[Work, tuple[str, ...]]] = {
    "look_up": (
        lambda store, _: store.look_up([V1]).result(),
        ("items", "keys", "scopes", "deks", "waiting:sources"),
    ),
    "commit": (
        commit,
        (
            "items", "keys", "scopes", "deks", "lineage", "holders", "stats",
            "waiting", "waiting:deadlines", "waiting:sources", "parked", "waiting:shares",
            "commits",
        ),
    ),
    "take": (lambda store, _: take(store), ("waiting", "waiting:sources", "parked", "expired")),
    "remove": (
        lambda store, _: store.remove(ENTRIES),
        (
            "waiting", "waiting:deadlines", "waiting:sources", "parked", "expired", "stats",
            "waiting:shares",
        ),
    ),
    "release": (lambda store, _: store.release(ENTRIES), ("waiting",)),
    "sweep": (
        lambda store, _: store.sweep("p1", 9, ""),
        ("waiting", "waiting:deadlines", "waiting:sources", "parked", "expired", "items"),
    ),
}  # fmt: skip
PROJECT_CASES = [(name, key) for name, (_work, keys) in USED.items() for key in keys]
SECRET = ("deks", "parked", "expired")


@pytest.fixture
def source(stand: Stand) -> Held:
    """Fill every key of p1; two events are due, and one that has come is the last of the two."""
    stand.commit(draft.park(V2, S1, "e1"), draft.park(V2, volume("v0"), "e0"))
    stand.commit(draft.park(V2, S1, "e2"), draft.park(V1, V1, "e3"))
    source = stand.put(draft.create(V1))
    stand.clock.sleep(DEADLINE_S)
    stand.first.sweep("p1", 1, "")
    return source


@pytest.mark.parametrize(("name", "key"), PROJECT_CASES)
def test_a_projects_key_of_the_wrong_type_is_an_incident_and_nothing_is_written(
    stand: Stand, source: Held, name: str, key: str
) -> None:
    work, _keys = USED[name]
    stand.spoil(stand.secret("p1", key) if key in SECRET else stand.key("p1", key))
    with stand.untouched():
        with pytest.raises(PermanentError) as raised:
            work(stand.first, source)
        assert raised.value.reason is Reason.INTEGRITY


def test_a_projects_key_of_the_wrong_type_keeps_no_other_projects_events_waiting(
    stand: Stand,
) -> None:
    for project in ("p1", "p2"):
        stand.commit(draft.park(volume("v1", project), snapshot("s1", project), "e"))
    stand.spoil(stand.key("p1", "waiting"))
    wrong, right = stand.first.take([S1, snapshot("s1", "p2")], 9)
    assert isinstance(wrong, PermanentError)
    assert isinstance(right, list)
    assert [taken.entry.name for taken in right] == ["e"]


TOP_CASES: dict[str, Callable[[RedisStore], Any]] = {
    "projects": lambda store: store.commit([draft.create(volume("v1", "p2"))]).result(),
    "attempts": lambda store: store.count_attempt("d1"),
    "attempts-uncounted": lambda store: store.uncount_attempt("d1"),
    "attempts-forgotten": lambda store: store.forget_attempts("d1"),
    "keyring": lambda store: store.admit(),
}


@pytest.mark.parametrize(("key", "work"), TOP_CASES.items(), ids=TOP_CASES)
def test_a_common_key_of_the_wrong_type_is_no_events_fault_and_nothing_is_written(
    stand: Stand, key: str, work: Callable[[RedisStore], Any]
) -> None:
    stand.spoil(stand.top(key.partition("-")[0]))
    with stand.untouched(), pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        work(stand.first)


def test_an_index_of_the_wrong_type_holds_up_no_worker(stand: Stand) -> None:
    stand.spoil(stand.top("due"))
    with stand.untouched():
        assert stand.first.due(9) == []


@pytest.mark.parametrize("key", MADE_ANEW)
def test_verify_names_a_common_key_of_the_wrong_type(stand: Stand, key: str) -> None:
    stand.first.admit()
    stand.commit(draft.create(V1))
    stand.spoil(stand.top(key))
    (found,) = (it for it in found_in(stand) if it.problem is Problem.WRONG_TYPE)
    assert (found.place.key, found.says) == (
        key,
        f"it is a string, and should be a {MADE_ANEW[key]}",
    )


def test_totals_of_the_wrong_type_hold_up_no_dead_letter(stand: Stand) -> None:
    stand.spoil(stand.top("dead"))
    with stand.untouched():
        stand.first.count_dead([Reason.CONFLICT])


@pytest.mark.parametrize("kind", ["hash", "set", "zset", "stream"])
def test_no_wrong_type_is_better_than_another(stand: Stand, source: Held, kind: str) -> None:
    raw = stand.raw
    key = stand.key("p1", "items" if kind != "hash" else "lineage")
    raw.delete(key)
    {
        "hash": lambda: raw.hset(key, "a", "b"),
        "set": lambda: raw.sadd(key, "a"),
        "zset": lambda: raw.zadd(key, {"a": 0}),
        "stream": lambda: raw.xadd(key, {"a": "b"}),
    }[kind]()
    with stand.untouched(), pytest.raises(PermanentError):
        commit(stand.first, source)


def test_one_projects_wrong_key_keeps_no_other_project_from_being_written(
    stand: Stand, source: Held
) -> None:
    stand.spoil(stand.key("p1", "items"))
    with pytest.raises(PermanentError):
        stand.commit(draft.create(V2), draft.create(volume("v1", "p2")))
    assert set(stand.value(stand.key("p2", "items"))) == {b"volume:v1"}


@pytest.mark.parametrize("text", ["text", "", "1.5", str(2**63 - 1)])
def test_counters_that_cannot_be_counted_on_stop_no_commit(
    stand: Stand, source: Held, text: str
) -> None:
    for field in ("create", "clone", "reuse", "none", "waiting"):
        stand.raw.hset(stand.key("p1", "stats"), field, text)
    stand.raw.hset(stand.key("p1", "holders"), str(source.assignment.key_id), text)
    answers = stand.commit(
        draft.create(volume("v8")),
        draft.clone(volume("v7"), source),
        draft.reuse(volume("v6"), source),
        draft.none(volume("v5")),
        draft.park(V2, snapshot("s9"), "e9"),
    )
    assert [a.status for a in answers] == [WriteStatus.WRITTEN] * 4 + [WriteStatus.PARKED]
    stand.first.remove([Entry(snapshot("s9"), "e9", 1, expired=False)])
    assert stand.take(snapshot("s9")) == []
    assert len(stand.look_up(*(volume(f"v{n}") for n in (5, 6, 7, 8)))) == 4
    assert stand.value(stand.key("p1", "stats"))[b"create"] == text.encode()
