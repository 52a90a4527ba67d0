"""A worker that dies after any of the seven steps leaves no trace once another has run."""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kmworker.worker.stages import Milestone
from tests.kit.outside.client import Client
from tests.kit.outside.wire import said
from tests.kit.outside.words import Message
from tests.kit.outside.worker import Site, Worker
from tests.kit.polling import until

PROJECT = "acme"
WANTED = {
    "volume:v": "create",
    "snapshot:s": "reuse",
    "volume:c": "clone",
    "replica:r1": "reuse",
    "replica:r2": "reuse",
    "partition:p": "create",
}


def event(number: int, event_type: str, **data: Any) -> Message:
    return said(event_type, f"e{number}", PROJECT, **data)


def history() -> list[Message]:
    """Return one of everything: disorder, repeats, a conflict, bad input, a partition."""
    snapshot = event(1, "snapshot-taken", snapshot_id="s", volume_id="v")
    first = event(3, "replica-added", replica_id="r1", node="n1", source=partition())
    return [
        snapshot,
        event(2, "volume-created", volume_id="v"),
        snapshot,
        first,
        event(4, "replica-added", replica_id="r2", node="n2", source=partition()),
        event(5, "volume-created", volume_id="c", source={"kind": "snapshot", "id": "s"}),
        event(6, "volume-created", volume_id="c", source={"kind": "volume", "id": "v"}),
        Message(b"{not json", "volume-created"),
        event(7, "volume-created", volume_id="v"),
        first,
    ]


def partition() -> dict[str, str]:
    return {"kind": "partition", "id": "p"}


@contextmanager
def working(site: Site) -> Iterator[Worker]:
    """Run a worker until the block ends; it must then end in good order."""
    worker = Worker(site)
    try:
        until(lambda: worker.is_seen_by(site.reader), "the worker reports")
        yield worker
        worker.terminate()
        assert worker.ended() == 0
    finally:
        worker.process.kill()


def end_after(site: Site, step: Milestone) -> int:
    """Run the worker that ends itself; return how it ended."""
    command = [sys.executable, "-m", "tests.integration.stopping_worker", step.value]
    return subprocess.run(command, env=site.environment(), timeout=60, check=False).returncode


def is_at_rest(client: Client, site: Site) -> bool:
    """Return whether everything is answered and nothing is left in a queue or waiting."""
    client.pump()
    answered = {subject.partition("/")[2] for subject in client.announced()} >= WANTED.keys()
    return (
        answered
        and {it.headers["x-kmworker-reason"] for it in client.letters} == {"malformed", "conflict"}
        and client.ready("events.work") == 0
        and site.reader.table(PROJECT, "waiting") == {}
    )


@pytest.mark.parametrize("step", list(Milestone))
def test_a_worker_killed_after_a_step_leaves_the_contracts_records(
    site: Site, step: Milestone
) -> None:
    with site.client() as client:
        for message in history():
            client.publish(message)
        assert end_after(site, step) == -9
        with working(site):
            until(lambda: is_at_rest(client, site), f"the history is at rest after {step}")
        client.pump()
        check(client, site)


def check(client: Client, site: Site) -> None:
    items = site.reader.records(PROJECT, "items")
    assert {ref: record["data"]["disposition"] for ref, record in items.items()} == WANTED
    bodies: dict[str, set[bytes]] = defaultdict(set)
    for it in client.assignments:
        bodies[it.parsed()["subject"].partition("/")[2]].add(it.body)
    assert {ref: len(found) for ref, found in bodies.items()} == dict.fromkeys(WANTED, 1)
    for ref, (body,) in bodies.items():
        assert json.loads(body)["data"] == items[ref]["data"]
    of = {ref: record["data"] for ref, record in items.items()}
    assert of["snapshot:s"]["key_id"] == of["volume:v"]["key_id"] != of["volume:c"]["key_id"]
    assert len({data["scope_id"] for data in of.values()}) == 2
    assert site.reader.secret(PROJECT, "deks").keys() == {d["scope_id"] for d in of.values()}
    assert site.reader.secret(PROJECT, "parked") == {}
    held = {key_id: int(number) for key_id, number in site.reader.table(PROJECT, "holders").items()}
    assert sum(held.values()) == len(WANTED)
    assert len(site.reader.table(PROJECT, "keys")) == 3


def test_two_workers_that_race_on_the_same_events_agree(site: Site) -> None:
    with working(site), working(site), site.client() as client:
        for _ in range(20):
            for message in history():
                client.publish(message)
        until(lambda: is_at_rest(client, site), "the history is at rest")
        client.pump()
        check(client, site)


def test_two_first_replicas_of_one_partition_share_its_one_key(site: Site) -> None:
    with working(site), working(site), site.client() as client:
        for number in range(60):
            source = {"kind": "partition", "id": f"p{number // 2}"}
            client.publish(
                event(number, "replica-added", replica_id=f"r{number}", node="n", source=source)
            )
        until(lambda: _announced(client) >= 90, "each replica and each partition is announced")
        items = site.reader.records(PROJECT, "items")
        for number in range(60):
            partition = items[f"partition:p{number // 2}"]["data"]
            assert items[f"replica:r{number}"]["data"]["key_id"] == partition["key_id"]
        assert len(site.reader.table(PROJECT, "scopes")) == 30


def _announced(client: Client) -> int:
    client.pump()
    return len(client.announced())
