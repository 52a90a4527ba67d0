"""``kmworker list``, over a store that the worker's own code has filled."""

import json
from typing import Any

import pytest

from kmworker.cli.terminal import rows
from kmworker.domain.event import UNENCRYPTED
from kmworker.store import inspection
from kmworker.store.views import lists
from tests.kit.builders import event_of, snapshot, volume
from tests.kit.cli.stand import FilledStore, documents, run, said


def listed(*arguments: str) -> list[dict[str, Any]]:
    return documents("list", *arguments)


def refs(*options: str) -> set[str]:
    return {f"{it['project']}/{it['ref']}" for it in listed("items", *options)}


@pytest.fixture
def filled(filled: FilledStore) -> FilledStore:
    """Two projects with items, and one in which an event waits."""
    filled.assign(
        event_of(volume("v1", "p2")),
        event_of(volume("plain", "p2"), encryption=UNENCRYPTED),
        event_of(snapshot("s9", "p3"), volume("gone", "p3")),
    )
    return filled


def test_projects_are_listed_with_how_much_they_have(filled: FilledStore) -> None:
    found = {it.pop("project"): it for it in listed("projects")}
    assert found == {
        "p1": {"items": 4, "keys": 3, "scopes": 2, "waiting": 0},
        "p2": {"items": 2, "keys": 1, "scopes": 1, "waiting": 0},
        "p3": {"items": 0, "keys": 0, "scopes": 0, "waiting": 1},
    }


@pytest.mark.parametrize(
    ("options", "found"),
    [(["--match", "p[12]"], {"p1", "p2"}), (["--waiting"], {"p3"}), (["--match", "x*"], set())],
)
def test_projects_that_are_meant(filled: FilledStore, options: list[str], found: set[str]) -> None:
    assert {it["project"] for it in listed("projects", *options)} == found


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], {"p1/volume:v1", "p1/snapshot:s1", "p1/volume:v2", "p1/volume:v3", "p2/volume:v1",
              "p2/volume:plain"}),
        (["--project", "p2"], {"p2/volume:v1", "p2/volume:plain"}),
        (["--kind", "snapshot"], {"p1/snapshot:s1"}),
        (["--disposition", "create"], {"p1/volume:v1", "p1/volume:v3", "p2/volume:v1"}),
        (["--disposition", "none"], {"p2/volume:plain"}),
        (["--kind", "volume", "--disposition", "clone"], {"p1/volume:v2"}),
        (["--since", "2099-01-01T00:00:00Z"], set()),
        (["--since", "2001-01-01T00:00:00Z", "--kind", "snapshot"], {"p1/snapshot:s1"}),
        (["--state", "suspended"], {"p1/volume:v2"}),
    ],
)  # fmt: skip
def test_items_that_are_meant(filled: FilledStore, options: list[str], found: set[str]) -> None:
    suspended = filled.key_id(volume("v2"))
    filled.change("p1", "keys", suspended, b'"active"', b'"suspended"')
    assert refs(*options) == found


def test_an_item_is_listed_with_its_data_and_its_keys_state(filled: FilledStore) -> None:
    (found,) = listed("items", "--kind", "snapshot")
    record = json.loads(filled.client.hget("km:{p1}:items", "snapshot:s1"))
    assert found == {
        "project": "p1", "ref": "snapshot:s1", "key_state": "active", "data": record["data"],
    }  # fmt: skip
    (plain,) = listed("items", "--disposition", "none")
    assert plain["key_state"] is None


def test_keys_are_listed_with_their_holders(filled: FilledStore) -> None:
    found = {it["key_id"]: it for it in listed("keys", "--project", "p1")}
    own, clone = filled.key_id(volume("v1")), filled.key_id(volume("v2"))
    assert len(found) == 3
    assert (found[own]["holders"], found[clone]["holders"]) == (2, 1)
    filled.client.hset("km:{p1}:holders", own, "9" * 5000)
    for command in ("list", "keys"), ("key", "list"):
        assert {it["key_id"]: it["holders"] for it in documents(*command)}[own] == 0
    assert found[clone]["record"]["cloned_from"] == own
    filled.change("p1", "keys", clone, b'"active"', b'"compromised"')
    assert [it["key_id"] for it in listed("keys", "--state", "compromised")] == [clone]


@pytest.mark.parametrize("what", ["projects", "items", "keys"])
def test_nothing_to_list_is_no_error(store: FilledStore, what: str) -> None:
    assert said(run("list", what)) == (0, "", f"kmworker: no {what[:-1]} is like that\n")


def test_all_of_many_are_listed_whatever_fits_into_one_page(
    store: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "PROJECTS_AT_ONCE", 3)
    monkeypatch.setattr(lists, "FIELDS_AT_FIRST", 4)
    monkeypatch.setattr(inspection, "PAGE_SIZE", 5)
    wanted = set()
    for number in range(8):
        fields = {f"volume:{it}": b'{"data":{}}' for it in range(number * 7)}
        store.client.sadd("km:projects", f"p{number}")
        if fields:
            store.client.hset(f"km:{{p{number}}}:items", mapping=fields)
        wanted |= {f"p{number}/{ref}" for ref in fields}
    assert refs() == wanted


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[]", b'{"data":7}', b'{"data":{"key_id":7}}'])
def test_a_damaged_record_is_listed_as_far_as_it_goes(filled: FilledStore, raw: bytes) -> None:
    filled.client.hset("km:{p1}:items", "volume:v1", raw)
    filled.client.hset("km:{p1}:keys", filled.key_id(volume("v2")), raw)
    assert "p1/volume:v1" in refs()
    assert len(listed("keys", "--project", "p1")) == 3
    assert run("list", "items").exit_code == run("list", "keys").exit_code == 0


def test_what_takes_long_says_how_far_it_has_come(
    filled: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "QUIET_S", 0.0)
    done = run("list", "items", "--kind", "snapshot")
    assert done.stderr == "kmworker: 1 so far, of 6 looked at\n"
