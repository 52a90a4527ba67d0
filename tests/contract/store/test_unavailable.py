"""A store that cannot do its work now is waited for, and has written all or nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kmworker.domain.model import Held
from kmworker.domain.plan import Entry, WriteStatus
from kmworker.domain.waiting import Due
from kmworker.errors import Reason, StoreUnavailable
from kmworker.ports import QueueCounts, Report
from kmworker.store.connection import store_errors
from kmworker.store.redis_store import RedisStore
from tests.kit.servers import StoreServer
from tests.kit.store.builders import AT_S, draft, snapshot, volume
from tests.kit.store.stand import DEADLINE_S, Contents, Stand, StandOn, only, take

V1, S1 = volume("v1"), snapshot("s1")
ENTRY = Entry(S1, "e1", 1, expired=False)
REPORT = Report("w1", AT_S, {"pid": 1}, [{"what": "dead"}], {"worker": "w1"}, QueueCounts(0, 0, 1))

Work = Callable[[Stand, RedisStore], Any]


def derive(_stand: Stand, store: RedisStore) -> Any:
    """Commit what is new, in a known project and in an unknown one."""
    new = draft.create(volume("v8")), draft.create(volume("v8", "p2"))
    return store.commit([draft.park(volume("v9"), snapshot("s9")), *new]).result()


def send_plainly(stand: Stand, _store: RedisStore) -> Any:
    """Send a pipeline whose errors the client library puts into words of its own."""
    with store_errors():
        pipeline = stand.client().pipeline(transaction=False)
        pipeline.hset(stand.top("dead"), "conflict", 1)
        pipeline.execute()


READS: dict[str, Work] = {
    "look-up": lambda _, store: store.look_up([V1]).result(),
    "due": lambda _, store: store.due(9),
    "look-again": lambda _, store: store.look_again([(Due("p1", 1.0), 1.0)]),
}
WRITES: dict[str, Work] = {
    "commit": derive,
    "take": lambda _, store: take(store),
    "sweep": lambda _, store: store.sweep("p1", 9, ""),
    "mark-due": lambda _, store: store.mark_due(["p1"]),
    "remove": lambda _, store: store.remove([ENTRY]),
    "release": lambda _, store: store.release([ENTRY]),
    "count-dead": lambda _, store: store.count_dead([Reason.CONFLICT]),
    "lease": lambda _, store: store.lease("other-work", "w1", 60),
    "count-attempt": lambda _, store: store.count_attempt("d1"),
    "uncount-attempt": lambda _, store: store.uncount_attempt("d1"),
    "forget-attempts": lambda _, store: store.forget_attempts("d1"),
    "plain-pipeline": send_plainly,
    "report": lambda stand, _: stand.reports().write(REPORT).result(),
}
# Deleting takes no memory, so a full server still does it.
DELETES = ("remove", "forget-attempts")
ADMIT: dict[str, Work] = {"admit": lambda _, store: store.admit()}


@pytest.fixture
def stand(own: Stand) -> Stand:
    return own


@pytest.fixture
def source(stand: Stand) -> Held:
    """Let each method have something to do: an item, and an event that was tried and is due."""
    stand.first.admit()
    source = stand.put(draft.create(V1))
    stand.commit(draft.park(volume("v2"), S1, "e1"))
    stand.take(limit=1)
    stand.first.count_attempt("d1")
    stand.clock.sleep(DEADLINE_S)
    return source


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_whatever_is_asked_of_a_server_that_is_gone_it_is_unavailable_and_later_it_is_not(
    server: StoreServer, stand: Stand, end: str
) -> None:
    getattr(server, end)()
    for work in (READS | WRITES | ADMIT).values():
        with pytest.raises(StoreUnavailable):
            work(stand, stand.first)
    server.start()
    for work in (ADMIT | READS | WRITES).values():
        work(stand, stand.first)


def test_the_first_call_after_a_quick_restart_may_fail_but_the_second_does_not(
    server: StoreServer, stand: Stand, source: Held
) -> None:
    write = draft.clone(volume("v2"), source)
    server.restart()
    try:
        stand.commit(write)
    except StoreUnavailable:
        stand.commit(write)
    assert stand.value(stand.key("p1", "stats"))[b"clone"] == b"1"


def test_what_was_written_is_there_after_a_power_cut(
    server: StoreServer, stand: Stand, source: Held
) -> None:
    with stand.untouched():
        server.kill()
        server.start()
    assert stand.look_up(V1) == {V1: source}


def full(stand: Stand, _folder: Path) -> Callable[[], Any]:
    stand.raw.config_set("maxmemory", 1)
    return lambda: stand.raw.config_set("maxmemory", 0)


def read_only(stand: Stand, _folder: Path) -> Callable[[], Any]:
    stand.raw.execute_command("REPLICAOF", "127.0.0.1", "1")
    return lambda: stand.raw.execute_command("REPLICAOF", "NO", "ONE")


def unable_to_save(stand: Stand, folder: Path) -> Callable[[], Any]:
    """Let the next snapshot fail: there is a folder where its file should be."""
    stand.raw.config_set("save", "3600 1000000")
    (folder / "dump.rdb").mkdir()
    stand.raw.bgsave()
    while stand.raw.info("persistence")["rdb_last_bgsave_status"] == "ok":
        pass
    return lambda: stand.raw.config_set("stop-writes-on-bgsave-error", "no")


def lacking_replicas(stand: Stand, _folder: Path) -> Callable[[], Any]:
    stand.raw.config_set("min-replicas-to-write", 1)
    return lambda: stand.raw.config_set("min-replicas-to-write", 0)


STATES: dict[str, Callable[[Stand, Path], Callable[[], Any]]] = {
    "OOM": full,
    "READONLY": read_only,
    "MISCONF": unable_to_save,
    "NOREPLICAS": lacking_replicas,
}


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("error", STATES)
def test_a_server_that_takes_no_writes_is_unavailable_and_has_written_nothing(
    server: StoreServer, stand: Stand, error: str
) -> None:
    before = stand.contents()
    relieve = STATES[error](stand, server.folder)
    for name, work in WRITES.items():
        if error == "OOM" and name in DELETES:
            continue
        with pytest.raises(StoreUnavailable):
            work(stand, stand.first)
        assert stand.contents() == before, name
    for work in READS.values():
        work(stand, stand.first)
    relieve()
    for work in (ADMIT | WRITES).values():
        work(stand, stand.first)


def test_a_full_server_still_lets_events_leave(stand: Stand, source: Held) -> None:
    stand.raw.config_set("maxmemory", 1)
    stand.first.remove([ENTRY])
    stand.first.forget_attempts("d1")
    stand.raw.config_set("maxmemory", 0)
    assert stand.take() == []
    assert stand.first.count_attempt("d1") == 1
    assert stand.look_up(V1) == {V1: source}


RIGHTS = {
    "nothing": "resetkeys -@all +ping",
    "no-writes": "~* +@all -@write",
    "no-scripts": "~* +@all -@scripting",
    "no-hset": "~* +@all -hset",
    "no-zadd": "~* +@all -zadd",
    "no-hincrby": "~* +@all -hincrby",
    "no-hdel": "~* +@all -hdel",
    "no-zrangebylex": "~* +@all -zrangebylex",
    "no-hexists": "~* +@all -hexists",
    "no-hget": "~* +@all -hget",
    "no-hmget": "~* +@all -hmget",
    "no-sadd": "~* +@all -sadd",
    "dashboard": "%R~{0}:* +@all",
    "no-secrets": "~{0}:* +@all",
    "no-secrets-within-scripts": "~{0}:* +@all (~{0}:* ~{0}secret:* +eval +evalsha)",
    "no-records-within-scripts": "~{0}secret:* +@all (~{0}:* ~{0}secret:* +eval +evalsha +sadd)",
    "no-list-of-projects": "~{0}:{{* ~{0}secret:* +@all",
}


def without_list(stand: Stand) -> Contents:
    contents = stand.contents()
    del contents[stand.top("projects")]
    return contents


@pytest.mark.parametrize("rights", RIGHTS.values(), ids=RIGHTS)
def test_a_user_without_the_right_writes_nothing_by_halves(
    stand: Stand, source: Held, rights: str
) -> None:
    store = stand.store(stand.client_with(rights))
    before = without_list(stand)
    refused = []
    for name, work in WRITES.items():
        try:
            work(stand, store)
        except StoreUnavailable:
            refused.append(name)
            # Reports are best effort, and a project may be listed before it has a record.
            if name != "report":
                assert without_list(stand) == before, name
        before = without_list(stand)
    assert refused
    restored = stand.store()
    restored.look_up([source.assignment.item]).result()
    assert [a.status for a in restored.commit([draft.clone(volume("v7"), source)]).result()] == [
        WriteStatus.WRITTEN
    ]
    assert isinstance(restored.look_up([V1]).result()[V1], Held)


@pytest.mark.parametrize("rights", ["~* +@all -hmget", "~* +@all -evalsha", "resetkeys +@all"])
def test_a_user_who_may_not_look_finds_the_store_unavailable(
    stand: Stand, source: Held, rights: str
) -> None:
    store = stand.store(stand.client_with(rights))
    with pytest.raises(StoreUnavailable):
        store.look_up([source.assignment.item]).result()


def test_a_wrong_password_is_something_to_wait_for(stand: Stand) -> None:
    client = stand.client_as("worker", "another")
    with pytest.raises(StoreUnavailable):
        stand.store(client).look_up([V1]).result()
    assert stand.look_up(V1) == {V1: None}


def test_a_server_that_stalls_is_unavailable_and_its_late_answers_go_to_nobody(
    server: StoreServer, stand_on: StandOn
) -> None:
    stand = stand_on(server, 0.2)
    raw = stand_on(server).raw
    source = stand.put(draft.create(V1))
    write = draft.clone(volume("v2"), source)
    raw.client_pause(60_000, all=False)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            stand.commit(write)
    raw.client_unpause()
    # What was sent before the pause may have been done after it: asking again is safe.
    assert only(stand.commit(write)).assignment == write.assignment
    assert stand.look_up(V1) == {V1: source}
    assert stand.stats("p1") == {b"create": b"1", b"clone": b"1"}
