"""A copy that a node keeps, on real servers with the shipped accounts: it learns of its end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from queue import Queue
from typing import Any, Final

import amqp
import pytest

from kmworker.client.copies import GivenUp
from kmworker.client.keys import Keys
from kmworker.delegation.answers import answer_parts
from kmworker.delegation.identity import Identity
from kmworker.delegation.signing import SIGNATURE_HEADER
from kmworker.domain.message import Original
from tests.integration.cli.test_events import volume
from tests.kit.outside.asking import Host, second_client, volume_of
from tests.kit.outside.delegating import WHO, Delegation, P, attached, detached, enrol, serving
from tests.kit.outside.wire import said
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ
from tests.kit.servers.ports import free_port
from tests.kit.servers.proxy import Proxy

EXAMPLE: Final = Path(__file__).resolve().parents[3] / "docs" / "examples" / "keep_key.py"
WITHIN_S: Final = 15.0
"""What is said to take seconds, on a machine that is busy."""


class Kept:
    """A process that keeps copies, and what it has given up."""

    def __init__(self, host: Host, **more: Any) -> None:
        self.given_up: Queue[GivenUp] = Queue()
        self.keys: Keys = host.keys(keep=True, on_given_up=self.given_up.put, **more)

    def get(self, name: str) -> bytes:
        with self.keys.get(volume_of(name)) as delivered:
            return bytes(delivered.key.view)

    def is_kept(self, name: str) -> bool:
        """Return whether a copy is there, for whoever asks."""
        found = self.keys._copies.usable(volume_of(name))
        if found is not None:
            found.key.wipe()
        return found is not None

    def cause(self) -> str:
        """Wait for what is given up next."""
        return self.given_up.get(timeout=WITHIN_S).cause.value


@pytest.fixture
def kept(host: Host) -> Iterator[Kept]:
    made = Kept(host)
    with made.keys:
        yield made


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return iter(range(1_000))


@pytest.fixture
def name(delegation: Delegation, numbers: Iterator[int]) -> str:
    """A volume that is attached."""
    made = f"kept-{next(numbers)}"
    delegation.tell(volume(made, P), attached(made, f"a-{made}"))
    until(lambda: delegation.attachments(made), "it is attached")
    return made


def deleted(name: str) -> str:
    return said("volume-deleted", f"del {name}", P, volume_id=name).body.decode() + "\n"


ENDS: Final[dict[str, Callable[[Delegation, str], object]]] = {
    "detached": lambda made, name: made.tell(detached(name, f"a-{name}")),
    "released": lambda made, name: made.tell(deleted(name)),
    "suspended": lambda made, name: made.site.run(
        "key", "suspend", f"volume:{name}", "--project", P, *WHO
    ),
    "compromised": lambda made, name: made.site.run(
        "key", "compromise", f"volume:{name}", "--project", P, "--yes", *WHO
    ),
}


@pytest.mark.parametrize("cause", ENDS)
def test_what_ends_is_given_up_at_once(
    delegation: Delegation, kept: Kept, name: str, cause: str
) -> None:
    wanted = delegation.exported(name)
    assert kept.get(name) == wanted
    assert kept.is_kept(name)
    ENDS[cause](delegation, name)
    assert kept.cause() == cause
    assert not kept.is_kept(name)


def test_that_a_key_is_destroyed_is_told_to_who_may_still_have_it(
    delegation: Delegation, kept: Kept, name: str
) -> None:
    """What an item holds cannot be destroyed: whoever missed its release hears of it again.

    It has no grant any more, so it is not told what has become of the key.
    """
    heard = Heard(kept)
    kept.get(name)
    key_id = delegation.site.reader.records(P, "items")[f"volume:{name}"]["data"]["key_id"]
    delegation.tell(deleted(name))
    assert kept.cause() == "released"
    delegation.site.run("key", "destroy", key_id, "--project", P, "--now", "--again", key_id, *WHO)
    until(lambda: len(heard.messages) == 2, "it has come")
    first, second = (json.loads(it.body) for it in heard.messages)
    assert (first["data"]["cause"], second["data"]["cause"]) == ("released", "detached")
    assert first["data"]["key_id"] == second["data"]["key_id"] == key_id
    assert first["id"] != second["id"]


def test_a_revoked_client_gives_up_all_that_it_has(
    delegation: Delegation, rabbitmq: RabbitMQ, name: str
) -> None:
    with second_client(delegation, rabbitmq, "to-be-revoked", enrol) as other:
        kept = Kept(other)
        with kept.keys:
            kept.get(name)
            delegation.site.run("client", "revoke", "to-be-revoked", *WHO)
            assert kept.cause() == "client-revoked"
            assert not kept.is_kept(name)


def test_each_process_of_a_client_learns_of_it(host: Host, delegation: Delegation,
                                               name: str) -> None:  # fmt: skip
    many = [Kept(host) for _ in range(3)]
    try:
        for it in many:
            it.get(name)
        delegation.tell(detached(name, f"a-{name}"))
        assert [it.cause() for it in many] == 3 * ["detached"]
    finally:
        for it in many:
            it.keys.close()


def test_a_child_keeps_nothing_of_its_parent_s(
    delegation: Delegation, kept: Kept, name: str
) -> None:
    wanted = delegation.exported(name)
    assert kept.get(name) == wanted
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 2 if kept.is_kept(name) else 0 if kept.get(name) == wanted else 3
            code = code or (0 if kept.is_kept(name) else 4)
        finally:
            os._exit(code)
    until(lambda: os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT), "it ends",
          within_s=30)  # fmt: skip
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert kept.is_kept(name)


def test_who_was_away_learns_of_it_when_it_comes_back(
    delegation: Delegation, host: Host, name: str, rabbitmq: RabbitMQ
) -> None:
    with closing(Proxy(rabbitmq.port)) as proxy:
        url = host.url.replace(f":{rabbitmq.port}/", f":{proxy.port}/")
        kept = Kept(host, url=url)
        with kept.keys:
            kept.get(name)
            proxy.redirect(free_port())
            delegation.tell(detached(name, f"a-{name}"))
            until(lambda: "over" in delegation.attachments(name)[f"a-{name}"], "it is over")
            # Without a broker, by its time: it can know no better.
            assert kept.is_kept(name)
            proxy.redirect(rabbitmq.port)
            # It asks, and is refused.
            assert kept.cause() == "not-granted"
            assert not kept.is_kept(name)


def test_who_was_away_keeps_what_it_may(
    delegation: Delegation, host: Host, name: str, rabbitmq: RabbitMQ
) -> None:
    wanted = delegation.exported(name)
    with closing(Proxy(rabbitmq.port)) as proxy:
        url = host.url.replace(f":{rabbitmq.port}/", f":{proxy.port}/")
        kept = Kept(host, url=url)
        with kept.keys:
            kept.get(name)
            before = kept.keys._copies._copies[volume_of(name)].delivered
            proxy.redirect(free_port())
            proxy.redirect(rabbitmq.port)
            until(lambda: before.key.is_wiped, "it has another copy")
            until(lambda: kept.is_kept(name), "it is kept")
            assert kept.get(name) == wanted
    assert kept.given_up.empty()


class Broker:
    """Whoever can read the queues of clients, and write to them."""

    def __init__(self, host: Host, rabbitmq: RabbitMQ) -> None:
        self.host, self.server = host, rabbitmq
        self.namespace = host.made.site.namespace
        self.connection = rabbitmq.admin(self.namespace)
        self.connection.connect()
        self.channel = self.connection.channel()

    def put(self, client: str, body: bytes, **properties: Any) -> None:
        """Put a message into all of a client's queues."""
        for place in range(8):
            self.channel.basic_publish(
                amqp.Message(body, **properties),
                routing_key=f"{self.namespace}.clients.{client}/{place}",
            )


@pytest.fixture
def broker(host: Host, rabbitmq: RabbitMQ) -> Iterator[Broker]:
    made = Broker(host, rabbitmq)
    try:
        yield made
    finally:
        made.connection.close()


class Heard:
    """What comes to a client's processes, as one of them has it."""

    def __init__(self, kept: Kept) -> None:
        self.messages: list[Original] = []
        keeping = kept.keys._keeping
        check = keeping._check

        def checked(message: Original) -> Any:
            self.messages.append(message)
            return check(message)

        keeping._check = checked


def test_an_old_one_that_the_broker_puts_back_wipes_nothing(
    delegation: Delegation, host: Host, kept: Kept, name: str, broker: Broker
) -> None:
    heard = Heard(kept)
    kept.get(name)
    delegation.tell(detached(name, f"a-{name}"))
    assert kept.cause() == "detached"
    (first,) = heard.messages
    delegation.tell(attached(name, f"again-{name}"))
    kept.get(name)
    buffer = kept.keys._copies._copies[volume_of(name)].delivered.key
    broker.put(host.name, first.body, **first.properties)
    until(lambda: len(heard.messages) == 2, "it has come")
    time.sleep(1.0)
    assert not buffer.is_wiped
    assert kept.given_up.empty()
    # One that was not there the first time asks, and keeps it.
    late = Kept(host)
    with late.keys:
        late.get(name)
        before = late.keys._copies._copies[volume_of(name)].delivered.key
        broker.put(host.name, first.body, **first.properties)
        until(lambda: before.is_wiped, "it has asked for another")
        until(lambda: late.is_kept(name), "which it keeps")
        assert late.given_up.empty()


@pytest.mark.parametrize("how", ["altered", "unsigned", "by a stranger", "an answer", "no message"])
def test_what_no_key_server_has_signed_wipes_nothing(
    delegation: Delegation, kept: Kept, name: str, broker: Broker, how: str
) -> None:
    other = f"{name}-other"
    delegation.tell(volume(other, P), attached(other, f"a-{other}"))
    until(lambda: delegation.attachments(other), "it is attached")
    heard = Heard(kept)
    kept.get(other)
    kept.get(name)
    delegation.tell(detached(other, f"a-{other}"))
    assert kept.cause() == "detached"
    (first,) = heard.messages
    said_of_it = first.body.replace(b'"id":"' + other.encode(), b'"id":"' + name.encode())
    assert said_of_it != first.body
    key_of = {it: delegation.site.reader.records(P, "items")[f"volume:{it}"]["data"]["key_id"]
              for it in (other, name)}  # fmt: skip
    forged = said_of_it.replace(key_of[other].encode(), key_of[name].encode())
    headers = dict(first.properties["application_headers"])
    stranger = Identity.generate("2026-11-23T16:00:00.000Z")
    installation = broker.host.enrolment.installation
    signature = stranger.sign(*answer_parts(installation, broker.host.name, forged))
    body, headers = {
        "altered": (forged, headers),
        "unsigned": (forged, {}),
        "by a stranger": (forged, {SIGNATURE_HEADER: signature}),
        "an answer": (b'{"type":"key-delivered"}', headers),
        "no message": (b"\xff", headers),
    }[how]
    broker.put(broker.host.name, body, type="key-revoked", application_headers=headers)
    until(lambda: len(heard.messages) == 2, "it has come")
    time.sleep(0.5)
    assert kept.is_kept(name)
    assert kept.given_up.empty()


def test_one_that_is_redirected_to_another_client_wipes_nothing(
    delegation: Delegation, kept: Kept, name: str, broker: Broker
) -> None:
    with second_client(delegation, broker.server, "another", enrol) as other:
        of_other = Kept(other)
        with of_other.keys:
            heard, by_other = Heard(kept), Heard(of_other)
            kept.get(name)
            of_other.get(name)
            delegation.site.run("client", "revoke", "another", *WHO)
            assert of_other.cause() == "client-revoked"
            (first,) = by_other.messages
            broker.put(broker.host.name, first.body, **first.properties)
            until(lambda: heard.messages, "it has come")
            time.sleep(0.5)
            assert kept.is_kept(name)
            assert kept.given_up.empty()


def test_a_full_queue_of_one_client_keeps_nobody_else_from_being_told(
    delegation: Delegation, kept: Kept, name: str, broker: Broker
) -> None:
    """It has the policy's length, of which the oldest go."""
    kept.get(name)
    queue = f"{broker.namespace}.clients.{broker.host.name}/7"
    full = broker.server.admin(broker.namespace)
    full.connect()
    try:
        channel = full.channel()
        channel.queue_declare(queue, exclusive=True, arguments={"x-queue-type": "classic"})
        for _ in range(1_200):
            channel.basic_publish(amqp.Message(b"x" * 4096), routing_key=queue)
        until(
            lambda: 900 < channel.queue_declare(queue, passive=True).message_count <= 1_000,
            "it is full",
        )
        delegation.tell(detached(name, f"a-{name}"))
        assert kept.cause() == "detached"
        assert channel.queue_declare(queue, passive=True).message_count <= 1_000
    finally:
        full.close()


def test_none_is_lost_when_a_key_server_is_killed_that_has_some_of_it_at_hand(
    delegation: Delegation, kept: Kept, numbers: Iterator[int]
) -> None:
    names = {f"kept-{next(numbers)}" for _ in range(30)}
    delegation.tell(*(it for name in sorted(names)
                      for it in (volume(name, P), attached(name, f"a-{name}"))))  # fmt: skip
    for name in names:
        kept.get(name)
    with serving(delegation.site) as others:
        (other,) = others
        # The broker gives it its share, of which it tells nobody.
        os.kill(other.process.pid, signal.SIGSTOP)
        delegation.tell(*(detached(name, f"a-{name}") for name in sorted(names)))
        ended = [kept.given_up.get(timeout=WITHIN_S)]
        time.sleep(2.0)
        assert kept.given_up.qsize() < len(names) - 1
        other.kill()
        ended += [kept.given_up.get(timeout=WITHIN_S) for _ in range(len(names) - 1)]
    assert {it.item.id for it in ended} == names
    assert {it.cause.value for it in ended} == {"detached"}


def test_a_program_as_the_documents_have_it(host: Host, delegation: Delegation, name: str) -> None:
    environment = {
        **os.environ, "BROKER_URL": host.url, "HOST_FOLDER": str(delegation.host),
        "NAMESPACE": delegation.site.namespace,
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, EXAMPLE, P, name], env=environment, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        first, second = program.stdout.readline(), program.stdout.readline()
        assert first == second
        assert first.split()[1] == "64"
        delegation.tell(detached(name, f"a-{name}"))
        assert program.stdout.read() == f"volume:{name} detached\n"
    assert program.returncode == 0
