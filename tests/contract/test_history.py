"""A store that has forgotten commits is refused, by whoever remembers them."""

from typing import Any

import pytest
from redis.exceptions import ResponseError

from kmworker.errors import NotFound, SetupError, StoreUnavailable
from kmworker.ports import Outcome
from kmworker.redis_client import Gate
from kmworker.store.history import History
from kmworker.store.names import Names
from kmworker.store.redis_store import RedisStore
from tests.contract.builders import Drafts, volume
from tests.contract.stand import Stand, StandOn


@pytest.fixture
def one(stand: Stand) -> History:
    return remembering(stand, "one")


@pytest.fixture
def two(stand: Stand) -> History:
    return remembering(stand, "two")


def remembering(stand: Stand, worker_id: str, *, is_tolerant: bool = False) -> History:
    return History(
        stand.client(), Names(stand.prefix), worker_id=worker_id, is_tolerant=is_tolerant
    )


def commit(stand: Stand, worker: History, times: int = 1) -> None:
    """Send what a worker sends behind its batches."""
    for _ in range(times):
        pipeline: Any = stand.client().pipeline(transaction=False)
        for command in worker.counting():
            pipeline.execute_command(*command)
        worker.counted(pipeline.execute(raise_on_error=False))


def go_back(stand: Stand, number: int, **shares: int) -> None:
    """Make the store what an older copy of it is."""
    raw: Any = stand.raw
    raw.delete(stand.top("commits"))
    raw.hset(stand.top("commits"), "number", number)
    for worker_id, share in shares.items():
        raw.hset(stand.top(f"worker:{worker_id}"), "commits", share)


def incident_of(refused: pytest.ExceptionInfo[SetupError]) -> str:
    return str(refused.value).split()[1].rstrip(":")


def test_each_batch_of_commits_is_counted(stand: Stand, store: RedisStore, draft: Drafts) -> None:
    assert store.commits() == 0
    store.commit([draft.create(volume("v0"))])  # the server knows the script from here on
    before = store.commits()
    for number in range(1, 4):
        store.commit([draft.create(volume(f"v{number}", project)) for project in ("p1", "p2")])
        assert store.commits() == before + number
    assert stand.value(stand.top("commits")) == {b"number": str(before + 3).encode()}


def test_a_batch_that_writes_nothing_counts_nothing(stand: Stand, store: RedisStore) -> None:
    assert store.commit([]) == []
    assert stand.value(stand.top("commits")) is None


def test_what_is_counted_comes_after_the_commits_also_where_the_scripts_were_forgotten(
    stand: Stand, draft: Drafts
) -> None:
    tap = stand.tap()
    stand.client().execute_command("SCRIPT FLUSH")  # type: ignore[no-untyped-call]
    stand.store(tap).commit([draft.create(volume("v"))])
    first, second = ([str(command[0]) for command in trip] for trip in tap.trips[-2:])
    assert first == ["EVALSHA", "HINCRBY", "HGET", "HINCRBY"]
    assert second == ["EVAL", "HINCRBY", "HGET", "HINCRBY"]


def test_a_store_that_is_as_it_was_or_further_on_is_good(
    stand: Stand, one: History, two: History
) -> None:
    commit(stand, one, 3)
    commit(stand, two, 2)
    one.check()
    two.check()
    assert (one.number, two.number) == (5, 5)
    one.refuse_if_behind(5)


def test_a_store_with_fewer_commits_than_a_worker_remembers_is_refused(
    stand: Stand, one: History
) -> None:
    commit(stand, one, 3)
    go_back(stand, 2)
    with pytest.raises(SetupError, match=r"of 3 commits it has 2") as refused:
        one.check()
    assert f"kmworker accept {incident_of(refused)}" in refused.value.hint


def test_a_worker_whose_own_commits_are_gone_is_not_fooled_by_those_of_others(
    stand: Stand, one: History
) -> None:
    commit(stand, one, 3)
    go_back(stand, 100, one=2)
    with pytest.raises(SetupError, match="went back in time"):
        one.check()


def test_a_workers_own_commits_that_nobody_shows_any_more_say_nothing(
    stand: Stand, one: History
) -> None:
    commit(stand, one, 3)
    stand.raw.delete(stand.top("worker:one"))
    one.check()
    assert one.number == 3


def test_a_store_that_is_emptied_under_a_worker_is_refused_at_the_next_commit(
    stand: Stand, one: History
) -> None:
    commit(stand, one, 3)
    stand.clear()
    with pytest.raises(SetupError, match=r"of 4 commits it has 1"):
        commit(stand, one)


def test_what_one_worker_sees_stops_all(stand: Stand, one: History, two: History) -> None:
    commit(stand, one, 3)
    go_back(stand, 2)
    two.check()
    with pytest.raises(SetupError) as refused:
        one.check()
    name = incident_of(refused)
    with pytest.raises(SetupError, match=name):
        commit(stand, two)
    with pytest.raises(SetupError, match=name):
        remembering(stand, "three").check()


def test_what_was_anchored_elsewhere_counts_for_a_worker_that_remembers_nothing(
    stand: Stand, one: History, two: History
) -> None:
    commit(stand, one, 3)
    two.check()
    two.refuse_if_behind(3)
    with pytest.raises(SetupError, match=r"of 4 commits it has 3"):
        two.refuse_if_behind(4)


def test_an_anchor_is_newer_than_the_last_look_at_a_store_on_which_others_work(
    stand: Stand, one: History, two: History
) -> None:
    commit(stand, one, 1)
    two.check()
    commit(stand, one, 2)
    two.refuse_if_behind(3)
    assert two.number == 3


def test_a_refused_batch_is_not_taken_for_written(
    stand: Stand, store: RedisStore, draft: Drafts
) -> None:
    stand.raw.hset(stand.top("commits"), "incident", "abc")
    strict = stand.store()
    strict._writes._history = remembering(stand, "one")
    with pytest.raises(SetupError, match="incident abc"):
        strict.commit([draft.create(volume("v"))])


def test_an_incident_is_accepted_by_its_name_and_counting_goes_on_beyond_it(
    stand: Stand, store: RedisStore, one: History
) -> None:
    commit(stand, one, 3)
    go_back(stand, 2)
    with pytest.raises(SetupError) as refused:
        one.check()
    with pytest.raises(NotFound, match="no incident other"):
        store.accept("other", 7)
    store.accept(incident_of(refused), 7)
    after = remembering(stand, "four")
    after.check()
    assert after.number == 8
    with pytest.raises(NotFound):
        store.accept(incident_of(refused), 7)


def test_a_store_that_may_lose_writes_by_the_operators_word_is_not_refused(stand: Stand) -> None:
    worker = remembering(stand, "one", is_tolerant=True)
    commit(stand, worker, 3)
    go_back(stand, 2)
    worker.check()
    commit(stand, worker)
    assert worker.number == 3


@pytest.mark.parametrize("spoilt", ["text", "key"])
def test_a_count_that_someone_wrote_to_is_no_count(stand: Stand, one: History, spoilt: str) -> None:
    commit(stand, one)
    if spoilt == "text":
        stand.raw.hset(stand.top("commits"), "number", "many")
    else:
        stand.raw.set(stand.top("commits"), "many")
    with pytest.raises(SetupError, match="does not hold a number"):
        commit(stand, one)
    with pytest.raises(SetupError, match="does not hold a number") as refused:
        one.check()
    assert refused.value.hint


@pytest.mark.parametrize("spoilt", ["text", "key"])
def test_a_workers_fields_for_dashboards_stop_nobody(
    stand: Stand, one: History, spoilt: str
) -> None:
    if spoilt == "text":
        stand.raw.hset(stand.top("worker:one"), "commits", "many")
    else:
        stand.raw.set(stand.top("worker:one"), "many")
    commit(stand, one, 2)
    one.check()
    assert one.number == 2


def test_a_store_that_is_away_is_no_incident(one: History) -> None:
    with pytest.raises(StoreUnavailable):
        one.counted([ResponseError("LOADING the dataset"), None, 1])


@pytest.mark.parametrize("server", ["redis_server", "valkey_server"])
def test_a_client_does_not_connect_anew_behind_the_workers_back(
    request: pytest.FixtureRequest, stand_on: StandOn, draft: Drafts, server: str
) -> None:
    stand = stand_on(request.getfixturevalue(server))
    gate = Gate()
    client = stand.client_behind(gate)
    store = stand.store(client, gate=gate)
    write = draft.create(volume("v"))
    store.admit()
    store.commit([write])
    stand.raw.client_kill_filter(_id=str(client.client_id()))
    with pytest.raises(StoreUnavailable, match="connection was lost"):
        store.commit([write])
    store.admit()
    assert [answer.outcome for answer in store.commit([write])] == [Outcome.EXISTS]
    stand.clear()
