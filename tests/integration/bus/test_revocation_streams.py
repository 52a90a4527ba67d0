"""What has ended, over the streams of `kmworker up`: to its key server, and to its clients."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from kmworker.delegation.answers import SignedAnswer
from kmworker.domain.message import Confirm, Delivery, Outgoing
from kmworker.embedded import revocation_stream
from kmworker.embedded.asker import StreamAsker
from kmworker.embedded.request_stream import StreamRequestQueue
from kmworker.embedded.revocation_stream import StreamRevocationQueue
from kmworker.embedded.route import Router
from kmworker.keyserver.ports import Reply
from kmworker.store.client import Client, connect_to
from kmworker.wire.topology import Topology
from tests.kit.servers import StoreServer

TIMEOUT_S = 5.0
REVOCATION = SignedAnswer(b"give it up", "c2ln", "key-revoked", "revoked-1")


@pytest.fixture
def topology(namespace: str) -> Topology:
    return Topology(namespace)


@pytest.fixture
def client(embedded_server: StoreServer) -> Iterator[Callable[[], Client]]:
    made: list[Client] = []

    def connect() -> Client:
        made.append(connect_to(f"redis://127.0.0.1:{embedded_server.port}/0", TIMEOUT_S))
        return made[-1]

    yield connect
    for it in made:
        it.close()


@pytest.fixture
def queue(client: Callable[[], Client], topology: Topology) -> Iterator[StreamRevocationQueue]:
    with closing(StreamRevocationQueue(client(), namespace=topology.namespace)) as made:
        made.open()
        yield made


def said(topology: Topology, client: Callable[[], Client]) -> None:
    """Say what a worker and an operator say."""
    Router(client()).publish([
        Outgoing(topology.revocations, "grant-ended.p1", b"1", {}),
        Outgoing(topology.assignments, "key-released.volume.p1", b"2", {}),
        Outgoing(topology.assignments, "key-assigned.volume.p1", b"no end", {}),
        Outgoing(topology.keys, "key-suspended.p1", b"3", {}),
        Outgoing(topology.keys, "key-resumed.p1", b"no end", {}),
    ])  # fmt: skip


def bodies(deliveries: list[Delivery]) -> list[bytes]:
    return [it.original.body for it in deliveries]


def test_a_key_server_hears_what_ends_and_nothing_else(
    queue: StreamRevocationQueue, client: Callable[[], Client], topology: Topology
) -> None:
    said(topology, client)
    assert bodies(queue.receive(2)) == [b"1", b"2"]
    assert bodies(queue.receive(2)) == [b"3"]
    assert queue.receive(2) == []


def test_what_is_not_acknowledged_comes_again_to_who_opens_it_next(
    queue: StreamRevocationQueue, client: Callable[[], Client], topology: Topology
) -> None:
    said(topology, client)
    first, *_others = queue.receive(10)
    queue.acknowledge([first])
    queue.close()
    next_ = StreamRevocationQueue(client(), namespace=topology.namespace)
    next_.open()
    again = next_.receive(10)
    assert bodies(again) == [b"2", b"3"]
    next_.acknowledge(again)
    next_.close()
    next_.open()
    assert next_.receive(10) == []


def test_it_is_bounded_and_the_oldest_go_first(
    queue: StreamRevocationQueue, client: Callable[[], Client], topology: Topology,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(revocation_stream, "MAX_WAITING", 2)
    said(topology, client)
    queue.tick()
    assert bodies(queue.receive(10)) == [b"2", b"3"]


def test_all_of_a_client_s_processes_are_told_and_nobody_else_s(
    client: Callable[[], Client], topology: Topology
) -> None:
    own = topology.client_queues("compute-17")
    askers = [StreamAsker(client(), topology.namespace, own) for _ in range(2)]
    other = StreamAsker(client(), topology.namespace, topology.client_queues("another"))
    silent = StreamAsker(client(), topology.namespace)
    everybody = [*askers, other, silent]
    for it in everybody:
        it.open()
    answers = StreamRequestQueue(client(), namespace=topology.namespace, prefetch=1)
    confirms = answers.send([Reply(it, REVOCATION) for it in own]).result()
    assert confirms.count(Confirm.STORED) == 1
    for it in askers:
        it.wait(TIMEOUT_S)
        assert [found.body for found in taken(it)] == [b"give it up"]
    for it in (other, silent):
        it.wait(0.1)
        assert taken(it) == []
    for it in everybody:
        it.close()


def taken(asker: StreamAsker) -> list[Any]:
    return asker.take()
