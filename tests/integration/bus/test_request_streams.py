"""Asking and answering over streams, as `kmworker up` does where RabbitMQ has its reply-to."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from kmworker.delegation.answers import SignedAnswer
from kmworker.domain.message import Confirm, Delivery, Original, Outgoing
from kmworker.embedded import request_stream
from kmworker.embedded.asker import StreamAsker
from kmworker.embedded.request_stream import LIVE_S, StreamRequestQueue
from kmworker.errors import BrokerUnavailable
from kmworker.keyserver.ports import Reply
from kmworker.store.client import Client, connect_to
from kmworker.wire.requests.request import DIRECT_REPLY
from kmworker.wire.topology import Topology
from tests.kit.polling import until
from tests.kit.servers import StoreServer

TIMEOUT_S = 5.0
ANSWER = SignedAnswer(b"an answer", "c2ln", "key-delivered", "answer-1", "request-1")


@dataclass(slots=True)
class Stage:
    """A server, and those who talk over it."""

    client: Callable[[], Client]
    direct: Any
    topology: Topology
    made: list[Any] = field(default_factory=list)

    def queue(self, prefetch: int = 10) -> StreamRequestQueue:
        """A key server's."""
        namespace = self.topology.namespace
        queue = StreamRequestQueue(self.client(), namespace=namespace, prefetch=prefetch)
        self.made.append(queue)
        return queue

    def asker(self) -> StreamAsker:
        asker = StreamAsker(self.client(), self.topology.namespace)
        self.made.append(asker)
        return asker

    def ask(self, asker: StreamAsker, *bodies: bytes) -> None:
        asker.open()
        for body in bodies:
            properties = {"reply_to": DIRECT_REPLY, "user_id": "blk-1"}
            asker.ask(Outgoing(self.topology.requests, "key-requested", body, properties))


@pytest.fixture
def stage(embedded_server: StoreServer, namespace: str) -> Iterator[Stage]:
    url = f"redis://127.0.0.1:{embedded_server.port}/0"
    with embedded_server.admin() as direct:
        stage = Stage(lambda: connect_to(url, TIMEOUT_S), direct, Topology(namespace))
        with closing(Closed(stage.made)):
            yield stage


class Closed:
    """What is to be closed, whatever came of it."""

    def __init__(self, made: list[Any]) -> None:
        self._made = made

    def close(self) -> None:
        for it in self._made:
            it.close()


def taken(queue: StreamRequestQueue, number: int) -> list[Delivery]:
    found: list[Delivery] = []

    def more() -> bool:
        found.extend(queue.receive(10, 0.1))
        return len(found) >= number

    until(more, f"{number} requests")
    return found


def heard(asker: StreamAsker) -> list[Original]:
    asker.wait(0.1)
    return asker.take()


def bodies(deliveries: list[Delivery]) -> list[bytes]:
    return [it.original.body for it in deliveries]


def reply_to(delivery: Delivery) -> str:
    return str(delivery.original.properties["reply_to"])


def test_an_answer_goes_to_who_asked_and_to_nobody_else(stage: Stage) -> None:
    queue, asker, other = stage.queue(), stage.asker(), stage.asker()
    queue.open()
    stage.ask(other, b"another's")
    stage.ask(asker, b"mine")
    _first, delivery = taken(queue, 2)
    assert delivery.original.properties["user_id"] == "blk-1"
    assert reply_to(delivery).startswith(f"{DIRECT_REPLY}.")
    assert queue.send([Reply(reply_to(delivery), ANSWER)]).result() == [Confirm.STORED]
    (answer,) = until(lambda: heard(asker), "the answer")
    assert answer.body == ANSWER.body
    assert answer.properties["correlation_id"] == "request-1"
    assert answer.properties["application_headers"] == dict(ANSWER.headers)
    assert heard(other) == []


def test_what_is_not_acknowledged_comes_again_to_who_opens_it_next(stage: Stage) -> None:
    queue, asker = stage.queue(), stage.asker()
    queue.open()
    stage.ask(asker, b"a", b"b", b"c")
    first, *_rest = taken(queue, 3)
    queue.acknowledge([first])
    queue.close()
    after = stage.queue()
    after.open()
    assert bodies(taken(after, 2)) == [b"b", b"c"]


def test_a_connection_that_begins_anew_has_all_again_and_settles_only_its_own(
    stage: Stage,
) -> None:
    queue, asker = stage.queue(), stage.asker()
    queue.open()
    stage.ask(asker, b"a")
    before = taken(queue, 1)
    queue.close()
    queue.open()
    again = taken(queue, 1)
    assert again[0].generation > before[0].generation
    queue.acknowledge(before)
    assert stage.direct.xlen(stage.topology.requests) == 1
    queue.acknowledge(again)
    assert stage.direct.xlen(stage.topology.requests) == 0


def test_no_more_are_at_hand_than_is_said(stage: Stage) -> None:
    queue, asker = stage.queue(prefetch=2), stage.asker()
    queue.open()
    stage.ask(asker, b"a", b"b", b"c")
    found = taken(queue, 2)
    assert queue.receive(10, 0.0) == []
    queue.acknowledge(found[:1])
    assert bodies(queue.receive(10, 0.1)) == [b"c"]


def test_whoever_asks_where_no_key_server_is_is_told(stage: Stage) -> None:
    with pytest.raises(BrokerUnavailable, match="no key server"):
        stage.ask(stage.asker(), b"a")
    assert stage.direct.xlen(stage.topology.requests) == 0


def test_an_answer_to_who_has_left_goes_nowhere(stage: Stage) -> None:
    queue, asker = stage.queue(), stage.asker()
    queue.open()
    stage.ask(asker, b"a")
    (delivery,) = taken(queue, 1)
    asker.close()
    assert queue.send([Reply(reply_to(delivery), ANSWER)]).result() == [Confirm.UNROUTED]


def test_what_nobody_waits_for_any_more_is_dropped(stage: Stage) -> None:
    queue, asker = stage.queue(), stage.asker()
    queue.open()
    seconds, _ = stage.direct.time()
    stale_ms = int((seconds - LIVE_S - 5) * 1000)
    fields = {"key": "key-requested", "body": "stale", "properties": "AAAAAA=="}
    stage.direct.xadd(stage.topology.requests, fields, id=f"{stale_ms}-0")
    stage.ask(asker, b"a")
    queue.close()
    queue.open()
    assert bodies(taken(queue, 1)) == [b"a"]


def test_of_too_many_the_oldest_are_dropped(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, asker = stage.queue(), stage.asker()
    queue.open()
    stage.ask(asker, b"a", b"b", b"c")
    queue.close()
    monkeypatch.setattr(request_stream, "MAX_WAITING", 2)
    queue.open()
    assert bodies(taken(queue, 2)) == [b"b", b"c"]


def test_what_is_no_request_is_taken_for_one_that_nobody_has_signed(stage: Stage) -> None:
    queue = stage.queue()
    queue.open()
    stage.direct.xadd(stage.topology.requests, {"body": "{oops"})
    stage.direct.xadd(stage.topology.requests, {"something": "else"})
    found = taken(queue, 2)
    assert bodies(found) == [b"{oops", b""]
    assert all("user_id" not in it.original.properties for it in found)
    queue.acknowledge(found)
    assert stage.direct.xlen(stage.topology.requests) == 0


def test_leaving_a_server_that_is_away_is_no_error(namespace: str) -> None:
    gone = connect_to("redis://127.0.0.1:1/0", TIMEOUT_S)
    StreamAsker(gone, namespace).close()
    StreamRequestQueue(gone, namespace=namespace, prefetch=1).close()


def test_a_key_server_that_was_stopped_for_long_begins_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_stream, "RENEW_EVERY_S", 0.0)
    queue, asker = stage.queue(), stage.asker()
    queue.open()
    queue.tick()
    # As time brings it, when nobody has said for half a minute that he reads.
    stage.direct.delete(f"{stage.topology.requests}:alive")
    with pytest.raises(BrokerUnavailable, match="given up"):
        queue.tick()
    queue.open()
    stage.ask(asker, b"a")
    assert bodies(taken(queue, 1)) == [b"a"]
