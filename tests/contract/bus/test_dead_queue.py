"""What the dead letters promise to a person, on RabbitMQ and on streams."""

import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, Protocol

import amqp
import pytest

from kmworker.bootstrap.brokers import Publishing, open_bus, open_dead_queue, open_publisher
from kmworker.bus.dead_queue import PAGE_SIZE, PREFETCH, Browsed, DeadQueue, RabbitDeadQueue
from kmworker.cli.frame.broker import declared
from kmworker.domain.message import Original, Outgoing
from kmworker.errors import BrokerUnavailable, NotFound
from kmworker.settings import BrokerSettings
from kmworker.wire.topology import Topology
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, StoreServer


class Raw(Protocol):
    """The broker as its administrator sees it."""

    def ready(self, queue: str) -> int:
        """Count what nobody holds."""
        ...

    def take_all(self, queue: str) -> list[bytes]:
        """Take everything out."""
        ...

    def put(self, queue: str, body: bytes) -> None:
        """Put in what no worker wrote."""
        ...

    def close(self) -> None:
        """Leave."""
        ...


class RawRabbit:
    def __init__(self, server: RabbitMQ, namespace: str) -> None:
        self._connection = server.admin(namespace)
        self._connection.connect()
        self.channel: Any = self._connection.channel()

    def ready(self, queue: str) -> int:
        count: int = self.channel.queue_declare(queue, passive=True).message_count
        return count

    def take_all(self, queue: str) -> list[bytes]:
        get = self.channel.basic_get
        return [message.body for message in iter(lambda: get(queue, no_ack=True), None)]

    def put(self, queue: str, body: bytes) -> None:
        self.channel.basic_publish(amqp.Message(body), "", queue)

    def close(self) -> None:
        self._connection.close()


class RawStreams:
    def __init__(self, server: StoreServer) -> None:
        self._client: Any = server.admin()

    def ready(self, queue: str) -> int:
        count: int = self._client.xlen(queue)
        return count

    def take_all(self, queue: str) -> list[bytes]:
        entries = self._client.xrange(queue)
        self._client.delete(queue)
        return [fields[b"body"] for _entry, fields in entries]

    def put(self, queue: str, body: bytes) -> None:
        self._client.xadd(queue, {"body": body})

    def close(self) -> None:
        self._client.close()


class Graveyard:
    """A broker with our names on it, and its dead letters: a worker's, for an operator."""

    def __init__(self, url_of: Callable[[str], str], namespace: str, raw: Raw) -> None:
        def settings(role: str) -> BrokerSettings:
            return BrokerSettings(url=url_of(role), namespace=namespace, confirm_timeout_s=10)

        self.topology = Topology(namespace)
        self.raw = raw
        self._workers = settings("worker")
        self._operators = settings("operator")
        self._stack = ExitStack()
        self._publisher: Publishing = open_publisher(self._workers, "tests")

    def declare(self) -> None:
        """Do what a worker's start does."""
        with closing(open_bus(self._workers, prefetch=1, name="tests")) as bus:
            bus.open()

    def bury(self, bodies: Sequence[str], **properties: object) -> None:
        """Publish as many dead letters, and wait until the queue has them."""
        before = self.raw.ready(self.topology.dead)
        self._publisher.open()
        self._publisher.publish(
            [Outgoing(self.topology.dead, "a.b", it.encode(), properties) for it in bodies]
        )
        until(lambda: self.ready() == before + len(bodies), "they are buried")

    def ready(self) -> int:
        return self.raw.ready(self.topology.dead)

    def new_queue(self, **changes: object) -> DeadQueue:
        queue = open_dead_queue(self._operators.model_copy(update=changes), "tests dead")
        self._stack.callback(queue.close)
        return queue

    def rabbit_queue(self, **changes: object) -> RabbitDeadQueue:
        queue = self.new_queue(**changes)
        assert isinstance(queue, RabbitDeadQueue)
        return queue

    def queue(self) -> tuple[DeadQueue, int]:
        queue = self.new_queue()
        return queue, queue.open()

    def event(self, browsed: Browsed, exchange: str | None = None) -> tuple[Browsed, Outgoing]:
        return browsed, Outgoing(
            exchange or self.topology.events,
            # To the other exchange, an operator announces and nothing else.
            "key-assigned.volume.p1" if exchange else "volume-created",
            browsed.original.body,
            {"message_id": browsed.original.body.decode(), "delivery_mode": 2},
        )

    def close(self) -> None:
        self._stack.close()
        self._publisher.close()
        self.raw.close()


@pytest.fixture
def rabbit(rabbitmq: RabbitMQ, namespace: str) -> Iterator[Graveyard]:
    rabbitmq.url_of("admin", namespace)
    url_of = partial(rabbitmq.url_of, names=namespace)
    with closing(Graveyard(url_of, namespace, RawRabbit(rabbitmq, namespace))) as found:
        found.declare()
        yield found


@pytest.fixture
def streams(embedded_server: StoreServer, namespace: str) -> Iterator[Graveyard]:
    url_of = partial(embedded_server.url_of, names=namespace)
    with closing(Graveyard(url_of, namespace, RawStreams(embedded_server))) as found:
        found.declare()
        yield found


@pytest.fixture(params=["rabbit", "streams"])
def graveyard(request: pytest.FixtureRequest) -> Graveyard:
    found: Graveyard = request.getfixturevalue(request.param)
    return found


def numbered(count: int) -> list[str]:
    return [f"dead letter-{number:05}" for number in range(count)]


def looked_at(queue: DeadQueue) -> list[Browsed]:
    return [browsed for page in queue.browse() for browsed in page]


def bodies(browsed: Sequence[Browsed]) -> list[str]:
    return [it.original.body.decode() for it in browsed]


def left(graveyard: Graveyard) -> list[str]:
    return sorted(body.decode() for body in graveyard.raw.take_all(graveyard.topology.dead))


def test_looking_shows_each_dead_letter_once_and_takes_none(graveyard: Graveyard) -> None:
    names = numbered(PREFETCH + 7)
    graveyard.bury(names)
    for _ in range(2):
        queue, total = graveyard.queue()
        assert total == len(names)
        assert sorted(bodies(looked_at(queue))) == names
        queue.close()
        # At once: the next to look must not find fewer.
        assert graveyard.ready() == len(names)
    assert left(graveyard) == names


def test_a_dead_letter_is_shown_with_its_properties(graveyard: Graveyard) -> None:
    headers = {"x-kmworker-reason": "conflict", "x-kmworker-attempts": 3}
    graveyard.bury(["one"], application_headers=headers, app_id="cinder")
    queue, _ = graveyard.queue()
    (browsed,) = looked_at(queue)
    assert browsed.original == Original(
        b"one", "a.b", {"application_headers": headers, "app_id": "cinder"}
    )


def test_what_somebody_else_put_there_is_shown_and_discarded(graveyard: Graveyard) -> None:
    graveyard.raw.put(graveyard.topology.dead, b"odd")
    until(lambda: graveyard.ready() == 1, "it is there")
    queue, _ = graveyard.queue()
    (browsed,) = looked_at(queue)
    assert browsed.original.body == b"odd"
    queue.discard([browsed])
    queue.close()
    assert graveyard.ready() == 0


@pytest.mark.parametrize("chosen", [slice(None), slice(None, None, 2), slice(1, None, 7)])
def test_what_is_discarded_is_gone_and_all_else_stays(graveyard: Graveyard, chosen: slice) -> None:
    names = numbered(PREFETCH + 321)
    graveyard.bury(names)
    queue, _ = graveyard.queue()
    gone: list[str] = []
    for page in queue.browse():
        queue.discard(page[chosen])
        gone += bodies(page[chosen])
    queue.close()
    assert gone
    assert left(graveyard) == sorted(set(names) - set(gone))


def test_what_is_replayed_is_an_event_and_no_dead_letter_any_more(graveyard: Graveyard) -> None:
    names = numbered(250)
    graveyard.bury(names)
    queue, _ = graveyard.queue()
    replayed: list[str] = []
    for page in queue.browse():
        # How many come together is the broker's to say.
        chosen = page[::2]
        assert queue.replay([graveyard.event(it) for it in chosen]) == [True] * len(chosen)
        replayed += bodies(chosen)
    queue.close()
    events = sorted(it.decode() for it in graveyard.raw.take_all(graveyard.topology.work))
    assert 0 < len(events) < len(names)
    assert events == sorted(replayed)
    assert sorted(events + left(graveyard)) == names


def test_a_dead_letter_whose_event_no_queue_takes_stays(graveyard: Graveyard) -> None:
    graveyard.bury(["a", "b"])
    queue, _ = graveyard.queue()
    (first, second) = looked_at(queue)
    nowhere = graveyard.topology.assignments
    routed = queue.replay([graveyard.event(first), graveyard.event(second, nowhere)])
    assert routed == [True, False]
    queue.close()
    assert left(graveyard) == bodies([second])


def test_dead_letters_that_die_meanwhile_are_not_looked_at(graveyard: Graveyard) -> None:
    """A replayed event that dies again would otherwise be replayed for ever."""
    names = numbered(150)
    graveyard.bury(names)
    queue, _ = graveyard.queue()
    seen: list[str] = []
    for page in queue.browse():
        graveyard._publisher.publish(
            [Outgoing(graveyard.topology.dead, "a.b", f"again-{it}".encode(), {})
             for it in bodies(page)]
        )  # fmt: skip
        queue.discard(page)
        seen += bodies(page)
    queue.close()
    assert len(seen) == 150
    assert sorted([*seen, *left(graveyard)]) == sorted([*names, *(f"again-{it}" for it in names)])


def test_an_empty_queue_is_looked_through_at_once(graveyard: Graveyard) -> None:
    queue, total = graveyard.queue()
    assert (total, looked_at(queue)) == (0, [])


@pytest.mark.parametrize("end", ["abandon", "close"])
def test_whoever_leaves_in_the_middle_leaves_all_behind(graveyard: Graveyard, end: str) -> None:
    names = numbered(PREFETCH + 100)
    graveyard.bury(names)
    queue, _ = graveyard.queue()
    looking = queue.browse()
    next(looking)
    browsed = next(looking)
    queue.discard(browsed[:3])
    settled = bodies(browsed[:3])
    getattr(queue, end)()
    until(lambda: graveyard.ready() == len(names) - 3, "they are back")
    assert sorted([*settled, *left(graveyard)]) == names


def test_two_at_once_settle_nothing_twice_and_lose_nothing(graveyard: Graveyard) -> None:
    names = numbered(PREFETCH + 300)
    graveyard.bury(names)
    (one, _), (two, _) = graveyard.queue(), graveyard.queue()
    looks = [(one, one.browse()), (two, two.browse())]
    gone: Counter[str] = Counter()
    while looks:
        for queue, look in list(looks):
            page = next(look, None)
            if page is None:
                looks.remove((queue, look))
                continue
            # Each takes what the other leaves: even numbers, odd numbers.
            mine = [it for it in page if int(it.original.body[-1:]) % 2 == (queue is one)]
            queue.discard(mine)
            gone.update(bodies(mine))
    one.close()
    two.close()
    assert max(gone.values()) == 1
    assert sorted([*gone, *left(graveyard)]) == names


def test_names_that_no_worker_has_declared_are_missing(graveyard: Graveyard) -> None:
    queue = graveyard.new_queue(namespace=f"{graveyard.topology.namespace}.other")
    with pytest.raises(NotFound, match="not on the broker"), declared():
        queue.open()


def test_a_connection_that_is_lost_before_the_acknowledgement_loses_no_dead_letter(
    rabbit: Graveyard, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = numbered(PAGE_SIZE + 20)
    rabbit.bury(names)
    queue = rabbit.rabbit_queue()
    queue.open()
    look = queue.browse()
    publish = queue._publisher.publish

    def publish_and_cut(*arguments: Any, **options: Any) -> list[bool]:
        routed = publish(*arguments, **options)
        queue._link.connection.transport.sock.shutdown(socket.SHUT_RDWR)
        return routed

    monkeypatch.setattr(queue._publisher, "publish", publish_and_cut)
    first = next(look)
    with pytest.raises(BrokerUnavailable):
        queue.replay([rabbit.event(browsed) for browsed in first])
    until(lambda: rabbit.ready() == len(names), "all are back")
    # They are events, too, by now: to repeat one is harmless.
    events = [it.decode() for it in rabbit.raw.take_all(rabbit.topology.work)]
    assert sorted(events) == sorted(bodies(first))
    assert left(rabbit) == names


# --- RabbitMQ alone ------------------------------------------------------------------


def test_another_consumer_is_seen_and_what_it_holds_is_not_waited_for(rabbit: Graveyard) -> None:
    rabbit.bury(numbered(10))
    first, second = rabbit.rabbit_queue(), rabbit.rabbit_queue()
    assert first.open() == 10
    next(first.browse())
    assert (second.open(), second.others) == (0, 1)
    assert looked_at(second) == []


def test_dead_letters_that_others_take_meanwhile_are_not_waited_for(rabbit: Graveyard) -> None:
    rabbit.bury(numbered(10))
    first, second = rabbit.rabbit_queue(), rabbit.rabbit_queue()
    assert first.open() == 10
    next(first.browse())
    # As if it had counted before the other came.
    second.open()
    second._expected = 10
    assert looked_at(second) == []


def test_a_dead_letter_is_read_with_as_many_headers_as_a_worker_gives_it(rabbit: Graveyard) -> None:
    headers = {f"h{number}": "x" * 1000 for number in range(16)}
    rabbit.bury(["one"], application_headers=headers)
    queue = rabbit.rabbit_queue()
    queue.open()
    (browsed,) = looked_at(queue)
    assert browsed.original.properties["application_headers"] == headers


def test_of_a_dead_letter_with_more_headers_some_are_read(rabbit: Graveyard) -> None:
    headers = {f"h{number}": "x" * 1000 for number in range(100)}
    rabbit.bury(["one"], application_headers=headers)
    queue = rabbit.rabbit_queue()
    queue.open()
    (browsed,) = looked_at(queue)
    assert browsed.original.properties["application_headers"].items() >= {"h0": "x" * 1000}.items()


def test_it_is_told_how_often_a_dead_letter_was_given_back(rabbit: Graveyard) -> None:
    rabbit.bury(numbered(1))
    for returned in range(3):
        queue = rabbit.rabbit_queue()
        queue.open()
        assert [browsed.returned for browsed in looked_at(queue)] == [returned]
        queue.close()


def test_a_queue_that_goes_away_ends_the_looking(rabbit: Graveyard) -> None:
    rabbit.bury(numbered(PREFETCH + 1))
    queue = rabbit.rabbit_queue()
    queue.open()
    look = queue.browse()
    next(look)
    assert isinstance(rabbit.raw, RawRabbit)
    rabbit.raw.channel.queue_delete(rabbit.topology.dead)
    with pytest.raises(BrokerUnavailable):
        list(look)


def test_a_queue_that_sends_nothing_is_not_waited_for_for_ever(
    rabbit: Graveyard, monkeypatch: pytest.MonkeyPatch
) -> None:
    rabbit.bury(numbered(1))
    queue = rabbit.rabbit_queue(confirm_timeout_s=2)
    # As if its leader were elected over and over.
    monkeypatch.setattr(queue, "_consume", lambda _credit=0: None)
    queue.open()
    with pytest.raises(BrokerUnavailable, match="has 1 dead letters, sends none"):
        looked_at(queue)


@pytest.mark.parametrize(
    ("version", "may_drop"), [("3.13.7", False), ("4.0.5", True), ("4.3.3", True), ("", True)]
)
def test_a_broker_of_which_a_limit_is_known_may_drop_dead_letters(
    rabbit: Graveyard, monkeypatch: pytest.MonkeyPatch, version: str, may_drop: bool
) -> None:
    queue = of_version(rabbit, monkeypatch, version)
    queue.open()
    assert queue.may_drop is may_drop


def test_where_dead_letters_may_be_dropped_one_is_handed_out_before_the_others(
    rabbit: Graveyard, monkeypatch: pytest.MonkeyPatch
) -> None:
    rabbit.bury(numbered(3))
    queue = of_version(rabbit, monkeypatch, "4.0.5")
    queue.open()
    assert len(next(iter(queue.browse()))) == 1
    queue.close()
    again = rabbit.rabbit_queue()
    again.open()
    assert sorted(browsed.returned for browsed in looked_at(again)) == [0, 0, 1]


def of_version(rabbit: Graveyard, monkeypatch: pytest.MonkeyPatch, version: str) -> RabbitDeadQueue:
    """Return the queue, on a broker that says that it is of this version."""
    queue = rabbit.rabbit_queue()
    connect = queue._link.open

    def connect_to_version() -> None:
        connect()
        queue._link.connection.server_properties["version"] = version

    monkeypatch.setattr(queue._link, "open", connect_to_version)
    return queue
