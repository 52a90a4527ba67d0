"""``verify`` beside real workers, and what it does when it is stopped or the store is."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kmworker.crypto import Keyring, KeyringCustody
from kmworker.store.names import Names
from tests.integration.cli.running import beside_a_terminal, on_a_terminal, started
from tests.integration.cli.test_events import volume
from tests.kit.outside.worker import Site, program, working
from tests.kit.polling import until
from tests.kit.servers import At, Start, StoreServer
from tests.kit.store.backends import ServerBackend
from tests.kit.store.builders import INSTALLATION
from tests.kit.store.filling import handle, volumes
from tests.kit.store.stand import Stand

MANY = 1_000


def family(number: int) -> Iterator[str]:
    """A volume, a clone of it, and one that waits for a volume to come later."""
    project = f"p{number % 3}"
    yield volume(f"v{number}", project)
    yield volume(f"c{number}", project, source={"kind": "volume", "id": f"v{number}"})
    yield volume(f"e{number}", project, source={"kind": "volume", "id": f"v{number + 3}"})


def test_workers_at_work_give_no_finding(site: Site) -> None:
    lines = [line for number in range(MANY) for line in family(number)]
    # Disorder fills the waiting room, which empties again as the sources come.
    Random(1).shuffle(lines)
    (site.folder / "events").write_text("".join(lines))
    with working(site, 2), started(site, "publish", "--file", "events") as publish:
        while publish.process.poll() is None or _backlog(site):
            *findings, _summary = site.run("verify", "--json").stdout.splitlines()
            assert findings == []
        # Hundreds are with the workers when the queue is empty.
        until(lambda: _handled(site) == 3 * MANY, "every event is handled or waits")
    *findings, summary = site.run("verify", "--json").stdout.splitlines()
    assert findings == []
    # Of each item at least its record, its member of the lineage, and that it is counted.
    assert json.loads(summary)["looked_at"] > 3 * 3 * MANY


def _handled(site: Site) -> int:
    names, projects = Names(site.prefix), ("p0", "p1", "p2")
    return sum(
        int(site.reader.dashboard.hlen(names.of(project, what)))
        for project in projects
        for what in ("items", "waiting")
    )


def _backlog(site: Site) -> int:
    with site.connected() as client:
        return client.ready("events.work")


@pytest.fixture
def own(
    start_redis: Start[StoreServer], tmp_path: Path, namespace: str
) -> Iterator[tuple[Site, StoreServer]]:
    """A store of its own, with two thousand items in each of two projects."""
    server = start_redis()
    site = Site(tmp_path, At("amqp://127.0.0.1:1/"), server, namespace, "km")
    custody = KeyringCustody(Keyring.generate(site.keyring), INSTALLATION)
    with ExitStack() as stack:
        stand = Stand(ServerBackend(server), "km", custody, stack)
        stand.store().admit()
        for project in "ab":
            handle(stand, *volumes((f"v{number}" for number in range(2_000)), project))
        yield site, server


def test_what_is_stopped_goes_on_where_it_was(own: tuple[Site, StoreServer]) -> None:
    site, server = own
    with server.admin() as raw:
        _spoil(raw)
    process = _verifying(site)
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    command = re.search(
        r"^kmworker: to go on: kmworker (verify --json --from \S+)$", said, re.MULTILINE
    )
    assert command, said
    *before, summary = map(json.loads, (first + rest).splitlines())
    assert not summary["complete"]
    done = site.run(*command[1].split(), exit_code=1)
    *after, whole = map(json.loads, done.stdout.splitlines())
    assert whole["complete"]
    # Nothing is missed, and not everything is looked at twice.
    assert {_place(it) for it in [*before, *after]} == {("a", "v7"), ("b", "v9")}
    assert summary["looked_at"] > 0
    assert whole["looked_at"] < 6 * 4_000


def test_a_store_that_goes_away_is_exit_code_3_and_a_way_to_go_on(
    own: tuple[Site, StoreServer],
) -> None:
    site, server = own
    with server.admin() as raw:
        _spoil(raw)
    process = _verifying(site)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGSTOP)
    server.kill()
    process.send_signal(signal.SIGCONT)
    _rest, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    token = re.search(r"--from (\S+)", said)
    assert token, said
    server.start()
    # Another process: it begins the stage again, and still goes on.
    done = site.run("verify", "--from", token[1], exit_code=1)
    assert "looked at " in done.stdout


def test_a_terminal_sees_how_far_it_is_and_a_program_does_not(
    own: tuple[Site, StoreServer],
) -> None:
    site, _server = own
    shown = on_a_terminal(site, "verify")
    assert "verifying" in shown
    assert "nothing is wrong" in shown
    assert site.run("verify").stderr == ""


def test_results_go_to_standard_output_while_a_bar_is_drawn(
    own: tuple[Site, StoreServer],
) -> None:
    site, server = own
    with server.admin() as raw:
        _spoil(raw)
    code, out, shown = beside_a_terminal(site, "verify")
    assert code == 1, shown
    assert "verifying" in shown
    assert [text.split()[0] for text in out.splitlines()] == ["lineage-wrong"] * 2 + ["looked"]


def _spoil(raw: Any) -> None:
    for project, ref in (("a", "volume:v7"), ("b", "volume:v9")):
        record = json.loads(raw.hget(f"km:{{{project}}}:items", ref))
        member = f"{record['data']['scope_id']} {ref}"
        assert raw.zrem(f"km:{{{project}}}:lineage", member) == 1


def _verifying(site: Site) -> "subprocess.Popen[str]":
    settings = {**site.settings, "KMWORKER_STORE__TIMEOUT_S": "30"}
    return subprocess.Popen(
        [*program(), "verify", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=replace(site, settings=settings).environment("verify"),
        cwd=site.folder,
        text=True,
    )


def _place(finding: dict[str, Any]) -> tuple[str, str]:
    return finding["project"], str(finding["field"]).partition(":")[2]
