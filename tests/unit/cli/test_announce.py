"""``kmworker announce``, over a store that the worker's own code has filled."""

import json
from typing import Any

import pytest

from kmworker.cli import announce as announcing
from kmworker.domain.event import UNENCRYPTED
from kmworker.domain.model import Item
from kmworker.errors import BrokerUnavailable
from kmworker.wire.assignments import announce
from tests.kit.builders import event_of, snapshot, volume
from tests.kit.cli import stand
from tests.kit.cli.stand import SOURCE, Broker, FilledStore, failed, family, run, said

FAMILY = (volume("v1"), snapshot("s1"), volume("v2"), volume("v3"))


def announced(store: FilledStore, *items: Item) -> list[tuple[str, bytes, str]]:
    """What a worker would announce of these items."""
    messages = [announce(store.held(item), SOURCE, "kmworker.assignments") for item in items]
    return sorted((it.routing_key, it.body, it.properties["message_id"]) for it in messages)


def published(broker: Broker) -> list[tuple[str, bytes, str]]:
    return sorted((it.routing_key, it.body, it.properties["message_id"]) for it in broker.published)


def test_a_project_is_announced_again_with_the_same_ids_and_bytes(
    filled: FilledStore, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The store's first setting counts, not today's.
    monkeypatch.setenv("KMWORKER_BROKER__SOURCE", "/another")
    assert said(run("announce", "--project", "p1")) == (0, "announced 4 assignments\n", "")
    assert published(broker) == announced(filled, *FAMILY)
    assert json.loads(broker.published[0].body)["source"] == SOURCE
    assert broker.is_closed


def test_single_items_are_announced_by_ref(filled: FilledStore, broker: Broker) -> None:
    result = run("announce", "--project", "p1", "snapshot:s1", "volume:v2", "volume:v2")
    assert said(result) == (0, "announced 2 assignments\n", "")
    assert published(broker) == announced(filled, snapshot("s1"), volume("v2"))


def test_a_ref_that_is_not_there_keeps_all_from_being_announced(
    filled: FilledStore, broker: Broker
) -> None:
    err = failed(1, "announce", "--project", "p1", "volume:v1", "volume:nobody")
    assert err == "kmworker: not in project p1: volume:nobody\nhint: nothing was announced\n"
    assert broker.published == []


@pytest.mark.parametrize("ref", ["v1", "image:i1", "disk:v1"])
def test_what_is_no_item_ref_is_wrong_usage(ref: str) -> None:
    err = failed(2, "announce", "--project", "p1", ref)
    assert err.startswith(f"kmworker: {ref} is no item ref")


def test_all_projects_are_announced_when_that_is_confirmed(
    store: FilledStore, broker: Broker
) -> None:
    store.assign(*family("p1"), *family("p2"), event_of(volume("v1", "p3")))
    assert said(run("announce", "--yes")) == (0, "announced 9 assignments\n", "")
    of_p2 = tuple(item._replace(project="p2") for item in FAMILY)
    assert published(broker) == announced(store, *FAMILY, *of_p2, volume("v1", "p3"))


def test_all_projects_are_not_announced_unasked(store: FilledStore, broker: Broker) -> None:
    store.assign(*family("p1"), *family("p2"))
    assert failed(2, "announce").splitlines() == [
        "kmworker: announce all of 8 items in 2 projects?",
        "hint: nobody is there to ask: say yes with --yes",
    ]
    assert broker.published == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt, BrokerUnavailable("away")])
def test_who_is_stopped_is_told_where_to_go_on(
    store: FilledStore, broker: Broker, monkeypatch: pytest.MonkeyPatch, failure: Any
) -> None:
    monkeypatch.setattr(announcing, "PROJECTS_AT_ONCE", 1)
    store.assign(*family("p1"), *family("p 2"), *family("p3"))

    def fail(batches: int) -> None:
        if batches == 1:
            raise failure

    broker.before_batch = fail
    done = run("announce", "--yes")
    assert done.exit_code == (130 if failure is KeyboardInterrupt else 3)
    stopped = "kmworker: stopped after 4 assignments\nhint: go on with: --from p1\n"
    assert stopped in done.stderr
    broker.before_batch = lambda _: None
    assert run("announce", "--yes", "--from", "p1").stdout == "announced 8 assignments\n"
    assert len({it.properties["message_id"] for it in broker.published}) == 12


def test_what_was_assigned_since_a_time_is_announced(
    store: FilledStore, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.assign(event_of(volume("old")), event_of(volume("odd")))
    store.client.hset("km:{p1}:items", "volume:odd", b"{}")
    monkeypatch.setattr(stand, "NOW_S", stand.NOW_S + 60)
    store.assign(event_of(volume("new")))
    code, out, err = said(run("announce", "--yes", "--since", "2026-11-23T16:01:00Z"))
    assert (code, out) == (1, "announced 1 assignment\n")
    assert "not announced: volume:odd" in err
    assert published(broker) == announced(store, volume("new"))
    assert run("announce", "--project", "p1", "--since", "2099-01-01").stderr == err


@pytest.mark.parametrize(
    "options",
    [
        ["volume:v1"], ["--project", "p1", "volume:v1", "--since", "2h"],
        ["--project", "p1", "--from", "p0"], ["--yes", "--since", "soon"],
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_wrong_usage(
    filled: FilledStore, broker: Broker, options: list[str]
) -> None:
    assert (run("announce", *options).exit_code, broker.published) == (2, [])


def test_items_without_a_key_are_announced_too(store: FilledStore, broker: Broker) -> None:
    store.assign(event_of(volume("plain"), encryption=UNENCRYPTED), *family()[:1])
    assert run("announce", "--project", "p1").stdout == "announced 2 assignments\n"
    assert published(broker) == announced(store, volume("plain"), volume("v1"))


def test_unrouted_announcements_are_counted_and_no_error(
    filled: FilledStore, broker: Broker
) -> None:
    broker.is_routed = lambda message: "snapshot" in message.routing_key
    out = "announced 4 assignments\nno queue is bound for 3 of them\n"
    assert said(run("announce", "--project", "p1")) == (0, out, "")


def test_a_record_that_someone_has_altered_is_not_announced(
    filled: FilledStore, broker: Broker
) -> None:
    own, other = filled.key_id(volume("v3")).encode(), filled.key_id(volume("v1")).encode()
    filled.change("p1", "items", "volume:v3", own, other)
    filled.client.hset("km:{p1}:items", "nonsense", b"{}")
    code, out, err = said(run("announce", "--project", "p1"))
    assert (code, out) == (1, "announced 3 assignments\n")
    assert "kmworker: not announced: volume:v3 of project p1: integrity: " in err
    assert "kmworker: not announced: nonsense of project p1: " in err
    assert "kmworker: 2 records failed authentication" in err
    assert published(broker) == announced(filled, volume("v1"), snapshot("s1"), volume("v2"))


def test_a_record_under_a_kek_that_nobody_has_stops_no_other(
    filled: FilledStore, broker: Broker
) -> None:
    filled.change("p1", "items", "volume:v1", filled.custody.kek_id.encode(), b"0" * 16)
    code, out, err = said(run("announce", "--project", "p1"))
    assert (code, out) == (1, "announced 3 assignments\n")
    assert "kmworker: not announced: volume:v1 of project p1: " in err


def test_a_store_that_no_worker_has_used_has_nothing_to_announce_as(
    filled: FilledStore, broker: Broker
) -> None:
    filled.client.delete("km:keyring", "km:layout")
    err = failed(1, "announce", "--project", "p1")
    assert err.startswith("kmworker: no worker has used this store yet\n")
    assert broker.published == []
