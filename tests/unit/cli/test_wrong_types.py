"""Where somebody put something else in place of what dashboards read, all the rest is told."""

import os

import pytest

from kmworker.store.made_anew import MADE_ANEW
from kmworker.worker.incarnation import incarnation
from tests.kit.cli.stand import NOW_S, FilledStore, document, failed, run, said

DELETE = "hint: find out who wrote there, and delete it: it is written anew"
# What each part of `status --json` is read from.
PARTS = {
    "totals": "totals", "queues": "queues", "dead": "dead", "waiting": "due",
    "near_bound": "crowded", "rate": "minutes", "workers": "workers", "janitor": "janitor",
}  # fmt: skip


@pytest.fixture
def served(filled: FilledStore, monkeypatch: pytest.MonkeyPatch) -> FilledStore:
    """A store with one worker, which is this very process."""
    for command in ("health", "status", "doctor.store"):
        monkeypatch.setattr(f"kmworker.cli.{command}.now_of", lambda _views: NOW_S)
    filled.client.config_get = lambda *_names: {}
    filled.client.info = lambda _section: {"redis_version": "7.0.15"}
    filled.client.time = lambda: (int(NOW_S), 500_000)
    filled.client.hset("km:janitor", mapping={"id": "j1", "seen_at": NOW_S})
    filled.client.zadd("km:workers", {"w1": NOW_S})
    fields = {"host": "blk01", "pid": os.getpid(), "state": "running"}
    filled.client.hset("km:worker:w1", mapping={**fields, "incarnation": incarnation(os.getpid())})
    return filled


def spoil(store: FilledStore, key: str) -> str:
    """Put another type in its place; return how that is to be named."""
    store.client.delete(f"km:{key}")
    store.client.set(f"km:{key}", b"\xff" * 5000)
    return f"km:{key} is a string, and should be a {MADE_ANEW[key]}"


@pytest.mark.parametrize("key", MADE_ANEW)
def test_health_fails_over_no_key_of_another_type(served: FilledStore, key: str) -> None:
    named = spoil(served, key)
    code, _out, err = said(run("health"))
    assert code == 0
    assert f"kmworker: {named}\n{DELETE}\n" in err
    found = document("health")
    assert found["ok"] is (None if key == "workers" else True)
    assert [it["key"] for it in found["wrong_types"]] == [f"km:{key}"]


def test_without_what_workers_report_health_says_that_it_cannot_be_told(
    served: FilledStore,
) -> None:
    spoil(served, "workers")
    err = failed(0, "health", "--pid", str(os.getpid()))
    assert "it cannot be told whether a worker makes progress" in err
    assert "start one" not in err
    assert document("health")["workers"] is None


def test_a_process_that_is_not_there_is_told_without_what_workers_report(
    served: FilledStore,
) -> None:
    spoil(served, "workers")
    assert "no worker with pid 4194305 runs on this host" in failed(1, "health", "--pid", "4194305")


def test_a_stuck_worker_is_told_whatever_else_cannot_be_read(served: FilledStore) -> None:
    for key in MADE_ANEW.keys() - {"workers"}:
        spoil(served, key)
    served.client.hset("km:worker:w1", "busy_since", NOW_S - 75)
    found = document("health", code=1)
    assert (found["ok"], found["workers"][0]["verdict"]) == (False, "stuck")


def test_a_workers_report_of_another_type_is_named_and_nothing_is_concluded_from_it(
    served: FilledStore,
) -> None:
    served.client.delete("km:worker:w1")
    served.client.set("km:worker:w1", "x")
    code, _out, err = said(run("health"))
    assert code == 0
    assert f"kmworker: km:worker:w1 is no hash\n{DELETE}\n" in err
    assert "it cannot be told whether a worker makes progress" in err
    assert "km:worker:w1 is no hash" in run("status").stdout
    found = {it["check"]: it for it in document("doctor", code=1)["checks"]}
    assert found["workers"]["status"] == "failed"
    assert found["workers"]["detail"] == "km:worker:w1 is no hash"


@pytest.mark.parametrize("key", MADE_ANEW)
def test_status_names_the_key_and_shows_all_the_rest(served: FilledStore, key: str) -> None:
    before = document("status")
    named = spoil(served, key)
    code, out, err = said(run("status"))
    assert (code, err) == (0, "")
    assert named in out
    assert DELETE in out
    found = document("status")
    parts = {name for name, of in PARTS.items() if of == key}
    assert {name for name in PARTS if found[name] is None} - parts == (
        {"rate"} if key != "minutes" else set()
    )
    assert all(found[name] is None for name in parts)
    assert all(found[name] == before[name] for name in PARTS.keys() - parts)
    assert out.count("not to be read: its key has another type") == len(parts - {"near_bound"})


@pytest.mark.parametrize("key", MADE_ANEW)
def test_doctor_names_the_key_and_what_to_do(served: FilledStore, key: str) -> None:
    named = spoil(served, key)
    found = {it["check"]: it for it in document("doctor", code=1)["checks"]}
    reports = found["reports"]
    assert (reports["status"], reports["detail"]) == ("failed", named)
    assert f"hint: {reports['hint']}" == DELETE
    assert found["workers"]["status"] == ("not checked" if key == "workers" else "ok")
    is_told = key not in {"janitor", "totals"}
    assert found["janitor"]["status"] == ("ok" if is_told else "not checked")
