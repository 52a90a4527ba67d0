"""Servers and key servers that end under load: whoever asks again gets its key."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any, Final

import pytest

from kmworker.client.keys import KeyRefused, Keys, NoAnswer
from kmworker.errors import KMWorkerError
from tests.integration.cli.test_events import volume
from tests.kit.outside.asking import Host, host_of, lined, volume_of
from tests.kit.outside.delegating import WHO, Delegation, P, attached, delegating, detached
from tests.kit.outside.worker import Site
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, Start, StoreServer

ASKING: Final = 4
DEADLINE_S: Final = 20.0
LATE_S: Final = 5.0
"""What connecting may take beyond a deadline, on a machine that is busy."""
NAMES: Final = tuple(f"v{number}" for number in range(ASKING))


@pytest.fixture
def broker(start_rabbitmq: Start[RabbitMQ]) -> RabbitMQ:
    return start_rabbitmq()


@pytest.fixture
def store(start_redis: Start[StoreServer]) -> StoreServer:
    return start_redis()


@pytest.fixture
def told(
    broker: RabbitMQ, store: StoreServer, namespace: str, prefix: str, tmp_path: Path
) -> Iterator[Delegation]:
    """An installation with two key servers, on servers of its own."""
    site = Site(tmp_path, broker, store, namespace, prefix)
    site.lay_keyring()
    with delegating(site, key_servers=2) as made:
        made.tell(*(volume(it, P) for it in NAMES), *(attached(it) for it in NAMES))
        until(lambda: len(site.reader.table(P, "grants")) == ASKING, "attached")
        yield made


class Load:
    """Threads that ask all the time, each for its volume; each attempt ends in time."""

    def __init__(self, keys: Keys, wanted: dict[str, bytes]) -> None:
        self._keys, self._wanted = keys, wanted
        self._ends = Event()
        self.got = dict.fromkeys(wanted, 0)
        self.failed = 0
        self.wrong: list[str] = []
        self.longest_s = 0.0

    def ask(self, name: str) -> None:
        while not self._ends.is_set():
            since = monotonic()
            try:
                with self._keys.get(volume_of(name), deadline_s=DEADLINE_S) as delivered:
                    self.got[name] += 1
                    if bytes(delivered.key.view) != self._wanted[name]:
                        self.wrong.append(name)
            except NoAnswer:
                self.failed += 1
            except KMWorkerError as error:
                self.wrong.append(f"{type(error).__name__}: {error}")
                return
            self.longest_s = max(self.longest_s, monotonic() - since)

    @contextmanager
    def going(self) -> Iterator["Load"]:
        threads = [Thread(target=self.ask, args=(name,)) for name in self.got]
        for it in threads:
            it.start()
        try:
            yield self
        finally:
            self._ends.set()
            for it in threads:
                it.join(DEADLINE_S + LATE_S)

    def goes_on(self, more: int = 5) -> None:
        """Wait until each has got its key some times more."""
        before = dict(self.got)
        until(
            lambda: all(self.got[it] >= before[it] + more for it in before) or self.wrong,
            "everybody gets keys again",
        )
        assert self.wrong == []


def test_each_outage_passes_and_no_request_takes_longer_than_its_deadline(
    told: Delegation, broker: RabbitMQ, store: StoreServer
) -> None:
    wanted = {it: told.exported(it) for it in NAMES}
    host = host_of(told)
    outages: Sequence[Callable[[], None]] = (
        lambda: kill_one(told),
        lambda: kill_and_start(store),
        store.restart,
        lambda: kill_and_start(broker),
    )
    until(lambda: broker.has_registered(f"{told.site.namespace}.requests"), "the queue is on disk")
    with host.keys() as keys, Load(keys, wanted).going() as load:
        load.goes_on()
        for outage in outages:
            outage()
            load.goes_on()
    assert load.longest_s < DEADLINE_S + LATE_S
    # It was killed: its end is no failure.
    told.get(NAMES[0])


def kill_and_start(server: RabbitMQ | StoreServer) -> None:
    server.kill()
    server.start()


def kill_one(told: Delegation) -> None:
    pids = sorted(int(it["pid"]) for it in told.site.reader.key_servers().values())
    os.kill(pids[0], signal.SIGKILL)


@pytest.mark.parametrize("ends", ["suspended", "detached", "revoked"])
def test_what_has_ended_gives_no_key_to_what_is_asked_from_then_on(
    told: Delegation, ends: str
) -> None:
    """Two key servers answer all the time, and answers are on their way when it ends."""
    host = host_of(told)
    name = NAMES[0]
    with lined(host) as line:
        sent = []

        def ask() -> None:
            sent.append(host.request(name))
            line.send(sent[-1])
            line.pump(0.01)

        until(lambda: any(line.answers), "the first is answered", between=ask)
        ending = Thread(target=end, args=(told, ends, name))
        ending.start()
        while ending.is_alive():
            ask()
        after = [host.request(name) for _ in range(20)]
        for it in after:
            line.send(it)
        found = {line.answer_to(it).word for it in after}
    wanted = {"suspended": "suspended", "detached": "not-granted", "revoked": "unknown-client"}
    assert found == {wanted[ends]}


def end(told: Delegation, ends: str, name: str) -> None:
    if ends == "suspended":
        told.site.run("key", "suspend", f"volume:{name}", "--project", P, *WHO)
    elif ends == "revoked":
        told.site.run("client", "revoke", "client", *WHO)
    else:
        told.tell(detached(name))
        until(lambda: "over" in told.attachments(name)["a1"], "it is detached")


def test_what_cannot_be_recorded_does_not_leave_and_suspending_goes_on(
    told: Delegation, broker: RabbitMQ
) -> None:
    host, namespace = host_of(told), told.site.namespace
    full = {"max-length": 1, "overflow": "reject-publish"}
    with (
        broker.policy(namespace, rf"^{namespace}\.audit$", full, priority=200),
        lined(host) as line,
    ):
        refused = until(lambda: is_refused(host, line), "the trail is full")
        assert refused == "try-later"
        told.site.run("key", "suspend", f"volume:{NAMES[1]}", "--project", P, *WHO)
        # Nor is it told that it is suspended, which would be a record, too.
        request = host.request(NAMES[1])
        assert host.refusal_in(line.ask(request), request) == "try-later"
        with host.keys() as keys, pytest.raises(NoAnswer, match="cannot answer now"):
            keys.get(volume_of(NAMES[0]), deadline_s=3)
        troubles = [it.get("trouble") for it in told.site.reader.key_servers().values()]
        assert len(troubles) == 2
    with host.keys() as keys:
        with keys.get(volume_of(NAMES[0])) as delivered:
            assert bytes(delivered.key.view) == told.exported(NAMES[0])
        with pytest.raises(KeyRefused, match="suspended"):
            keys.get(volume_of(NAMES[1]))


def is_refused(host: Host, line: Any) -> str | None:
    request = host.request(NAMES[0])
    answer = line.ask(request)
    return answer.word if answer.word != "key-delivered" else None
