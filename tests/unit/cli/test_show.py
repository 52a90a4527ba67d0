"""``kmworker show``: what it finds, how it draws it, and what it says of seals."""

import re
from typing import Any

import pytest

from kmworker.domain.event import UNENCRYPTED
from kmworker.store.views import lineage
from tests.kit.builders import event_of, snapshot, volume
from tests.kit.cli.stand import FilledStore, document, failed, family, run, said

V1, S1, V2, V3 = volume("v1"), snapshot("s1"), volume("v2"), volume("v3")


def shown(*arguments: str) -> Any:
    return document("show", *arguments)


def test_a_key_id_and_a_scope_id_are_found_as_well(filled: FilledStore) -> None:
    by_key, by_scope = shown(filled.key_id(V2)), shown(filled.scope_id(V1))
    assert (by_key["item"], by_key["key"]["holders"]) == (None, 1)
    assert by_key["key"]["record"]["cloned_from"] == filled.key_id(V1)
    assert (by_scope["item"], by_scope["key"]) == (None, None)
    assert by_key["scope"] == by_scope["scope"]
    assert by_key["lineage"] == by_scope["lineage"]


def test_an_item_without_a_key_has_no_lineage(store: FilledStore) -> None:
    store.assign(event_of(V1, encryption=UNENCRYPTED))
    found = shown("volume:v1")
    assert found["item"]["record"]["data"]["disposition"] == "none"
    assert (found["key"], found["scope"], found["lineage"]) == (None, None, None)
    assert run("show", "volume:v1").exit_code == 0


UUID = "5f0e1c9a-0000-4000-8000-000000000000"
FORMS = "hint: items are named like volume:1111, keys and scopes by the UUIDs in assignments"
NOT_THERE = {
    "item": (
        ["volume:nobody"],
        "no volume:nobody in any project",
        "hint: if it was announced: kmworker waiting list, or kmworker dead list",
    ),
    "item of a project": (
        ["volume:nobody", "--project", "p1"],
        "no volume:nobody in project p1",
        "hint: without --project all are searched",
    ),
    "item of no project": (
        ["volume:v1", "--project", "p2"],
        "no project p2",
        "hint: kmworker list projects shows those there are",
    ),
    "id": (
        [UUID],
        f"no key-id or scope-id {UUID} in any project",
        "hint: kmworker list keys shows those there are",
    ),
    "name": (["nobody"], "nobody is no item ref, key-id or scope-id", FORMS),
    "no id": (["volume:"], "volume: is no item ref, key-id or scope-id", FORMS),
    "image": (["image:i1"], "image:i1 is no item ref, key-id or scope-id", FORMS),
}


@pytest.mark.parametrize(("arguments", "message", "hint"), NOT_THERE.values(), ids=NOT_THERE)
def test_what_is_not_there_is_named_and_where_it_may_be(
    filled: FilledStore, arguments: list[str], message: str, hint: str
) -> None:
    assert said(run("show", *arguments)) == (1, "", f"kmworker: {message}\n{hint}\n")


def test_a_project_in_which_something_only_waits_is_one(store: FilledStore) -> None:
    store.assign(event_of(S1, V1))
    err = failed(1, "show", "volume:v1", "--project", "p1")
    assert err.startswith("kmworker: no volume:v1 in project p1\n")


def test_a_name_in_several_projects_has_to_be_told_apart(store: FilledStore) -> None:
    store.assign(*family("p1"), *family("p2"))
    err = failed(1, "show", "volume:v1")
    assert err.splitlines() == [
        "kmworker: volume:v1 is in several projects: p1, p2",
        "hint: choose one with --project",
    ]
    assert shown("volume:v1", "--project", "p2")["project"] == "p2"


def test_a_broken_seal_is_shown_and_the_record_with_it(filled: FilledStore) -> None:
    filled.change("p1", "items", "snapshot:s1", b'"node":null', b'"node":"me"')
    found = shown("snapshot:s1")
    assert found["item"]["seal"] == "BROKEN"
    assert found["item"]["record"]["data"]["node"] == "me"
    assert [it["seal"] for it in found["lineage"]["items"]] == ["BROKEN", "ok", "ok"]
    out = run("show", "snapshot:s1").stdout
    assert "  seal            BROKEN\n" in out
    assert f"snapshot:s1  reuse  {filled.key_id(V1)}  active  seal BROKEN\n" in out


def test_a_seal_for_which_the_kek_is_not_there_is_unknown(filled: FilledStore) -> None:
    without = document("show", "volume:v1", keyring__path="nowhere.json")
    assert without["item"]["seal"] == "unknown"
    filled.change("p1", "keys", filled.key_id(V1), filled.custody.kek_id.encode(), b"0" * 16)
    assert shown("volume:v1")["key"]["seal"] == "unknown"


def test_an_item_whose_key_is_lost_is_shown_all_the_same(filled: FilledStore) -> None:
    filled.client.delete("km:{p1}:keys", "km:{p1}:scopes")
    found = shown("volume:v2")
    assert (found["key"], found["scope"]) == (None, None)
    assert {it["key_state"] for it in found["lineage"]["items"]} == {"missing"}


def test_a_source_of_the_same_name_in_another_project_is_not_the_source(
    store: FilledStore,
) -> None:
    abroad = volume("v1", "p2")
    store.assign(event_of(abroad), event_of(V2, abroad), event_of(V1, V2))
    found = shown("volume:v2")
    assert {it["ref"]: it["source"] for it in found["lineage"]["items"]} == {
        "volume:v2": None,
        "volume:v1": "volume:v2",
    }


def test_a_lineage_entry_without_an_item_is_drawn(filled: FilledStore) -> None:
    filled.client.zadd("km:{p1}:lineage", {f"{filled.scope_id(V1)} volume:lost": 0})
    assert "volume:lost  without a record\n" in run("show", "volume:v1").stdout
    assert shown("volume:v1")["lineage"]["items"][-3]["seal"] == "missing"


def test_a_record_that_is_no_json_is_shown_as_broken(filled: FilledStore) -> None:
    filled.client.hset("km:{p1}:items", "volume:v1", b"[" * 100_000)
    found = shown("volume:v1")
    assert (found["item"]["seal"], found["item"]["record"]) == ("BROKEN", {})


def test_a_long_lineage_ends_with_how_many_more_there_are(
    filled: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "MAX_MEMBERS", 2)
    assert shown("volume:v1")["lineage"]["more"] == 1
    assert run("show", "volume:v1").stdout.endswith("└── … and 1 more\n")


def test_too_many_scopes_are_not_looked_through(
    filled: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "MAX_SCOPES_SEARCHED", 1)
    assert shown("volume:v1")["lineage"]["derived"] is None
    assert "too many scopes" in run("show", "volume:v1").stdout


def changed(filled: FilledStore, command: str, *options: str) -> None:
    who = ("--project", "p1", "--operator", "alice", "--reason", "host seized")
    assert run("key", command, "volume:v1", *who, *options).exit_code == 0


def test_a_key_ids_state_and_who_changed_it_last_are_told(filled: FilledStore) -> None:
    changed(filled, "suspend")
    rows = [line.split(maxsplit=1) for line in run("show", "volume:v1").stdout.splitlines()]
    told = dict(row for row in rows if len(row) == 2)
    assert told["state"] == "suspended"
    assert re.fullmatch(r"key-suspended at [-0-9T:.]+Z by alice: host seized", told["changed"])
    assert shown("volume:v1")["key"]["record"]["changed"]["by"]["name"] == "alice"


def test_when_a_key_id_is_to_be_destroyed_is_told(filled: FilledStore) -> None:
    filled.client.hset("km:{p1}:holders", filled.key_id(V1), 0)
    changed(filled, "suspend")
    changed(filled, "destroy", "--after", "7d")
    out = run("show", "volume:v1").stdout
    assert re.search(r"^  destroy_at +20", out, re.MULTILINE)
    assert "key-deactivated at " in out


def test_a_key_id_of_a_compromised_scope_is_compromised_whatever_its_record_says(
    filled: FilledStore,
) -> None:
    scope_id = filled.scope_id(V1)
    said_of_it = b'"compromised":{"at":"A","name":"N","reason":"R"}'
    filled.change("p1", "scopes", scope_id, b'"derived_from"', said_of_it + b',"derived_from"')
    found = shown("volume:v1")
    assert (found["key"]["state"], found["key"]["record"]["state"]) == ("compromised", "active")
    assert {it["key_state"] for it in found["lineage"]["items"]} == {"compromised"}


def test_items_that_are_gone_are_told_in_their_lineage(filled: FilledStore) -> None:
    filled.change("p1", "items", "snapshot:s1", b'"state":"active"', b'"state":"released"')
    released = {it["ref"]: it["released"] for it in shown("volume:v1")["lineage"]["items"]}
    assert released == {"snapshot:s1": True, "volume:v1": False, "volume:v2": False}
    out = run("show", "volume:v1").stdout
    assert f"snapshot:s1  reuse  {filled.key_id(V1)}  active  released  seal BROKEN\n" in out


@pytest.mark.parametrize("change", ["1", "[]", '{"type":1}', '{"type":"t","at":"a","by":{}}'])
def test_a_change_that_cannot_be_read_is_shown_as_it_is(filled: FilledStore, change: str) -> None:
    filled.change(
        "p1", "keys", filled.key_id(V1), b'"version":1', b'"changed":%s' % change.encode()
    )
    assert run("show", "volume:v1").exit_code == 0
