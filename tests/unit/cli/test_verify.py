"""``kmworker verify``: what it says, how it ends, and how it goes on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.client import Pipeline

from kmworker.crypto import Keyring
from kmworker.verify.scan import counters
from kmworker.verify.scan.verification import Audit
from tests.kit.builders import event_of, snapshot, volume
from tests.kit.cli.stand import FilledStore, documents, failed, family, run, said

V1 = volume("v1")


@pytest.fixture
def filled(filled: FilledStore) -> FilledStore:
    """Two projects with a family each."""
    filled.assign(*family("p2"))
    return filled


def test_a_sound_store_is_a_line_and_exit_code_0(filled: FilledStore) -> None:
    before = filled.dump()
    code, out, err = said(run("verify"))
    assert (code, out, err) == (0, "looked at 38 records and entries: nothing is wrong\n", "")
    assert filled.dump() == before


def test_a_finding_says_where_what_and_what_to_do(filled: FilledStore) -> None:
    filled.change("p1", "items", "snapshot:s1", b'"node":null', b'"node":"me"')
    filled.client.hset("km:{p2}:stats", "reuse", 7)
    wanted = (
        "seal-broken  p1 items snapshot:s1: its seal does not fit what it says, or its place;"
        " find out who wrote to the store, and restore the record from a backup\n"
        "stats-wrong  p2 stats reuse: it says 7, and counting gives 1;"
        " kmworker verify --repair puts it right\n"
        "looked at 38 records and entries: 2 findings\n"
    )
    assert said(run("verify")) == (1, wanted, "")


def test_the_same_for_a_program(filled: FilledStore) -> None:
    filled.client.hset("km:{p2}:stats", "reuse", 7)
    assert documents("verify", code=1) == [
        {
            "problem": "stats-wrong",
            "project": "p2",
            "key": "stats",
            "field": "reuse",
            "says": "it says 7, and counting gives 1",
            "advice": "kmworker verify --repair puts it right",
            "repairable": True,
            "repaired": False,
        },
        {"complete": True, "looked_at": 38, "findings": 1, "repaired": 0, "from": None},
    ]


def test_a_repair_that_leaves_nothing_wrong_is_exit_code_0(filled: FilledStore) -> None:
    before = filled.dump()
    filled.client.hset("km:{p2}:stats", "reuse", 7)
    wanted = (
        "stats-wrong  p2 stats reuse: it says 7, and counting gives 1; repaired\n"
        "looked at 38 records and entries: 1 finding, 1 repaired\n"
    )
    assert said(run("verify", "--repair")) == (0, wanted, "")
    assert filled.dump() == before
    assert said(run("verify", "--repair"))[1].endswith("nothing is wrong\n")


def test_a_repair_that_leaves_something_wrong_is_exit_code_1(filled: FilledStore) -> None:
    filled.client.hset("km:{p2}:stats", "reuse", 7)
    filled.client.hdel("kmsecret:{p1}:deks", filled.scope_id(V1))
    *_, summary = documents("verify", "--repair", code=1)
    assert (summary["findings"], summary["repaired"]) == (2, 1)


def test_what_changed_before_its_repair_is_left_alone(
    filled: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.client.hset("km:{p2}:stats", "reuse", 7)
    steps = Audit.steps

    def slow(audit: Audit) -> Iterator[Any]:
        for step in steps(audit):
            if step[1]:
                filled.client.hset("km:{p2}:stats", "reuse", 8)
            yield step

    monkeypatch.setattr(Audit, "steps", slow)
    result = run("verify", "--repair")
    assert result.exit_code == 1
    assert "; not repaired, it changed meanwhile: run it again\n" in result.stdout
    assert filled.client.hget("km:{p2}:stats", "reuse") == b"8"


def test_what_rests_on_a_flawed_record_is_not_promised_to_be_repaired(filled: FilledStore) -> None:
    filled.change("p1", "items", "snapshot:s1", b'"node":null', b'"node":"me"')
    filled.client.hset("km:{p1}:stats", "reuse", 7)
    for arguments in ([], ["--repair"]):
        (_, finding, _) = documents("verify", *arguments, code=1)
        assert (finding["repairable"], finding["repaired"]) == (False, False)
        assert finding["advice"].endswith("once the project's records are sound and it rests")
    assert filled.client.hget("km:{p1}:stats", "reuse") == b"7"


def test_records_that_are_gone_with_their_project_are_missed(filled: FilledStore) -> None:
    for name in filled.client.keys("*{p2}*"):
        filled.client.delete(name)
    (lost,) = (it for it in documents("verify", code=1) if it.get("problem") == "commits-lost")
    assert (lost["key"], lost["field"], lost["repairable"]) == ("commits", "number", False)
    assert "records are lost" in lost["says"]
    assert "kmworker accept" in lost["advice"]


def test_an_incident_is_a_finding(filled: FilledStore) -> None:
    filled.client.hset("km:commits", "incident", "abc")
    (lost,) = (it for it in documents("verify", code=1) if it.get("problem") == "commits-lost")
    assert lost["says"].endswith("incident abc")


def test_one_project_alone(filled: FilledStore) -> None:
    filled.client.hset("km:{p2}:stats", "reuse", 7)
    assert said(run("verify", "--project", "p1"))[0] == 0
    (finding, summary) = documents("verify", "--project", "p2", code=1)
    assert (finding["project"], summary["looked_at"]) == ("p2", 19)


def test_without_its_keyring_nothing_is_verified(filled: FilledStore, folder: Path) -> None:
    assert failed(2, "verify", keyring__path="nowhere").startswith("kmworker: keyring ")
    Keyring.generate(folder / "other")
    err = failed(2, "verify", keyring__path="other")
    assert f"under KEK {filled.custody.kek_id}, which this keyring lacks" in err


# --- stopping and going on --------------------------------------------------------------


def stop(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Press Ctrl-C after so many steps."""
    steps = Audit.steps

    def stopped(audit: Audit) -> Iterator[Any]:
        for number, step in enumerate(steps(audit)):
            if number == after:
                raise KeyboardInterrupt
            yield step

    monkeypatch.setattr(Audit, "steps", stopped)


def test_ctrl_c_says_where_it_was_and_how_to_go_on(
    filled: FilledStore, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    (folder / "my settings.toml").touch()
    stop(monkeypatch, 6)
    result = run("--config", "my settings.toml", "verify", "--project", "p1", "--repair")
    command = "kmworker --config 'my settings.toml' verify --project p1 --repair --from p1,"
    first, second = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (130, "")
    assert first.startswith("kmworker: stopped in project p1, at ")
    assert second.startswith(f"kmworker: to go on: {command}")


def test_before_it_has_begun_there_is_nowhere_to_go_on_from(
    filled: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(monkeypatch, 0)
    (summary,) = documents("verify", code=130)
    assert summary == {
        "complete": False, "looked_at": 0, "findings": 0, "repaired": 0, "from": None,
    }  # fmt: skip


def test_wherever_it_stops_what_goes_on_from_there_misses_nothing(
    filled: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for project in ("p1", "p2"):
        filled.client.hincrby(f"km:{{{project}}}:stats", "reuse", 7)
        filled.client.zadd(f"km:{{{project}}}:lineage", {"text": 0})
        filled.client.hset(f"km:{{{project}}}:items", "volume:x", "{}")
    *whole, _summary = documents("verify", code=1)
    for steps in range(36):
        with monkeypatch.context() as patch:
            stop(patch, steps)
            *before, summary = documents("verify", code=130)
        assert summary["complete"] is False
        going_on = ["--from", summary["from"]] if summary["from"] else []
        *after, _summary = documents("verify", *going_on, code=1 if summary["findings"] < 6 else 0)
        found = {json.dumps(it) for it in [*before, *after]}
        assert found == {json.dumps(it) for it in whole}, f"stopped after {steps} steps"


def test_a_store_that_goes_away_is_exit_code_3(
    filled: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = 0
    execute = Pipeline.execute

    def failing(pipeline: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal number
        number += 1
        if number > 8:
            raise redis.ConnectionError
        return execute(pipeline, *arguments, **named)

    monkeypatch.setattr(Pipeline, "execute", failing)
    err = failed(3, "verify")
    assert "kmworker: to go on: kmworker verify --from p1," in err
    assert "kmworker: the store is gone\n" in err


@pytest.mark.parametrize("token", ["", "p1", "p1,items,0", "p1,items,x,", ",items,0,", "p,a,b,c,d"])
def test_a_token_that_is_none_is_wrong_usage(filled: FilledStore, token: str) -> None:
    err = failed(2, "verify", "--from", token)
    assert err.startswith(f"kmworker: --from {token}: not what a stopped verify has printed\n")


def test_a_stage_that_is_not_there_is_wrong_usage(filled: FilledStore) -> None:
    assert "this release has no such stage" in failed(2, "verify", "--from", "p1,elsewhere,0,")


# --- counting in slices -----------------------------------------------------------------


def test_counting_in_slices_finds_the_same(
    filled: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.assign(*(event_of(volume(f"v{n}", "p1")) for n in range(10, 30)))
    filled.assign(
        *(event_of(snapshot(f"s{n}", "p1"), volume(f"v{n}", "p1")) for n in range(10, 30))
    )
    filled.client.hincrby("km:{p1}:holders", filled.key_id(volume("v11")), 1)
    filled.client.hset("km:{p1}:keys", "unused", "{}")
    filled.client.hincrby("km:{p1}:stats", "reuse", 1)
    whole = documents("verify", code=1)
    monkeypatch.setattr(counters, "SLICE_ITEMS", 5)
    sliced = documents("verify", code=1)
    assert sorted(map(json.dumps, sliced[:-1])) == sorted(map(json.dumps, whole[:-1]))


def test_who_may_not_list_keys_is_told_what_is_not_looked_for(
    filled: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_named: object) -> None:
        raise redis.exceptions.NoPermissionError

    monkeypatch.setattr(filled.client, "scan_iter", refuse)
    code, out, err = said(run("verify"))
    assert (code, out) == (0, "looked at 38 records and entries: nothing is wrong\n")
    assert err == (
        "kmworker: projects that km:projects lacks are not looked for: this user may not SCAN\n"
    )
