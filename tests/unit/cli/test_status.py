"""``kmworker status``, from what workers leave in the store."""

import json

import pytest

from kmworker.clock import rfc3339
from kmworker.ports import QueueCounts, Report
from kmworker.store.reports import RedisReports
from tests.kit.cli.delegating import add_client, hand_out, report_key_server
from tests.kit.cli.stand import NOW_S, FilledStore, document, family, run, said

BUSY = """\
records       items 4, keys 3, scopes 2  (counted 1 s ago)
items by      create 2, clone 1, reuse 1, none 0
key-ids due   2, the first in 29 d
outbox        1 change to be announced
KEK           {kek_id} active: 9 records, 2 DEKs, 1 project; up to 2,048 wraps in one
KEK           unknown: 1 record, 0 DEKs, 1 project
KEKs counted  1 s ago
queues        work 1,200, dead 2 ready, 3 consumers  (counted 1 s ago)
dead letters  conflict 1, malformed 2
waiting       1 event, the oldest snapshot:s9 of project p2 for volume:v9, since S, until D
rate          2.0 assignments/s, 0.5 repeats/s over 60 s; p50 3.2 ms, p99 9.9 ms
workers       1 live of 3 seen today
janitor       j-1, seen 30 s ago; destroyed 4, lapsed 0, put right 1, forgotten 1,200, stopped 0

worker            seen       started    last batch  last error
w-live   live     1 s ago    2 min ago  4 s ago
w-gone   gone     20 s ago   2 min ago  never       StoreUnavailable: the store is gone
w-ended  stopped  3 min ago  2 min ago  never
"""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmworker.cli.status.now_of", lambda _views: NOW_S)


DAY_S = 86_400


def janitor(store: FilledStore, seen_s_ago: float) -> None:
    """Report as a janitor does."""
    done = {"destroyed": 4, "lapsed": 0, "put_right": 1, "forgotten": 1200, "stopped": 0}
    store.client.hset("km:janitor", mapping={"id": "j-1", "seen_at": NOW_S - seen_s_ago, **done})


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
    reports = RedisReports(store.client, store.names, "w1", lambda: 0.0)
    reports.write(
        Report(
            worker_id=worker_id,
            seen_at=NOW_S - seen_s_ago,
            fields={"host": "blk01", "pid": 7, "state": "running", "started": NOW_S - 120,
                    "last_batch": 0.0, "last_error": "", **fields},
            feed=[],
            minute=minute if worker_id == "w-live" else None,
            queues=QueueCounts(1200, 2, 3) if worker_id == "w-live" else None,
        )
    ).result()  # fmt: skip
    for _ in range(9 if worker_id == "w-live" else 0):
        reports.count_if_due(NOW_S - seen_s_ago)


def busy(store: FilledStore) -> None:
    """Fill a store with everything there is to show."""
    store.assign(*family())
    store.client.hset("km:{p1}:outbox", "key 2", "{}")
    store.client.zadd("km:{p1}:keys:due", {"k1": NOW_S + 29 * DAY_S, "k2": NOW_S + 30 * DAY_S})
    janitor(store, 30)
    report(store, "w-ended", 180, state="stopped")
    report(store, "w-gone", 20, last_error="StoreUnavailable: the store is gone")
    report(store, "w-live", 1, last_batch=NOW_S - 4)
    store.client.hset("km:dead", mapping={"malformed": 2, "conflict": 1})
    store.client.sadd("km:projects", "p2")
    waiting = {"item": "snapshot:s9", "source": "volume:v9", "since": "S", "deadline": "D"}
    store.client.hset("km:{p2}:waiting", "entry", json.dumps(waiting))
    store.client.zadd("km:{p2}:waiting:deadlines", {"entry": NOW_S + 60})
    store.client.zadd("km:due", {"p2": NOW_S + 60})
    # As if it had been written just now by the clock above.
    ((_id, fields),) = store.client.xrange("km:minutes")
    store.client.delete("km:minutes")
    store.client.xadd("km:minutes", fields, id=f"{int(NOW_S * 1000)}-0")


def test_a_busy_installation_in_one_look(store: FilledStore) -> None:
    busy(store)
    code, out, err = said(run("status"))
    assert (code, err) == (0, "")
    assert out.splitlines() == BUSY.format(kek_id=store.custody.kek_id).splitlines()


DELEGATING = """\
key servers   1 live of 2 seen today; delivered 12, refused 3, dropped 0, waiting 0
trust list    7, until 2027-11-23T16:00:00.000Z
clients       4, 1 of them revoked
trouble       identities older than 365 d: of blk-3, blk-1
              hint: on each host: kmworker client init --renew (docs/delegating.md)
"""


def test_what_delegation_needs_is_told_once_there_is_any(store: FilledStore) -> None:
    busy(store)
    assert "key servers" not in run("status").stdout
    hand_out(store)
    report_key_server(store, "k-1", delivered=12, refused=3)
    report_key_server(store, "k-gone", 20, trouble="long ago")
    add_client(store, "blk-1", 366)
    add_client(store, "blk-2", 800, renewed_days=300)
    add_client(store, "blk-3", 900, renewed_days=500)
    add_client(store, "blk-4", 900, is_revoked=True)
    assert DELEGATING in run("status").stdout
    found = document("status")["delegation"]
    assert found["clients"] == {"number": 4, "revoked": 1, "aged": ["blk-3", "blk-1"]}
    assert [it["server_id"] for it in found["key_servers"]] == ["k-1", "k-gone"]
    assert found["trust"]["number"] == 7


def test_what_keeps_clients_from_their_keys_is_told(store: FilledStore) -> None:
    busy(store)
    hand_out(store, 3)
    out = run("status").stdout
    assert "key servers   none was seen today\n              hint: start one" in out
    assert "trouble       it ends in 3 d: no client believes a key server then\n" in out
    hand_out(store, -3)
    report_key_server(store, "k-1", trouble="BrokerUnavailable: away")
    out = run("status").stdout
    assert "trouble       key server k-1: BrokerUnavailable: away\n" in out
    assert "trouble       it is over since 2026-11-20" in out


@pytest.mark.parametrize("key", ["trust", "clients"])
def test_what_stands_in_place_of_a_record_hides_nothing_else(store: FilledStore, key: str) -> None:
    busy(store)
    hand_out(store)
    add_client(store, "blk-1", 366)
    store.client.delete(f"km:{key}")
    store.client.set(f"km:{key}", "x")
    out = run("status").stdout
    assert "totals" not in out
    assert "records       items 4" in out
    assert ("what is in its place is no list" in out) == (key == "trust")
    assert ("clients       0" in out) == (key == "clients")


def test_what_the_audit_trail_does_not_take_is_told(store: FilledStore) -> None:
    busy(store)
    assert not [it for it in run("status").stdout.splitlines() if it.startswith("audit")]
    store.client.hset("km:totals", "unrecorded", 2)
    assert "audit         2 changes to be recorded" in run("status").stdout.splitlines()


def test_what_others_keep_a_living_worker_from_doing_is_told(store: FilledStore) -> None:
    busy(store)
    store.client.hset("km:worker:w-live", "trouble", "kmworker.dead: no room")
    store.client.hset("km:worker:w-gone", "trouble", "long ago")
    out = run("status").stdout
    assert "trouble       kmworker.dead: no room" in out.splitlines()
    assert "long ago" not in out


def test_a_worker_whose_clock_is_wrong_is_told(store: FilledStore) -> None:
    busy(store)
    store.client.hset("km:worker:w-live", "clock_ahead_s", "7199.8")
    store.client.hset("km:worker:w-gone", "clock_ahead_s", "-100")
    lines = run("status").stdout.splitlines()
    assert "trouble       the clock of blk01 is 7,200 s ahead of the store's" in lines
    assert "100 s" not in "".join(lines)
    found = document("status")["workers"]
    assert [it["clock_ahead_s"] for it in found] == [7199.8, -100.0, 0.0]
    store.client.hset("km:worker:w-live", "clock_ahead_s", "4.9")
    assert "clock" not in run("status").stdout


def test_old_counts_say_how_old_they_are_and_that_nobody_lives(store: FilledStore) -> None:
    store.client.hset("km:queues", mapping={"work": 0, "dead": 0, "consumers": 2})
    store.client.hset("km:queues", "seen_at", NOW_S - 3 * 3600)
    found = "queues        work 0, dead 0 ready, 2 consumers  (as of 3 h ago; no worker is alive)"
    assert found in run("status").stdout.splitlines()


def test_a_broker_that_answers_is_believed_and_one_that_does_not_is_named(
    store: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KMWORKER_BROKER__URL", "amqp://127.0.0.1:1")
    lines = run("status").stdout.splitlines()
    assert any(line.startswith("broker        not asked: amqp://127.0.0.1:1: ") for line in lines)
    monkeypatch.setattr("kmworker.cli.status.count_queues", lambda _: QueueCounts(3000, 0, 0))
    lines = run("status").stdout.splitlines()
    assert "queues        work 3,000, dead 0 ready, 0 consumers  (as the broker says)" in lines
    found = document("status")
    assert (found["queues"]["work"], found["queues_asked"]) == (3000, True)


def test_an_incident_comes_before_all_else(store: FilledStore) -> None:
    busy(store)
    store.client.hset("km:commits", "incident", "3f2a9c1b")
    code, out, _ = said(run("status"))
    first, hint, *_ = out.splitlines()
    assert code == 0
    assert first == "incident      3f2a9c1b: the store was rolled back"
    assert hint.strip().startswith("hint: end all workers")
    assert hint.endswith("kmworker accept 3f2a9c1b")
    assert document("status")["incident"]["detail"].endswith("rolled back")


def test_commits_that_someone_wrote_over_are_an_incident_too(store: FilledStore) -> None:
    store.client.set("km:commits", "x")
    assert "km:commits does not hold a number of commits" in run("status").stdout.splitlines()[0]


def test_a_project_near_its_bound_is_named(store: FilledStore) -> None:
    """By status and health, with what its bounds are."""
    busy(store)
    crowd = {"events": 9, "bytes": 900, "events_max": 10, "bytes_max": 1_000_000}
    store.client.hset("km:crowded", "acme zeta", json.dumps(crowd))
    said_of_it = "project acme for items of zeta 90% (9 events of 10)"
    assert f"near bound    {said_of_it}" in run("status").stdout.splitlines()
    found = document("status")["near_bound"]
    assert [(it["project"], it["events"]) for it in found] == [("acme", 9)]
    assert said_of_it in run("health").stderr


@pytest.mark.parametrize(
    ("seen_s_ago", "said_of_it", "hint"),
    [
        (None, "and no janitor was ever seen", "start one: kmworker janitor"),
        (2 * DAY_S, "janitor j-1 was last seen 2 d ago", "start one: kmworker janitor"),
        (30, "janitor j-1 was last seen 30 s ago", "the janitor's log says what keeps it"),
    ],
)
def test_what_is_overdue_by_a_day_is_told_with_who_was_seen(
    store: FilledStore, seen_s_ago: float | None, said_of_it: str, hint: str
) -> None:
    busy(store)
    store.client.delete("km:janitor")
    if seen_s_ago is not None:
        janitor(store, seen_s_ago)
    store.client.hset("km:totals", "next_due", NOW_S - 1 - DAY_S)
    assert "overdue" not in run("status").stdout
    store.client.hset("km:totals", "next_due", NOW_S - 1 - 3 * DAY_S)
    out = run("status").stdout
    assert "overdue       a key-id was due 3 d before they were counted" in out
    assert said_of_it in out
    assert hint in out


def test_what_was_done_since_it_was_counted_is_not_taken_for_overdue(store: FilledStore) -> None:
    busy(store)
    was = {"computed_at": NOW_S - 5 * DAY_S, "next_due": NOW_S - 5 * DAY_S}
    store.client.hset("km:totals", mapping=was)
    assert "overdue" not in run("status").stdout


def test_for_a_program_what_is_due_and_who_does_it_are_numbers(store: FilledStore) -> None:
    busy(store)
    found = document("status")
    assert (found["totals"]["due"], found["totals"]["outbox"]) == (2, 1)
    assert found["due"] == {
        "key_ids": 2, "next_at": NOW_S + 29 * DAY_S, "computed_at": NOW_S - 1
    }  # fmt: skip
    assert (found["janitor"]["janitor_id"], found["janitor"]["destroyed"]) == ("j-1", 4)


def test_whose_keyring_file_is_not_taken_up_is_told_and_since_when(store: FilledStore) -> None:
    busy(store)
    trouble = {"keyring_trouble": "root-away", "keyring_trouble_since": NOW_S - 60}
    for key in ("km:worker:w-live", "km:worker:w-gone", "km:janitor"):
        store.client.hset(key, mapping=trouble)
    lines = run("status").stdout.splitlines()
    since = rfc3339(NOW_S - 60)
    behind = f"has not taken up its keyring file since {since}: its root of trust does not answer"
    told = [line for line in lines if "keyring file" in line]
    assert told == [f"trouble       w-live {behind}", f"trouble       janitor j-1 {behind}"]
    found = document("status")
    assert {it["keyring_trouble"] for it in found["workers"]} == {"root-away", ""}
    assert found["janitor"]["keyring_trouble_since"] == NOW_S - 60


def test_what_is_under_each_kek_is_apart_from_the_totals(store: FilledStore) -> None:
    busy(store)
    store.client.hset("km:totals", "records:unknown", 3)
    found = document("status")
    assert found["totals"].keys() == {"items", "keys", "scopes", "waiting", "create", "clone",
                                      "reuse", "none", "outbox", "unrecorded", "due"}  # fmt: skip
    ours, unknown = found["keks"]
    assert (ours["kek_id"], ours["state"]) == (store.custody.kek_id, "active")
    assert (ours["records"], ours["deks"], ours["projects"], ours["wraps"]) == (9, 2, 1, 2048)
    assert (unknown["kek_id"], unknown["records"]) == ("unknown", 3)
    assert found["keks_counted_at"] == NOW_S - 1


def test_keks_that_nobody_has_counted_are_shown(store: FilledStore) -> None:
    store.assign(*family())
    assert f"KEK           {store.custody.kek_id} active: not counted yet" in run("status").stdout
    store.client.hset("km:keyring", "states", "no JSON")
    assert "KEK" not in run("status").stdout.replace("KEK file", "")
