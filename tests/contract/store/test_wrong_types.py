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
from tests.kit.store.builders import Drafts, snapshot, volume
from tests.kit.store.filling import found_in
from tests.kit.store.stand import DEADLINE_S, Stand, put, take

V1, V2, S1 = volume("v1"), volume("v2"), snapshot("s1")
ENTRIES = [Entry(S1, name, 1, expired=False) for name in ("e1", "e2")]

Work = Callable[[RedisStore, Drafts, Held], Any]


def commit(store: RedisStore, draft: Drafts, source: Held) -> None:
    store.commit(
        [
            draft.park(volume("v9"), snapshot("s9")),
            draft.create(volume("v8")),
            draft.clone(volume("v7"), source),
            draft.reuse(volume("v6"), source),
        ]
    ).result()


def look_up(store: RedisStore, _draft: Drafts, _source: Held) -> None:
    store.look_up([V1]).result()


def take_from_one(store: RedisStore, _draft: Drafts, _source: Held) -> None:
    take(store, S1, 9)


def remove(store: RedisStore, _draft: Drafts, _source: Held) -> None:
    store.remove(ENTRIES)


def release(store: RedisStore, _draft: Drafts, _source: Held) -> None:
    store.release(ENTRIES)


def sweep(store: RedisStore, _draft: Drafts, _source: Held) -> None:
    store.sweep("p1", 9, "")


USED: dict[Work, tuple[str, ...]] = {
    look_up: ("items", "keys", "scopes", "deks", "waiting:sources"),
    commit: (
        "items", "keys", "scopes", "deks", "lineage", "holders", "stats",
        "waiting", "waiting:deadlines", "waiting:sources", "parked", "waiting:shares",
        "commits",
    ),
    take_from_one: ("waiting", "waiting:sources", "parked", "expired"),
    remove: (
        "waiting", "waiting:deadlines", "waiting:sources", "parked", "expired", "stats",
        "waiting:shares",
    ),
    release: ("waiting",),
    sweep: ("waiting", "waiting:deadlines", "waiting:sources", "parked", "expired", "items"),
}  # fmt: skip
PROJECT_CASES = [(work, key) for work, keys in USED.items() for key in keys]
SECRET = ("deks", "parked", "expired")


@pytest.fixture
def source(stand: Stand, store: RedisStore, draft: Drafts) -> Held:
    """Fill every key of p1; two events are due, and one that has come is the last of the two."""
    store.commit([draft.park(V2, S1, "e1"), draft.park(V2, volume("v0"), "e0")]).result()
    store.commit([draft.park(V2, S1, "e2"), draft.park(V1, V1, "e3")]).result()
    source = put(store, draft.create(V1))
    stand.clock.sleep(DEADLINE_S)
    store.sweep("p1", 1, "")
    return source


def spoil(stand: Stand, key: str) -> None:
    stand.raw.delete(key)
    stand.raw.set(key, "text")


@pytest.mark.parametrize(
    "case", PROJECT_CASES, ids=[f"{work.__name__}-{key}" for work, key in PROJECT_CASES]
)
def test_a_projects_key_of_the_wrong_type_is_an_incident_and_nothing_is_written(
    stand: Stand, store: RedisStore, draft: Drafts, source: Held, case: tuple[Work, str]
) -> None:
    work, key = case
    spoil(stand, stand.secret("p1", key) if key in SECRET else stand.key("p1", key))
    before = stand.contents()
    with pytest.raises(PermanentError) as raised:
        work(store, draft, source)
    assert raised.value.reason is Reason.INTEGRITY
    assert stand.contents() == before


def test_a_projects_key_of_the_wrong_type_keeps_no_other_projects_events_waiting(
    stand: Stand, store: RedisStore, draft: Drafts
) -> None:
    for project in ("p1", "p2"):
        store.commit([draft.park(volume("v1", project), snapshot("s1", project), "e")]).result()
    spoil(stand, stand.key("p1", "waiting"))
    wrong, right = store.take([S1, snapshot("s1", "p2")], 9)
    assert isinstance(wrong, PermanentError)
    assert isinstance(right, list)
    assert [taken.entry.name for taken in right] == ["e"]


TOP_CASES: dict[str, Callable[[RedisStore, Drafts], Any]] = {
    "projects": lambda store, draft: store.commit([draft.create(volume("v1", "p2"))]).result(),
    "attempts": lambda store, _draft: store.count_attempt("d1"),
    "attempts-uncounted": lambda store, _draft: store.uncount_attempt("d1"),
    "attempts-forgotten": lambda store, _draft: store.forget_attempts("d1"),
    "keyring": lambda store, _draft: store.admit(),
}


@pytest.mark.parametrize(("key", "work"), TOP_CASES.items(), ids=TOP_CASES)
def test_a_common_key_of_the_wrong_type_is_no_events_fault_and_nothing_is_written(
    stand: Stand,
    store: RedisStore,
    draft: Drafts,
    key: str,
    work: Callable[[RedisStore, Drafts], Any],
) -> None:
    spoil(stand, stand.top(key.partition("-")[0]))
    before = stand.contents()
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        work(store, draft)
    assert stand.contents() == before


def test_an_index_of_the_wrong_type_holds_up_no_worker(stand: Stand, store: RedisStore) -> None:
    spoil(stand, stand.top("due"))
    before = stand.contents()
    assert store.due(9) == []
    assert stand.contents() == before


@pytest.mark.parametrize("key", MADE_ANEW)
def test_verify_names_a_common_key_of_the_wrong_type(
    stand: Stand, store: RedisStore, draft: Drafts, key: str
) -> None:
    store.admit()
    store.commit([draft.create(V1)]).result()
    spoil(stand, stand.top(key))
    (found,) = (it for it in found_in(stand) if it.problem is Problem.WRONG_TYPE)
    assert (found.place.key, found.says) == (
        key,
        f"it is a string, and should be a {MADE_ANEW[key]}",
    )


def test_totals_of_the_wrong_type_hold_up_no_dead_letter(stand: Stand, store: RedisStore) -> None:
    spoil(stand, stand.top("dead"))
    before = stand.contents()
    store.count_dead([Reason.CONFLICT])
    assert stand.contents() == before


@pytest.mark.parametrize("kind", ["hash", "set", "zset", "stream"])
def test_no_wrong_type_is_better_than_another(
    stand: Stand, store: RedisStore, draft: Drafts, source: Held, kind: str
) -> None:
    raw: Any = stand.raw
    key = stand.key("p1", "items" if kind != "hash" else "lineage")
    raw.delete(key)
    {
        "hash": lambda: raw.hset(key, "a", "b"),
        "set": lambda: raw.sadd(key, "a"),
        "zset": lambda: raw.zadd(key, {"a": 0}),
        "stream": lambda: raw.xadd(key, {"a": "b"}),
    }[kind]()
    before = stand.contents()
    with pytest.raises(PermanentError):
        commit(store, draft, source)
    assert stand.contents() == before


def test_one_projects_wrong_key_keeps_no_other_project_from_being_written(
    stand: Stand, store: RedisStore, draft: Drafts, source: Held
) -> None:
    spoil(stand, stand.key("p1", "items"))
    with pytest.raises(PermanentError):
        store.commit([draft.create(V2), draft.create(volume("v1", "p2"))]).result()
    assert set(stand.value(stand.key("p2", "items"))) == {b"volume:v1"}


@pytest.mark.parametrize("text", ["text", "", "1.5", str(2**63 - 1)])
def test_counters_that_cannot_be_counted_on_stop_no_commit(
    stand: Stand, store: RedisStore, draft: Drafts, source: Held, text: str
) -> None:
    for field in ("create", "clone", "reuse", "none", "waiting"):
        stand.raw.hset(stand.key("p1", "stats"), field, text)
    stand.raw.hset(stand.key("p1", "holders"), str(source.assignment.key_id), text)
    answers = store.commit(
        [
            draft.create(volume("v8")),
            draft.clone(volume("v7"), source),
            draft.reuse(volume("v6"), source),
            draft.none(volume("v5")),
            draft.park(V2, snapshot("s9"), "e9"),
        ]
    ).result()
    assert [a.status for a in answers] == [WriteStatus.WRITTEN] * 4 + [WriteStatus.PARKED]
    store.remove([Entry(snapshot("s9"), "e9", 1, expired=False)])
    assert take(store, snapshot("s9"), 9) == []
    assert len(store.look_up([volume(f"v{n}") for n in (5, 6, 7, 8)]).result()) == 4
    assert stand.value(stand.key("p1", "stats"))[b"create"] == text.encode()
