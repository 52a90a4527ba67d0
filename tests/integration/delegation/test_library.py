"""`Keys` in a process that has threads and forks, and beside a broker that is away."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from time import monotonic
from typing import Final

import pytest

from kmworker.bus.asker import Asker
from kmworker.client.keys import KeyRefused, Keys, NoAnswer
from tests.integration.cli.test_events import volume
from tests.kit.outside.asking import Host, volume_of
from tests.kit.outside.delegating import Delegation, P, attached, detached
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ
from tests.kit.servers.ports import free_port

V: Final = volume_of("v")
THREADS: Final = 50
SLACK_S: Final = 8.0
"""What a machine that is busy may be late by; far below a deadline for each thread in turn."""


@pytest.fixture(scope="module")
def told(delegation: Delegation) -> Delegation:
    delegation.tell(volume("v", P), volume("late", P), attached("v"))
    until(lambda: delegation.attachments("v"), "it is attached")
    return delegation


@pytest.fixture
def keys(told: Delegation, host: Host) -> Iterator[Keys]:
    assert told.attachments("v")
    with host.keys() as keys:
        yield keys


def got(keys: Keys, name: str = "v") -> bytes:
    with keys.get(volume_of(name)) as delivered:
        return bytes(delivered.key.view)


def in_child(keys: Keys, wanted: bytes) -> int:
    """Fork, get the key there, and return the child's exit code; it has ten seconds."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if _is_got(keys, wanted) else 2
        finally:
            os._exit(code)
    until(lambda: os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT), "it ends",
          within_s=15)  # fmt: skip
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _is_got(keys: Keys, wanted: bytes) -> bool:
    with keys.get(V, deadline_s=10) as delivered:
        return bytes(delivered.key.view) == wanted


def test_fifty_threads_get_their_keys_by_one_connection(
    told: Delegation, keys: Keys, rabbitmq: RabbitMQ
) -> None:
    wanted = told.exported("v")
    with ThreadPoolExecutor(THREADS) as pool:
        assert set(pool.map(lambda _it: got(keys), range(4 * THREADS))) == {wanted}
    names = rabbitmq.ctl("list_connections", "user", "vhost").splitlines()
    assert names.count(f"client\t{told.site.namespace}") == 1


def test_who_waits_for_a_grant_keeps_no_other_thread_waiting(told: Delegation, keys: Keys) -> None:
    found: list[bytes] = []
    waiting = Thread(target=lambda: found.append(got(keys, "late")))
    waiting.start()
    since = monotonic()
    for _ in range(5):
        got(keys)
    assert monotonic() - since < SLACK_S
    assert not found
    told.tell(attached("late", "a2"))
    waiting.join(30)
    assert found == [told.exported("late")]


def connection_of(keys: Keys) -> object:
    asker = keys._asking.conversation._asker
    assert isinstance(asker, Asker)
    return asker._link.connection


def test_a_child_asks_by_a_connection_of_its_own_and_its_parent_goes_on(
    told: Delegation, keys: Keys
) -> None:
    wanted = told.exported("v")
    assert got(keys) == wanted
    connection = connection_of(keys)
    for _ in range(3):
        assert in_child(keys, wanted) == 0
    assert got(keys) == wanted
    assert connection_of(keys) is connection


def test_a_child_that_is_forked_while_a_thread_asks_is_not_held_up_by_it(
    told: Delegation, keys: Keys
) -> None:
    wanted = told.exported("v")
    ends: list[BaseException] = []

    def ask() -> None:
        try:
            keys.get(volume_of("never"), deadline_s=6)
        except NoAnswer as error:
            ends.append(error)

    asking = Thread(target=ask)
    asking.start()
    try:
        for _ in range(3):
            assert in_child(keys, wanted) == 0
    finally:
        asking.join(20)
    assert len(ends) == 1


def test_without_a_broker_every_thread_has_the_deadline_that_it_was_given(
    told: Delegation, host: Host
) -> None:
    assert told.attachments("v")
    away = host.url.replace(f":{told.site.broker.port}/", f":{free_port()}/")  # type: ignore[attr-defined]
    since = monotonic()
    with host.keys(url=away) as keys, ThreadPoolExecutor(THREADS) as pool:
        asked = [pool.submit(keys.get, V, deadline_s=2) for _ in range(THREADS)]
        for it in asked:
            with pytest.raises(NoAnswer, match=r"refused|connecting"):
                it.result()
    assert monotonic() - since < 2 + SLACK_S


UNDER_EVENTLET: Final = """
import eventlet

eventlet.monkey_patch()

import sys
from pathlib import Path
from kmworker.client import Item, Keys, Kind

url, folder, namespace, project = sys.argv[1:]
beats = []


def beat():
    while True:
        beats.append(None)
        eventlet.sleep(0.01)


def got(name):
    with keys.get(Item(project, Kind.VOLUME, name)) as delivered:
        return bytes(delivered.key.view).hex()


eventlet.spawn(beat)
files = {"identity": Path(folder, "identity.json"), "enrolment": Path(folder, "enrolment.json")}
with Keys(url, namespace=namespace, keep=True, **files) as keys:
    pool = eventlet.GreenPool(20)
    found = set(pool.imap(got, ["v"] * 20))
    late = eventlet.spawn(got, "comes-late")
    eventlet.sleep(0.5)
    before = len(beats)
    print("waiting", flush=True)
    found.add(late.wait() and "late")
    print(len(beats) > before + 5, *sorted(found))
"""


def test_under_eventlet_green_threads_ask_at_the_same_time(
    told: Delegation, host: Host, keys: Keys
) -> None:
    folder, namespace = str(told.host), told.site.namespace
    with subprocess.Popen(
        [sys.executable, "-c", UNDER_EVENTLET, host.url, folder, namespace, P],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "waiting\n", child.communicate(timeout=60)[1]
        told.tell(volume("comes-late", P), attached("comes-late"))
        said, complaints = child.communicate(timeout=60)
    # The others go on while one waits for its grant.
    assert said.split() == ["True", got(keys).hex(), "late"], complaints


def test_a_key_is_had_by_whoever_it_is_attached_to_however_often(
    told: Delegation, keys: Keys
) -> None:
    """A live migration: two attachments, of which one ends; and ends that come early or late."""
    told.tell(volume("moving", P), detached("moving", "early"), attached("moving", "early"))
    until(lambda: "early" in told.attachments("moving"), "its end is known")
    told.tell(attached("moving", "from", "compute-99"), attached("moving", "to"))
    until(lambda: {"from", "to"} <= told.attachments("moving").keys(), "both are attached")
    wanted = told.exported("moving")
    assert got(keys, "moving") == wanted
    told.tell(detached("moving", "from"))
    until(lambda: "over" in told.attachments("moving")["from"], "one is over")
    assert got(keys, "moving") == wanted
    # Late duplicates revive nothing, and end nothing else.
    told.tell(detached("moving", "to"), attached("moving", "to"), attached("moving", "early"))
    until(lambda: "over" in told.attachments("moving")["to"], "the other is over")
    with pytest.raises(KeyRefused, match="not-granted"):
        keys.get(volume_of("moving"), deadline_s=40)
    told.tell(attached("moving", "again"), detached("moving", "from"))
    until(lambda: "again" in told.attachments("moving"), "it is attached once more")
    assert got(keys, "moving") == wanted
