"""``kmworker status``, from what workers leave in the store."""

import json
import time

import pytest

from kmworker.store.reports import RedisReports
from kmworker.tally import QueueCounts, Report
from tests.unit.builders import event_of, snapshot, volume
from tests.unit.cli.stand import FilledStore, family, run, said

NOW_S = 1_795_449_600.0
FRESH = """\
totals        none yet: no worker has counted
queues        not counted yet
dead letters  none
waiting       0 events
rate          not known yet: workers report once a minute
workers       0 live
"""
BUSY = """\
records       items 4, keys 3, scopes 2  (counted 1 s ago)
items by      create 2, clone 1, reuse 1, none 0
queues        work 1,200, dead 2 ready, 3 consumers  (counted 1 s ago)
dead letters  conflict 1, malformed 2
waiting       1 event, the oldest snapshot:s9 of project p2 for volume:v9, since S, until D
rate          2.0 assignments/s, 0.5 repeats/s over 60 s; p50 3.2 ms, p99 9.9 ms
workers       1 live of 3 seen today

worker            seen       started    last batch  last error
w-live   live     1 s ago    2 min ago  4 s ago
w-gone   gone     20 s ago   2 min ago  never       StoreUnavailable: the store is gone
w-ended  stopped  3 min ago  2 min ago  never
"""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmworker.cli.status.time", lambda: NOW_S)


def report(store: FilledStore, worker_id: str, seen_s_ago: float, **fields: str | float) -> None:
    """Report as a worker does."""
    minute: dict[str, str | float] = {
        "worker": worker_id,
        "create": 100,
        "reuse": 20,
        "repeat": 30,
        "latency_p50_ms": 3.2,
        "latency_p99_ms": 9.9,
    }
    RedisReports(store.client, store.names, time.monotonic).write(
        Report(
            worker_id=worker_id,
            seen_at=NOW_S - seen_s_ago,
            fields={"host": "blk01", "pid": 7, "state": "running", "started": NOW_S - 120,
                    "last_batch": 0.0, "last_error": "", **fields},
            feed=[],
            minute=minute if worker_id == "w-live" else None,
            queues=QueueCounts(1200, 2, 3) if worker_id == "w-live" else None,
        )
    )  # fmt: skip


def busy(store: FilledStore) -> None:
    """Fill a store with everything there is to show."""
    store.assign(*family())
    report(store, "w-ended", 180, state="stopped")
    report(store, "w-gone", 20, last_error="StoreUnavailable: the store is gone")
    report(store, "w-live", 1, last_batch=NOW_S - 4)
    store.client.hset("km:dead", mapping={"malformed": 2, "conflict": 1})
    store.client.sadd("km:projects", "p2")
    waiting = {"item": "snapshot:s9", "source": "volume:v9", "since": "S", "deadline": "D"}
    store.client.hset("km:{p2}:waiting", "entry", json.dumps(waiting))
    store.client.zadd("km:{p2}:waiting:deadlines", {"entry": NOW_S + 60})
    # As if it had been written just now by the clock above.
    ((_id, fields),) = store.client.xrange("km:minutes")
    store.client.delete("km:minutes")
    store.client.xadd("km:minutes", fields, id=f"{int(NOW_S * 1000)}-0")


def test_a_store_that_no_worker_has_used_has_a_status(store: FilledStore) -> None:
    assert said(run("status")) == (0, FRESH, "")


def test_a_busy_installation_in_one_look(store: FilledStore) -> None:
    busy(store)
    code, out, err = said(run("status"))
    assert (code, err) == (0, "")
    assert out.splitlines() == BUSY.splitlines()


def test_the_same_as_json(store: FilledStore) -> None:
    busy(store)
    found = json.loads(run("status", "--json").stdout)
    assert found["totals"]["items"] == 4
    assert found["queues"] == {"work": 1200, "dead": 2, "consumers": 3}
    assert found["dead"] == {"malformed": 2, "conflict": 1}
    assert found["oldest_waiting"]["project"] == "p2"
    assert found["rate"]["assigned_per_s"] == 2.0
    assert [(it["worker_id"], it["is_live"]) for it in found["workers"]] == [
        ("w-live", True),
        ("w-gone", False),
        ("w-ended", False),
    ]


def test_the_oldest_waiting_event_is_that_of_the_nearest_deadline(store: FilledStore) -> None:
    busy(store)
    waiting = {"item": "snapshot:s1", "source": "volume:v1", "since": "S", "deadline": "D"}
    store.client.hset("km:{p1}:waiting", "other", json.dumps(waiting))
    store.client.zadd("km:{p1}:waiting:deadlines", {"other": NOW_S + 30})
    found = json.loads(run("status", "--json").stdout)
    assert (found["waiting"], found["oldest_waiting"]["item"]) == (2, "snapshot:s1")


def test_a_really_parked_event_is_the_oldest(store: FilledStore) -> None:
    store.assign(event_of(snapshot("s1"), volume("v1")))
    found = json.loads(run("status", "--json").stdout)
    oldest = found["oldest_waiting"]
    assert (found["waiting"], oldest["item"], oldest["source"]) == (1, "snapshot:s1", "volume:v1")


def test_what_someone_has_scribbled_over_does_not_stop_it(store: FilledStore) -> None:
    busy(store)
    store.client.hset("km:totals", "items", "many")
    store.client.hset("km:{p2}:waiting", "entry", "[")
    store.client.hset("km:worker:w-live", "last_error", b"\xff\x1b[2J")
    code, out, _ = said(run("status"))
    assert code == 0
    assert "items 0" in out
    assert "\x1b" not in out


def test_a_key_of_the_wrong_type_is_complained_of(store: FilledStore) -> None:
    store.client.set("km:totals", "x")
    code, _, err = said(run("status"))
    assert code == 1
    assert err.startswith("kmworker: integrity: the store holds a key of the wrong type")


def test_an_unreachable_store_is_told_by_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMWORKER_STORE__URL", "redis://127.0.0.1:1")
    code, out, err = said(run("status"))
    assert (code, out) == (3, "")
    assert err.startswith("kmworker: the store refuses: ")


def test_nothing_is_written_to_the_store(store: FilledStore) -> None:
    busy(store)
    before = store.dump()
    run("status")
    assert store.dump() == before
