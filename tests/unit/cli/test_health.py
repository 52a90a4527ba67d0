"""``kmworker health``: progress, not an open socket."""

import json
import os

import pytest

from kmworker.cli.liveness import Verdict, judge
from kmworker.store.views.status import WorkerSeen
from kmworker.worker.incarnation import incarnation
from tests.kit.cli.stand import FilledStore, failed, run, said

NOW_S = 1_795_449_600.0


def seen(
    silent_s: float = 0.0, busy_s: float | None = None, state: str = "running", error: str = ""
) -> WorkerSeen:
    return WorkerSeen(
        worker_id="w1", seen_at=NOW_S - silent_s, is_live=True, host="blk01", pid=7, state=state,
        started_at=NOW_S - 900, last_batch_at=0.0,
        busy_since=0.0 if busy_s is None else NOW_S - busy_s, last_error=error,
    )  # fmt: skip


AWAY = "BrokerUnavailable: gone"
JUDGED = {
    "nothing at hand": (seen(), Verdict.IDLE),
    "a batch at hand": (seen(busy_s=59), Verdict.WORKING),
    "a batch at hand for too long": (seen(busy_s=61), Verdict.STUCK),
    "silent": (seen(silent_s=59), Verdict.IDLE),
    "silent for too long": (seen(silent_s=61), Verdict.STUCK),
    "broker away": (seen(busy_s=900, state="waiting", error=AWAY), Verdict.WAITING),
    "store away": (
        seen(busy_s=900, state="waiting", error="StoreUnavailable: gone"), Verdict.WAITING,
    ),
    "keyring too old": (
        seen(busy_s=900, state="waiting", error="UnknownKek: a record"), Verdict.STUCK,
    ),
    "the broker is back": (seen(busy_s=900, error=AWAY), Verdict.STUCK),
    "ended": (seen(silent_s=900, state="stopped"), Verdict.STOPPED),
}  # fmt: skip


@pytest.mark.parametrize(("worker", "verdict"), JUDGED.values(), ids=JUDGED)
def test_a_worker_is_judged_by_its_progress(worker: WorkerSeen, verdict: Verdict) -> None:
    assert judge(worker, NOW_S, 60)[0] is verdict


@pytest.fixture
def workers(store: FilledStore, monkeypatch: pytest.MonkeyPatch) -> FilledStore:
    """Two workers of this host, one that has died here, and one of another."""
    monkeypatch.setattr("kmworker.cli.health.now_of", lambda _views: NOW_S)
    place, _, _ = incarnation(os.getpid()).rpartition("/")
    running = {11: f"{place}/7", 12: f"{place}/8", 13: f"{place}/9"}
    monkeypatch.setattr("kmworker.cli.liveness.incarnation", lambda pid: running.get(pid, ""))
    for name, pid, began, busy_since in (
        ("idle", 11, f"{place}/7", 0.0),
        ("slow", 12, f"{place}/8", NOW_S - 75),
        # Its number is another worker's by now.
        ("died", 13, f"{place}/1", 0.0),
        ("far", 14, "elsewhere/7", 0.0),
    ):
        fields = {"host": "blk01", "pid": pid, "state": "running", "busy_since": busy_since}
        store.client.hset(f"km:worker:{name}", mapping={**fields, "incarnation": began})
        store.client.zadd("km:workers", {name: NOW_S - pid / 100})
    return store


def test_one_that_is_well_is_enough(workers: FilledStore) -> None:
    slow = "it has had events at hand for 75 s and finishes none"
    assert said(run("health")) == (
        0,
        f"idle     idle  it has no events at hand\nstuck    slow  {slow}\n",
        "",
    )


def test_one_process_is_judged_by_itself(workers: FilledStore) -> None:
    assert said(run("health", "--pid", "11"))[0] == 0
    assert said(run("health", "--pid", "12"))[0] == 1
    assert said(run("health", "--pid", "12", "--stuck-after", "80"))[0] == 0


@pytest.mark.parametrize("pid", [13, 14, 99])
def test_a_worker_that_does_not_run_here_is_none(workers: FilledStore, pid: int) -> None:
    err = failed(1, "health", "--pid", str(pid))
    assert f"no worker with pid {pid} runs on this host" in err
    assert "hint: start one with kmworker worker" in err


def test_a_program_gets_the_same(workers: FilledStore) -> None:
    code, out, _err = said(run("health", "--json"))
    found = json.loads(out)
    assert code == 0
    assert found["ok"] is True
    assert [(it["worker"], it["pid"], it["verdict"]) for it in found["workers"]] == [
        ("idle", 11, "idle"),
        ("slow", 12, "stuck"),
    ]


def test_an_incident_is_named_and_leaves_the_verdict_alone(workers: FilledStore) -> None:
    before = said(run("health"))
    workers.client.hset("km:commits", "incident", "3f2a9c1b")
    code, out, err = said(run("health"))
    assert (code, out) == before[:2]
    assert "kmworker: incident 3f2a9c1b: the store was rolled back" in err
    assert "kmworker accept 3f2a9c1b" in err
    shown = json.loads(run("health", "--json").stdout)["incident"]
    assert shown["detail"] == "incident 3f2a9c1b: the store was rolled back"


def test_while_an_incident_stands_nobody_is_told_to_start_a_worker(store: FilledStore) -> None:
    store.client.hset("km:commits", "incident", "3f2a9c1b")
    err = failed(1, "health")
    assert "kmworker: no worker runs on this host\nkmworker: incident 3f2a9c1b" in err
    assert "start one" not in err
