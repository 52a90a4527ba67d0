"""``key``, ``janitor`` and ``reconcile`` on real servers, each as its shipped account."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import pytest

from tests.integration.cli.terminal import Terminal
from tests.integration.cli.test_events import volume
from tests.kit.outside.client import Client
from tests.kit.outside.wire import said
from tests.kit.outside.worker import Site, program, working
from tests.kit.polling import until

P: Final = "p1"
WHO: Final = ("--operator", "alice", "--reason", "drill")
OF_P: Final = ("--project", P)
SOON: Final = {"KMWORKER_RETENTION__DESTROY_AFTER_DAYS": "0"}
MANY: Final = 10_000


def gone(name: str, project: str = P, type_: str = "volume-deleted") -> str:
    """The end of an item, as a line of a file."""
    field = type_.partition("-")[0] + "_id"
    return said(type_, f"end of {name}", project, **{field: name}).body.decode() + "\n"


def clone(name: str, source: str) -> str:
    return volume(name, P, source={"kind": "volume", "id": source})


def tell(site: Site, *lines: str) -> None:
    """Have events handled."""
    site.run("publish", "--file", "-", stdin="".join(lines))
    marks = {f"volume:{json.loads(line)['data'].get('volume_id')}" for line in lines}
    until(lambda: site.reader.table(P, "items").keys() >= marks, "all are handled")
    ends = [json.loads(it)["data"]["volume_id"] for it in lines if "deleted" in it]
    until(
        lambda: all(_item(site, it)["state"] == "released" for it in ends), "what is gone is gone"
    )


def _item(site: Site, name: str) -> dict[str, Any]:
    return site.reader.records(P, "items")[f"volume:{name}"]


def key_id(site: Site, name: str) -> str:
    return str(_item(site, name)["data"]["key_id"])


def key(site: Site, name: str) -> dict[str, Any]:
    return site.reader.records(P, "keys")[key_id(site, name)]


def do(site: Site, what: str, name: str, *options: str, exit_code: int = 0) -> Any:
    """Run a command on a volume's key; return what it says as JSON, or on standard error."""
    words = ("key", what, f"volume:{name}", *OF_P, *WHO, *options)
    done = site.run(*words, "--json", exit_code=exit_code)
    return done.stderr if exit_code else json.loads(done.stdout)


def destroy_now(site: Site, name: str, exit_code: int = 0) -> Any:
    return do(site, "destroy", name, "--now", "--again", key_id(site, name), exit_code=exit_code)


@contextmanager
def hearing(site: Site) -> Iterator[tuple[Client, list[dict[str, Any]]]]:
    """Listen to what becomes of key-ids."""
    heard: list[dict[str, Any]] = []
    with site.connected() as client:
        client.hear_keys(lambda delivery: heard.append(delivery.parsed()))
        yield client, heard


def test_what_people_do_is_said_with_who_and_why(at_work: Site) -> None:
    with hearing(at_work) as (client, heard):
        tell(at_work, volume("v"))
        tell(at_work, gone("v"))
        steps = [
            ("restore", (), "key-restored", "active"),
            ("suspend", (), "key-suspended", "suspended"),
            ("resume", (), "key-resumed", "deactivated"),
            ("destroy", ("--after", "1d"), "key-deactivated", "deactivated"),
        ]
        for version, (what, options, event, state) in enumerate(steps, start=3):
            said_ = do(at_work, what, "v", *options)
            assert (said_["event"], said_["state"], said_["version"]) == (event, state, version)
        do(at_work, "compromise", "v", "--yes")
        ended = destroy_now(at_work, "v")
        assert (ended["state"], ended["dek_destroyed"]) == ("destroyed", True)
        until(lambda: len(heard) >= 7, "seven changes", between=client.pump)
    heard.sort(key=lambda event: event["data"]["version"])
    assert [event["type"] for event in heard] == [
        "key-deactivated", *(event for _what, _options, event, _state in steps),
        "key-compromised", "key-destroyed",
    ]  # fmt: skip
    by = [event["data"]["by"] for event in heard]
    assert by[0]["kind"] == "event"
    assert by[1:] == [{"kind": "operator", "name": "alice", "reason": "drill"}] * 6
    assert not at_work.reader.secret(P, "deks")


def test_what_is_there_is_shown_and_listed(at_work: Site) -> None:
    tell(at_work, volume("v"), volume("gone"), clone("c", "v"))
    tell(at_work, gone("gone"))
    do(at_work, "suspend", "v")
    shown = at_work.run("key", "show", "volume:v", *OF_P).stdout
    for line in ("state: suspended", "holders: volume:v", "version: 2"):
        assert line in shown.splitlines()
    assert "name alice" in shown
    assert f"others of its dek: {key_id(at_work, 'c')}" in shown
    listed = [
        json.loads(line)["key_id"]
        for line in at_work.run("key", "list", "--due", "--json").stdout.splitlines()
    ]
    assert listed == [key_id(at_work, "gone")]
    rows = at_work.run("key", "list", *OF_P, "--state", "suspended").stdout
    assert key_id(at_work, "v") in rows
    assert key_id(at_work, "c") not in rows


def test_what_cannot_be_done_is_refused_in_words(at_work: Site) -> None:
    tell(at_work, volume("v"), volume("bare", encryption=None))
    do(at_work, "suspend", "v")
    assert "it is suspended already" in do(at_work, "suspend", "v", exit_code=1)
    assert "it is suspended: resume it" in do(at_work, "restore", "v", exit_code=1)
    assert "an item holds it" in do(at_work, "destroy", "v", exit_code=1)
    assert "an item holds it" in destroy_now(at_work, "v", exit_code=1)
    do(at_work, "resume", "v")
    assert "it is not suspended" in do(at_work, "resume", "v", exit_code=1)
    assert "volume:bare has no key-id" in do(at_work, "suspend", "bare", exit_code=1)
    assert "no volume:nobody in project p1" in do(at_work, "suspend", "nobody", exit_code=1)
    unknown = at_work.run("key", "suspend", "nobody's", *OF_P, *WHO, exit_code=1).stderr
    assert "no key-id nobody's in project p1" in unknown
    tell(at_work, gone("v"))
    do(at_work, "restore", "v")
    assert "it is active" in destroy_now(at_work, "v", exit_code=1)
    do(at_work, "suspend", "v")
    destroy_now(at_work, "v")
    for what in ("suspend", "resume", "restore", "destroy"):
        refused = do(at_work, what, "v", exit_code=1)
        assert "it is destroyed, and nothing can bring it back" in refused
    assert "it is destroyed" in do(at_work, "compromise", "v", "--yes", exit_code=1)


def test_a_wrong_use_changes_nothing(at_work: Site) -> None:
    tell(at_work, volume("v"), gone("v"))
    before = key(at_work, "v")
    own = key_id(at_work, "v")
    wrong = {
        "--again goes with --now": ("destroy", ("--again", own)),
        "--after and --now exclude": ("destroy", ("--now", "--after", "1d")),
        f"other is not {own}: nothing was": ("destroy", ("--now", "--again", "other")),
        "nobody is there to type it": ("destroy", ("--now",)),
        "nobody is there to ask": ("compromise", ()),
        "on one line": ("suspend", ("--reason", "two\nlines")),
    }
    for words, (what, options) in wrong.items():
        assert words in do(at_work, what, "v", *options, exit_code=2)
    at_work.run("key", "suspend", "volume:v", *OF_P, exit_code=2)
    assert key(at_work, "v") == before


ACCOUNTS: Final = [
    ("dashboard", ("key", "suspend", "volume:v"), "key-operator"),
    ("key-operator", ("key", "destroy", "volume:v", "--now"), "janitor"),
]


@pytest.mark.parametrize(("role", "words", "named"), ACCOUNTS)
def test_an_account_that_may_not_is_told_which_may(
    at_work: Site, role: str, words: tuple[str, ...], named: str
) -> None:
    tell(at_work, volume("v"), gone("v"))
    before = key(at_work, "v")
    again = ("--again", key_id(at_work, "v")) if "--now" in words else ()
    other = at_work.with_accounts(store=role)
    done = other.run(*words, *OF_P, *WHO, *again, exit_code=2)
    assert f"needs the store's account {named}" in done.stderr
    assert key(at_work, "v") == before


def test_other_accounts_may_neither_destroy_nor_reconcile(site: Site) -> None:
    site = replace(site, deadline_s=1, settings=SOON)
    with working(site):
        tell(site, volume("v"), volume("kept"))
        tell(site, gone("v"))
    until(lambda: _is_past(site, "v"), "it is due")
    for other in ("dashboard", "worker", "key-operator"):
        told = site.with_accounts(store=other).run("janitor", "--once", exit_code=2)
        assert "needs the store's account janitor" in told.stderr, other
    assert key(site, "v")["state"] == "deactivated"
    dashboard = site.with_accounts(store="dashboard")
    told = dashboard.run("reconcile", "--inventory", "-", stdin="p1 volume:kept\n", exit_code=2)
    assert "needs the store's account key-operator" in told.stderr


@pytest.mark.parametrize("is_meant", [True, False], ids=["the key-id", "another"])
def test_destroy_now_has_the_key_id_typed_again(at_work: Site, is_meant: bool) -> None:
    tell(at_work, volume("v"), gone("v"))
    own = key_id(at_work, "v")
    words = ("key", "destroy", "volume:v", *OF_P, *WHO, "--now")
    with Terminal([*program(), *words], at_work.environment(*words), at_work.folder) as terminal:
        until(lambda: "to destroy it for ever" in terminal.seen(), "it asks")
        terminal.type(f"{own if is_meant else 'volume:v'}\n")
        assert terminal.ended() == (0 if is_meant else 2), terminal.seen()
    assert key(at_work, "v")["state"] == ("destroyed" if is_meant else "deactivated")


def test_the_last_key_id_takes_the_dek_with_it(at_work: Site) -> None:
    tell(at_work, volume("v"), clone("c", "v"))
    tell(at_work, gone("v"), gone("c"))
    first = destroy_now(at_work, "v")
    assert (first["dek_destroyed"], first["dek_named_by"]) == (False, [key_id(at_work, "c")])
    assert len(at_work.reader.secret(P, "deks")) == 1
    output = at_work.folder / "dek"
    words = ("--output", str(output))
    at_work.run("key", "export", key_id(at_work, "c"), *OF_P, *words)
    assert len(output.read_bytes()) == 64
    output.unlink()
    at_work.run("key", "export", key_id(at_work, "v"), *OF_P, *words, exit_code=1)
    assert not output.exists()
    assert destroy_now(at_work, "c")["dek_destroyed"]
    assert not at_work.reader.secret(P, "deks")
    at_work.run("key", "export", key_id(at_work, "c"), *OF_P, *words, exit_code=1)


def test_compromise_names_what_it_hits_in_all_projects(at_work: Site) -> None:
    tell(at_work, volume("v"), clone("c", "v"), volume("other"))
    abroad = volume("w", "p2", source={"kind": "volume", "id": "v", "project_id": P})
    tell(at_work, gone("c"))
    at_work.run("publish", "--file", "-", stdin=abroad)
    until(lambda: at_work.reader.table("p2", "items"), "the copy is there")
    dry = do(at_work, "compromise", "c", "--dry-run")
    assert dry["key_ids_changed"] == 0
    hit = {(it["project"], it["ref"]): (it["released"], it["reencrypted"]) for it in dry["items"]}
    assert hit == {
        (P, "volume:v"): (False, False),
        (P, "volume:c"): (True, False),
        ("p2", "volume:w"): (False, True),
    }
    assert key(at_work, "v")["state"] == "active"
    assert do(at_work, "compromise", "c", "--yes")["key_ids_changed"] == 2
    assert do(at_work, "compromise", "v", "--yes")["key_ids_changed"] == 0
    assert [key(at_work, it)["state"] for it in ("v", "c", "other")] == [
        "compromised", "compromised", "active",
    ]  # fmt: skip
    # What shares the data as it is has the same DEK, and is born so.
    tell(at_work, volume("late", P, source={"kind": "volume", "id": "v"}, copy="shared"))
    assert (key(at_work, "late")["state"], key(at_work, "late")["version"]) == ("compromised", 1)


def test_reconcile_names_what_differs(at_work: Site) -> None:
    tell(at_work, volume("v"), volume("lost"), volume("gone"))
    tell(at_work, gone("gone"))
    right = "# all there is\np1 volume:v\np1 volume:lost\n"
    done = at_work.run("reconcile", "--inventory", "-", stdin=right)
    assert "compared 1 project: no difference" in done.stderr
    assert at_work.reader.dashboard.hexists(f"{at_work.prefix}:reconciled", P)
    wrong = "p1 volume:v\np1 volume:gone\np1 volume:stranger\n"
    done = at_work.run("reconcile", "--inventory", "-", "--json", stdin=wrong, exit_code=1)
    *found, summary = map(json.loads, done.stdout.splitlines())
    assert {(it["what"], it["ref"]) for it in found} == {
        ("held-and-gone", "volume:lost"),
        ("there-and-released", "volume:gone"),
        ("there-and-unknown", "volume:stranger"),
    }
    assert summary["held_and_gone"] == summary["there_and_released"] == 1
    told = at_work.run("reconcile", "--inventory", "-", stdin=wrong, exit_code=1).stdout
    assert "kmworker key restore" in told
    bad = at_work.run("reconcile", "--inventory", "-", stdin="volume:v\n", exit_code=2)
    assert "line 1: not a project and an item ref" in bad.stderr
    at_work.run("reconcile", "--inventory", str(at_work.folder / "nowhere"), exit_code=2)


def test_the_janitor_destroys_what_is_due_and_nothing_without_a_young_inventory(
    site: Site,
) -> None:
    site = replace(site, deadline_s=1, settings=SOON)
    careful = replace(site, settings={**SOON, "KMWORKER_RETENTION__REQUIRE_RECONCILE_DAYS": "1"})
    with working(site), hearing(site) as (client, heard):
        tell(site, volume("v"), volume("kept"), volume("restored"))
        tell(site, gone("v"), gone("restored"))
        do(site, "restore", "restored", "--for", "1s")
        until(lambda: _is_past(site, "v") and _is_past(site, "restored"), "both are due")
        done = json.loads(careful.run("janitor", "--once", "--json").stdout)
        assert (done["destroyed"], done["lapsed"], done["stopped"]) == (0, 1, 1)
        site.run("reconcile", "--inventory", "-", stdin="p1 volume:kept\n")
        until(lambda: _is_past(site, "restored"), "the other one is due, too")
        done = json.loads(careful.run("janitor", "--once", "--json").stdout)
        assert (done["destroyed"], done["lapsed"], done["stopped"]) == (2, 0, 0)
        assert "destroyed: 0" in site.run("janitor", "--once").stdout
        until(lambda: len(heard) >= 6, "all is said", between=client.pump)
    states = [key(site, it)["state"] for it in ("v", "restored", "kept")]
    assert states == ["destroyed", "destroyed", "active"]
    by = [it["data"]["by"] for it in heard if it["data"]["by"]["kind"] != "event"]
    assert by.count({"kind": "janitor"}) == 3


def _is_past(site: Site, name: str) -> bool:
    due: Any = site.reader.admin.zscore(f"{site.prefix}:{{{P}}}:keys:due", key_id(site, name))
    seconds, _micros = site.reader.admin.time()
    return float(due) < seconds


def test_changes_are_said_again_in_the_same_words(at_work: Site) -> None:
    tell(at_work, volume("v"), gone("v"))
    do(at_work, "suspend", "v")
    with hearing(at_work) as (client, heard):
        told = json.loads(at_work.run("announce", "--keys", *OF_P, "--json").stdout)
        assert told["announced"] == 1
        until(lambda: heard, "it is said again", between=client.pump)
        assert (heard[-1]["type"], heard[-1]["data"]["version"]) == ("key-suspended", 3)
        at_work.run("announce", "--keys", *OF_P)
        until(lambda: len(heard) >= 2, "and again", between=client.pump)
        assert heard[-1] == heard[-2]


def test_ten_thousand_early_deletes_hold_up_nobody(site: Site) -> None:
    ends = [gone(f"never-{number}") for number in range(MANY)]
    for number in range(0, MANY, MANY // 10):
        ends.insert(number, volume(f"v{number}"))
    (site.folder / "events").write_text("".join(ends))
    with working(site):
        site.run("publish", "--file", "events")
        until(lambda: _stat(site, "early") == MANY, "all are known to be gone")
        assert _stat(site, "create") == 10
        assert _stat(site, "waiting") == 0
        assert not site.reader.fields("dead")
        # One of them was made after all: it is assigned, and at once released.
        tell(site, volume("never-7"))
        until(lambda: _stat(site, "early") == MANY - 1, "it is no early one any more")
        assert _item(site, "never-7")["state"] == "released"
        forgetful = replace(site, settings={"KMWORKER_RETENTION__TOMBSTONE_DAYS": "0"})
        done = json.loads(forgetful.run("janitor", "--once", "--json").stdout)
        assert (done["forgotten"], done["destroyed"], done["stopped"]) == (MANY - 1, 0, 0)
        tell(site, volume("after"))
    assert _stat(site, "early") == 0
    assert len(site.reader.table(P, "items")) == 12


def _stat(site: Site, name: str) -> int:
    return int(site.reader.table(P, "stats").get(name, 0))
