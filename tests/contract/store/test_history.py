"""A store that has forgotten commits is refused, by whoever remembers them."""

import time
from typing import Any

import pytest
from redis.exceptions import ResponseError

from kmworker.domain.plan import WriteStatus
from kmworker.errors import NotFound, PermanentError, SetupError, StoreUnavailable
from kmworker.ports import Pending
from kmworker.store.client import Gate
from kmworker.store.commits import PAGE_SIZE
from kmworker.store.names import Names
from kmworker.store.rollback import History, Made
from tests.kit.store.builders import draft, snapshot, volume
from tests.kit.store.stand import Stand, StandOn


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


def commit(stand: Stand, worker: History, times: int = 1, project: str = "p1") -> None:
    """Do what a batch of one project does to the numbers, and add what is to be added."""
    client: Any = stand.client()
    worker.listed([project])
    client.sadd(stand.top("projects"), project)
    for _ in range(times):
        pipeline = client.pipeline(transaction=False)
        # As the script does; the library's `incr` is INCRBY, which no account has.
        pipeline.execute_command("INCR", stand.key(project, "commits"))
        for command in worker.looking():
            pipeline.execute_command(*command)
        number, *looked = pipeline.execute(raise_on_error=False)
        before = worker.newest([project])[project]
        worker.made([Made(project, number, has_written=True, before=before)], [], looked)
        worker.add()


def go_back(stand: Stand, number: int, **shares: int) -> None:
    """Make the store what an older copy of it is."""
    stand.raw.set(stand.key("p1", "commits"), number)
    stand.raw.delete(stand.top("commits"))
    stand.raw.hset(stand.top("commits"), "number", number)
    for worker_id, share in shares.items():
        stand.raw.hset(stand.top(f"worker:{worker_id}"), "commits", share)


def incident_of(refused: pytest.ExceptionInfo[SetupError]) -> str:
    return str(refused.value).split()[1].rstrip(":")


def test_each_project_counts_the_commits_that_write_to_it(stand: Stand) -> None:
    assert stand.first.commits() == 0
    for number in range(1, 4):
        stand.commit(*(draft.create(volume(f"v{number}", project)) for project in ("p1", "p2")))
        assert numbers(stand, "p1", "p2") == [number, number]
        # Of all together, what was seen to be written: a batch later, or when it is asked for.
        assert total(stand) == 2 * (number - 1)
    assert stand.first.commits() == total(stand) == 6


def test_what_writes_nothing_counts_nothing(stand: Stand) -> None:
    assert stand.commit() == []
    write = draft.create(volume("v"))
    stand.commit(write)
    stand.commit(write)
    assert [answer.status for answer in stand.commit(write)] == [WriteStatus.EXISTS]
    assert (numbers(stand, "p1"), stand.first.commits()) == ([1], 1)


def test_a_parked_event_is_a_commit_of_its_sources_project(stand: Stand) -> None:
    write = draft.park(volume("v", "p2"), snapshot("s", "p2"))
    stand.commit(write)
    stand.commit(write)
    assert (numbers(stand, "p2"), stand.first.commits()) == ([1], 1)


@pytest.mark.parametrize("at", range(4))
def test_the_number_of_all_is_never_more_than_the_sum_whatever_is_sent_again_or_lost(
    stand: Stand, at: int
) -> None:
    tap = stand.tap()
    store = stand.store(tap)
    for number in range(4):
        if number == at:
            stand.raw.script_flush()
        store.commit(
            [draft.create(volume(f"v{number}", project)) for project in ("p1", "p2")]
        ).result()
        assert total(stand) <= sum(numbers(stand, "p1", "p2"))
    # Whether what was sent last had its effect is unknown: it is not sent again.
    store._history.adding()
    assert store.commits() == 6 < sum(numbers(stand, "p1", "p2")) == 8


def test_a_share_that_is_refused_takes_nothing_from_what_the_others_have_counted(
    stand: Stand,
) -> None:
    stand.raw.set(stand.key("p1", "items"), "no hash")
    with pytest.raises(PermanentError):
        stand.commit(*(draft.create(volume("v", project)) for project in ("p1", "p2", "p3")))
    assert numbers(stand, "p1", "p2", "p3") == [0, 1, 1]
    assert stand.first.commits() == 2


@pytest.mark.parametrize("spoilt", ["many", "-1", "1.5", "", "007", "00", "9" * 16])
def test_a_projects_count_that_someone_wrote_to_lets_nothing_be_written(
    stand: Stand, spoilt: str
) -> None:
    stand.raw.set(stand.key("p1", "commits"), spoilt)
    before = stand.contents()
    with pytest.raises(PermanentError, match="holds no number of commits"):
        stand.commit(draft.create(volume("v")))
    assert stand.contents() == before | {stand.top("projects"): {b"p1"}}


def test_of_two_commits_on_their_way_either_may_be_the_first_to_be_written(stand: Stand) -> None:
    stand.commit(draft.create(volume("v1")))
    stand.raw.script_flush()
    unknown = stand.first.commit([draft.create(volume("v2"))])
    come(unknown)
    # Another worker has the server know the script again.
    stand.store(stand.client()).commit([draft.create(volume("v3"))]).result()
    known = stand.first.commit([draft.create(volume("v4"))])
    come(known)
    for commit_ in (unknown, known):
        assert [answer.status for answer in commit_.result()] == [WriteStatus.WRITTEN]
    assert (numbers(stand, "p1"), stand.first.commits()) == ([4], 3)


def come(pending: Pending[Any]) -> None:
    """Wait for the reply, and do nothing about it."""
    while not pending.done():
        time.sleep(0.001)


def numbers(stand: Stand, *projects: str) -> list[int]:
    return [int(stand.value(stand.key(project, "commits")) or 0) for project in projects]


def total(stand: Stand) -> int:
    return int((stand.value(stand.top("commits")) or {}).get(b"number", 0))


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
    with pytest.raises(SetupError, match=r"of 3 commits of project p1 it has 2") as refused:
        one.check()
    assert f"kmworker accept {incident_of(refused)}" in refused.value.hint


def test_a_worker_whose_own_commits_are_gone_is_not_fooled_by_those_of_others(
    stand: Stand, one: History
) -> None:
    commit(stand, one, 3)
    go_back(stand, 100, one=2)
    with pytest.raises(SetupError, match="was rolled back"):
        one.check()


def test_a_workers_own_commits_that_nobody_shows_any_more_say_nothing(
    stand: Stand, one: History
) -> None:
    commit(stand, one, 3)
    stand.raw.delete(stand.top("worker:one"))
    one.check()
    assert one.number == 3


@pytest.mark.parametrize("project", ["p1", "p2"], ids=["the same", "another"])
def test_a_store_that_is_emptied_under_a_worker_is_refused_at_the_next_commits(
    stand: Stand, one: History, project: str
) -> None:
    commit(stand, one, 3)
    stand.clear()
    with pytest.raises(SetupError, match=r"of [34] commits of project p1 it has [01]"):
        commit(stand, one, 2, project)


def test_a_project_that_has_lost_commits_is_noticed_however_many_others_have_made(
    stand: Stand, one: History, two: History
) -> None:
    commit(stand, one, 3, "p1")
    commit(stand, one, 3, "p2")
    stand.raw.set(stand.key("p2", "commits"), 2)
    commit(stand, two, 50, "p1")
    with pytest.raises(SetupError, match=r"of 3 commits of project p2 it has 2"):
        one.check()


def test_records_that_are_gone_while_the_number_of_all_is_there_are_missed_by_who_starts(
    stand: Stand, one: History, two: History
) -> None:
    commit(stand, one, 3, "p1")
    commit(stand, one, 3, "p2")
    two.check()
    # As Redis 7.0 did that read its files as a user without rights.
    for key in stand.contents().keys() | {stand.key("p1", "commits"), stand.key("p2", "commits")}:
        if "{" in key:
            stand.raw.delete(key)
    with pytest.raises(SetupError, match=r"of 6 commits it has 0"):
        two.check()


def test_projects_that_the_list_has_lost_are_listed_again(stand: Stand, one: History) -> None:
    commit(stand, one, 1, "p1")
    commit(stand, one, 1, "p2")
    stand.raw.srem(stand.top("projects"), "p2")
    one.check()
    assert stand.value(stand.top("projects")) == {b"p1", b"p2"}


def test_more_projects_than_are_read_at_once_are_all_counted(stand: Stand, one: History) -> None:
    names = [f"p{number}" for number in range(2 * PAGE_SIZE + 1)]
    stand.raw.sadd(stand.top("projects"), *names)
    stand.raw.mset({stand.key(name, "commits"): 1 for name in names})
    stand.raw.hset(stand.top("commits"), "number", len(names))
    one.check()
    stand.raw.delete(stand.key(names[-1], "commits"))
    with pytest.raises(SetupError, match=rf"of {len(names)} commits it has {len(names) - 1}"):
        one.check()


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


def test_a_refused_batch_is_not_taken_for_written(stand: Stand) -> None:
    stand.raw.hset(stand.top("commits"), "incident", "abc")
    strict = stand.store()
    strict._writes._history = remembering(stand, "one")
    with pytest.raises(SetupError, match="incident abc"):
        strict.commit([draft.create(volume("v"))]).result()


def test_an_incident_is_accepted_by_its_name_and_counting_goes_on_beyond_it(
    stand: Stand, one: History
) -> None:
    commit(stand, one, 3)
    go_back(stand, 2)
    with pytest.raises(SetupError) as refused:
        one.check()
    with pytest.raises(NotFound, match="no incident other"):
        stand.first.accept("other", 7)
    stand.first.accept(incident_of(refused), 7)
    after = remembering(stand, "four")
    after.check()
    assert after.number == 8
    after.refuse_if_behind(8)
    # No slack is left: the next loss is noticed.
    commit(stand, after)
    stand.raw.decr(stand.key("p1", "commits"))
    with pytest.raises(SetupError, match=r"of 9 commits it has 8"):
        remembering(stand, "five").check()
    stand.raw.hdel(stand.top("commits"), "incident")
    with pytest.raises(NotFound):
        stand.first.accept(incident_of(refused), 7)


def test_counting_does_not_go_on_from_a_number_that_nobody_can_have_counted(
    stand: Stand, one: History
) -> None:
    commit(stand, one, 3)
    stand.raw.hset(stand.top("commits"), "number", 10**15 - 1)
    with pytest.raises(SetupError, match=r"of 999999999999999 commits it has 3") as refused:
        remembering(stand, "two").check()
    # The anchor was taken from it.
    assert stand.first.accept(incident_of(refused), 10**15 - 2) == 4
    remembering(stand, "three").check()


def test_a_count_that_has_come_to_its_end_is_refused_before_anybody_anchors_it(
    stand: Stand, one: History
) -> None:
    commit(stand, one)
    one.check()
    stand.raw.hset(stand.top("commits"), "number", 10**15 - 1)
    with pytest.raises(SetupError, match="does not hold a number"):
        commit(stand, one, 2)
    assert one.number < 10**15


def test_a_store_that_may_lose_writes_by_the_operators_word_is_not_refused(stand: Stand) -> None:
    worker = remembering(stand, "one", is_tolerant=True)
    commit(stand, worker, 3)
    go_back(stand, 2)
    worker.check()
    commit(stand, worker)
    assert worker.number == 3
    stand.clear()
    commit(stand, worker)
    worker.check()
    assert worker.number == 1


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


@pytest.mark.parametrize("spoilt", ["text", "digits", "key"])
def test_a_workers_fields_for_dashboards_stop_nobody(
    stand: Stand, one: History, spoilt: str
) -> None:
    if spoilt != "key":
        share = {"text": "many", "digits": "9" * 5000}[spoilt]
        stand.raw.hset(stand.top("worker:one"), "commits", share)
    else:
        stand.raw.set(stand.top("worker:one"), "many")
    commit(stand, one, 2)
    one.check()
    assert one.number == 2


def test_a_store_that_is_away_is_no_incident(one: History) -> None:
    loading = ResponseError("LOADING the dataset")
    for added, looked in (([loading], [None, 1]), ([], [loading, 1])):
        with pytest.raises(StoreUnavailable):
            one.made([], added, looked)


@pytest.mark.parametrize("server", ["redis_server", "valkey_server"])
def test_a_client_does_not_connect_anew_behind_the_workers_back(
    request: pytest.FixtureRequest, stand_on: StandOn, server: str
) -> None:
    stand = stand_on(request.getfixturevalue(server))
    gate = Gate()
    client = stand.client_behind(gate)
    store = stand.store(client, gate=gate)
    write = draft.create(volume("v"))
    store.admit()
    store.commit([write]).result()
    stand.raw.client_kill_filter(_id=str(client.client_id()))
    with pytest.raises(StoreUnavailable, match="connection was lost"):
        store.commit([write]).result()
    store.admit()
    assert [answer.status for answer in store.commit([write]).result()] == [WriteStatus.EXISTS]
    stand.clear()
