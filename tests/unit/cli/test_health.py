"""``kmworker health``: progress, not an open socket."""

import os

import pytest

from kmworker.clock import rfc3339
from kmworker.worker.incarnation import incarnation
from tests.kit.cli.stand import NOW_S, FilledStore, document, failed, run, said


@pytest.fixture
def workers(store: FilledStore, monkeypatch: pytest.MonkeyPatch) -> FilledStore:
    """Two workers of this host, one that has died here, and one of another."""
    monkeypatch.setattr("kmworker.cli.health.now_of", lambda _views: NOW_S)
    place, _, _ = incarnation(os.getpid()).rpartition("/")
    running = {11: f"{place}/7", 12: f"{place}/8", 13: f"{place}/9"}
    monkeypatch.setattr(
        "kmworker.cli.installation.workers.incarnation", lambda pid: running.get(pid, "")
    )
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
    idle = "idle     idle  it has no events at hand\n"
    stuck = "stuck    slow  it has had events at hand for 75 s and finishes none\n"
    assert said(run("health")) == (0, idle + stuck, "")


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
    found = document("health")
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
    assert (
        document("health")["incident"]["detail"] == "incident 3f2a9c1b: the store was rolled back"
    )


def test_while_an_incident_stands_nobody_is_told_to_start_a_worker(store: FilledStore) -> None:
    store.client.hset("km:commits", "incident", "3f2a9c1b")
    err = failed(1, "health")
    assert "kmworker: no worker runs on this host\nkmworker: incident 3f2a9c1b" in err
    assert "start one" not in err


def test_a_keyring_file_that_is_not_taken_up_is_named_and_leaves_the_exit_code_alone(
    workers: FilledStore,
) -> None:
    trouble = {"keyring_trouble": "root-away", "keyring_trouble_since": NOW_S - 60}
    for name in ("idle", "died", "far"):
        workers.client.hset(f"km:worker:{name}", mapping=trouble)
    code, _out, err = said(run("health"))
    assert code == 0
    since = rfc3339(NOW_S - 60)
    behind = f"idle has not taken up its keyring file since {since}: its root of trust does not"
    assert err.splitlines() == [
        f"kmworker: {behind} answer",
        "hint: mend the file, or what its root is; it is taken up by itself then",
    ]
    found = document("health")["keyring_troubles"]
    assert found == [{"worker": "idle", "trouble": "root-away", "since": NOW_S - 60}]
    assert said(run("health", "--pid", "12", "--stuck-after", "80"))[2] == ""
