"""``kmworker waiting``, over a store that the worker's own code has filled."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from redis.client import Pipeline

from kmworker.domain.model import Item
from kmworker.store import inspection
from kmworker.store.views.waiting_room import WaitingRoom
from tests.kit.builders import event_of, snapshot, volume
from tests.kit.cli.stand import FilledStore, document, failed, run, said

LATE = 4_000_000_000.0


def park(store: FilledStore, *pairs: tuple[Item, Item]) -> None:
    store.assign(*(event_of(item, source) for item, source in pairs))


@pytest.fixture
def parked(store: FilledStore) -> FilledStore:
    """Three events wait in p1, the first two for one volume, and one in p2."""
    park(store, *((snapshot(name), volume("gone")) for name in ("s1", "s2")))
    park(store, (volume("v3"), snapshot("lost")))
    park(store, (snapshot("s4", "p2"), volume("gone", "p2")))
    entries = {it["item"]: it["entry"] for it in listed()}
    for days, ref in enumerate(("snapshot:s4", "snapshot:s2", "volume:v3", "snapshot:s1"), 10):
        project = "p2" if ref == "snapshot:s4" else "p1"
        date_back(store, project, entries[ref], f"2026-01-{days}T00:00:00.000Z", LATE + days)
    return store


def date_back(store: FilledStore, project: str, entry: str, since: str, deadline_s: float) -> None:
    """Let an event have come at another time."""
    key = f"km:{{{project}}}:waiting"
    fields = json.loads(store.client.hget(key, entry))
    store.client.hset(key, entry, json.dumps(fields | {"since": since}, separators=(",", ":")))
    store.client.zadd(f"{key}:deadlines", {entry: deadline_s})


def listed(*options: str) -> Any:
    return document("waiting", "list", *options)


def items(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["item"] for event in events]


def deadlines(store: FilledStore) -> dict[str, tuple[float, str]]:
    """By item ref: the deadline that the sweep sees, and the one that dashboards show."""
    found = {}
    for project in ("p1", "p2"):
        key = f"km:{{{project}}}:waiting"
        for entry, text in store.client.hgetall(key).items():
            fields = json.loads(text)
            score = store.client.zscore(f"{key}:deadlines", entry)
            found[fields["item"]] = (score, fields["deadline"])
    return found


def expired(store: FilledStore, before: dict[str, tuple[float, str]]) -> set[str]:
    """What is due now, and was not before."""
    after = deadlines(store)
    assert after.keys() == before.keys()
    changed = {ref for ref in after if after[ref] != before[ref]}
    now_s = store.views.clock_s()
    assert all(after[ref][0] <= now_s for ref in changed)
    return changed


def test_the_oldest_come_first_over_all_projects(parked: FilledStore) -> None:
    assert items(listed()) == ["snapshot:s4", "snapshot:s2", "volume:v3", "snapshot:s1"]
    first = listed()[0]
    assert (first["project"], first["source"]) == ("p2", "volume:gone")
    assert first["since"] == "2026-01-10T00:00:00.000Z"
    assert first["deadline_s"] == LATE + 10
    assert first["attempts"] == 0


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--project", "p2"], ["snapshot:s4"]),
        (["--project", "nobody"], []),
        (["--source", "volume:gone"], ["snapshot:s4", "snapshot:s2", "snapshot:s1"]),
        (["--source", "snapshot:lost", "--project", "p1"], ["volume:v3"]),
        (["snapshot:s1", "volume:v3"], ["volume:v3", "snapshot:s1"]),
        (["--older-than", "1d"], ["snapshot:s4", "snapshot:s2", "volume:v3", "snapshot:s1"]),
        (["--older-than", "999999999d"], []),
        (["--limit", "2"], ["snapshot:s4", "snapshot:s2"]),
    ],
)
def test_what_is_meant_is_listed(parked: FilledStore, options: list[str], found: list[str]) -> None:
    assert items(listed(*options)) == found


def test_a_table_has_a_line_for_each_and_says_what_it_leaves_out(parked: FilledStore) -> None:
    code, out, err = said(run("waiting", "list", "--limit", "1"))
    head, row = out.splitlines()
    assert head.split()[:2] == ["project", "item"]
    assert row.split()[:4] == ["p2", "snapshot:s4", "volume:gone", "2026-01-10T00:00:00Z"]
    cut = "kmworker: the oldest 1 of 4 waiting events: --limit shows more\n"
    assert (code, err) == (0, cut)


def test_nothing_that_waits_is_no_error(store: FilledStore) -> None:
    assert said(run("waiting", "list")) == (0, "", "kmworker: no event waits\n")


def test_an_item_that_does_not_wait_is_named(parked: FilledStore) -> None:
    code, out, err = said(run("waiting", "list", "snapshot:s1", "volume:v9"))
    assert (code, len(out.splitlines())) == (1, 2)
    assert err.startswith("kmworker: not waiting: volume:v9\n")


@pytest.mark.parametrize("text", [b"", b"\xff", b"[]", b'{"item":7,"attempts":"x"}', b"[" * 9999])
def test_a_record_that_someone_has_damaged_is_shown_as_far_as_it_goes(
    parked: FilledStore, text: bytes
) -> None:
    parked.client.hset("km:{p1}:waiting", "odd", text)
    parked.client.zadd("km:{p1}:waiting:deadlines", {"odd": 1.0})
    first = listed()[0]
    assert (first["entry"], first["item"], first["attempts"]) == ("odd", "", 0)
    assert run("waiting", "list").exit_code == 0


def test_what_has_left_is_not_listed(parked: FilledStore) -> None:
    parked.client.zadd("km:{p1}:waiting:deadlines", {"left": 1.0})
    assert len(listed()) == 4


def test_many_with_one_deadline_are_listed_once_each(store: FilledStore) -> None:
    """More than one page has, and in the midst of others."""
    names = [f"e{number:04}" for number in range(1203)]
    for number, name in enumerate(names):
        store.client.hset("km:{p1}:waiting", name, b'{"item":"volume:v"}')
        deadline_s = 1.0 if number < 2 else 3.0 if number > 1200 else 2.0
        store.client.zadd("km:{p1}:waiting:deadlines", {name: deadline_s})
    found = [event["entry"] for event in listed("--project", "p1", "--limit", "9999")]
    assert found == names


def test_many_projects_are_looked_into_together(
    store: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one look at the index has, some with more events than are read at first."""
    monkeypatch.setattr(inspection, "DUE_PAGE_SIZE", 7)
    wanted = {}
    for number in range(45):
        project = f"p{number}"
        key = f"km:{{{project}}}:waiting"
        for event in range(number):
            store.client.hset(key, f"e{event}", b'{"item":"volume:v"}')
            store.client.zadd(f"{key}:deadlines", {f"e{event}": event})
        store.client.zadd("km:due", {project: 1.0})
        wanted[project] = number
    store.client.sadd("km:projects", *wanted)
    asked = count_requests(store, monkeypatch)
    assert Counter(event["project"] for event in listed("--limit", "9999")) == +Counter(wanted)
    assert len(asked) < 4 * 26 + 2 * 45 / 7 + 20


def test_a_project_that_moves_in_the_index_meanwhile_is_not_missed(
    store: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "DUE_PAGE_SIZE", 2)
    projects = [f"p{number}" for number in range(5)]
    for at, project in enumerate(projects, 1):
        store.client.zadd("km:due", {project: at})
        store.client.hset(f"km:{{{project}}}:waiting", "e", b'{"item":"volume:v"}')
        store.client.zadd(f"km:{{{project}}}:waiting:deadlines", {"e": at})
    zrange = store.client.zrange

    def and_the_last_becomes_the_first(*arguments: Any) -> Any:
        found = zrange(*arguments)
        store.client.zadd("km:due", {"p4": 0})
        return found

    monkeypatch.setattr(store.client, "zrange", and_the_last_becomes_the_first)
    assert [event["project"] for event in listed()] == projects


def test_projects_where_nothing_waits_cost_nothing(
    parked: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    parked.client.sadd("km:projects", *(f"quiet{number}" for number in range(3000)))
    asked = count_requests(parked, monkeypatch)
    assert items(listed()) == ["snapshot:s4", "snapshot:s2", "volume:v3", "snapshot:s1"]
    assert len(asked) <= 4
    found = document("status")
    assert (found["waiting"], found["oldest_waiting"]["item"]) == (4, "snapshot:s4")
    assert "SSCAN" not in asked


def count_requests(store: FilledStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each request that is made from now on; a pipeline is one."""
    asked: list[str] = []
    execute, piped = store.client.execute_command, Pipeline.execute

    def execute_command(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments[0])
        return execute(*arguments, **options)

    def execute_all(pipeline: Any, *arguments: Any, **options: Any) -> Any:
        asked.append("pipeline")
        return piped(pipeline, *arguments, **options)

    monkeypatch.setattr(store.client, "execute_command", execute_command)
    monkeypatch.setattr(Pipeline, "execute", execute_all)
    return asked


# --- expire --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "due"),
    [
        (["snapshot:s1"], {"snapshot:s1"}),
        (["--source", "volume:gone"], {"snapshot:s1", "snapshot:s2"}),
        (["--older-than", "1d"], {"snapshot:s1", "snapshot:s2", "volume:v3"}),
        (["snapshot:s1", "volume:v3", "--older-than", "1d"], {"snapshot:s1", "volume:v3"}),
    ],
)
def test_what_is_meant_expires_and_nothing_else(
    parked: FilledStore, options: list[str], due: set[str]
) -> None:
    before = deadlines(parked)
    done = run("waiting", "expire", "--project", "p1", *options)
    plural = "" if len(due) == 1 else "s"
    assert said(done) == (0, f"expired {len(due)} waiting event{plural}\n", "")
    assert expired(parked, before) == due


def test_a_dry_run_changes_nothing(parked: FilledStore) -> None:
    before = parked.dump()
    done = run("waiting", "expire", "--project", "p1", "--older-than", "1d", "--dry-run")
    assert said(done) == (0, "would expire 3 waiting events\n", "")
    assert parked.dump() == before


def test_a_ref_that_does_not_wait_keeps_all_from_expiring(parked: FilledStore) -> None:
    before = parked.dump()
    err = failed(1, "waiting", "expire", "--project", "p1", "snapshot:s1", "volume:v9")
    assert err == "kmworker: not waiting: volume:v9\nhint: nothing was expired\n"
    assert parked.dump() == before


def test_the_numbers_as_json(parked: FilledStore) -> None:
    command = ("waiting", "expire", "--project", "p1", "--source", "volume:gone")
    numbers = {"dry_run": False, "expired": 2, "past": 0, "gone": 0}
    assert document(*command) == numbers
    assert document(*command) == numbers | {"expired": 0, "past": 2}
    again = run("waiting", "expire", "--project", "p1", "snapshot:s1")
    assert again.stdout == "expired 0 waiting events\n1 event had expired before\n"


def test_what_leaves_meanwhile_is_counted_and_not_brought_back(
    parked: FilledStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    expire = WaitingRoom.expire

    def after_all_left(*arguments: Any) -> Any:
        parked.client.delete("km:{p1}:waiting", "km:{p1}:waiting:deadlines")
        return expire(*arguments)

    monkeypatch.setattr(WaitingRoom, "expire", after_all_left)
    done = run("waiting", "expire", "--project", "p1", "volume:v3")
    assert done.stdout == "expired 0 waiting events\n1 event left the waiting room meanwhile\n"
    assert not parked.client.exists("km:{p1}:waiting", "km:{p1}:waiting:deadlines")


@pytest.mark.parametrize(
    "options",
    [["--project", "p1"], ["snapshot:s1"], ["--project", "p1", "s1"],
     ["--project", "p1", "--source", "gone"], ["--project", "p1", "--older-than", "long"]],
)  # fmt: skip
def test_what_is_not_clearly_meant_is_wrong_usage(store: FilledStore, options: list[str]) -> None:
    assert run("waiting", "expire", *options).exit_code == 2


@pytest.mark.usefixtures("parked")
def test_a_project_that_is_not_there_is_told_from_an_event_that_does_not_wait() -> None:
    err = failed(1, "waiting", "expire", "--project", "nope", "snapshot:s1")
    assert err.startswith("kmworker: no project nope\n")
