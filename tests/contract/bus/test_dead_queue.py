"""What the dead letters promise to a person, on RabbitMQ and on streams."""

import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any, Protocol

import amqp
import pytest
import redis

from kmworker.bus.choice import Publishing, open_bus, open_dead_queue, open_publisher
from kmworker.bus.dead_queue import PORTION, PREFETCH, DeadQueue, Held, RabbitDeadQueue
from kmworker.bus.topology import QUORUM, Topology
from kmworker.cli.access import declared
from kmworker.errors import BrokerUnavailable, NotFound
from kmworker.message import Original, Outgoing
from kmworker.settings import BrokerSettings
from tests.integration.outside.polling import until
from tests.servers import RabbitMQ, StoreServer


class Raw(Protocol):
    """The broker as anybody but us sees it."""

    def ready(self, queue: str) -> int:
        """Count what nobody holds."""
        ...

    def take_all(self, queue: str) -> list[bytes]:
        """Take everything out."""
        ...

    def put(self, queue: str, body: bytes) -> None:
        """Put in what no worker wrote."""
        ...

    def forget(self) -> None:
        """Delete everything."""
        ...


class RawRabbit:
    def __init__(self, server: RabbitMQ, topology: Topology) -> None:
        self._topology = topology
        self._connection = amqp.Connection(f"127.0.0.1:{server.port}")
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

    def forget(self) -> None:
        names = self._topology
        for queue in (names.work, names.dead):
            self.channel.queue_delete(queue)
        for exchange in (names.events, names.assignments, names.dead):
            self.channel.exchange_delete(exchange)
        self._connection.close()


class RawStreams:
    def __init__(self, server: StoreServer, topology: Topology) -> None:
        self._topology = topology
        self._client: Any = redis.Redis.from_url(server.url, protocol=2)

    def ready(self, queue: str) -> int:
        count: int = self._client.xlen(queue)
        return count

    def take_all(self, queue: str) -> list[bytes]:
        entries = self._client.xrange(queue)
        self._client.delete(queue)
        return [fields[b"body"] for _entry, fields in entries]

    def put(self, queue: str, body: bytes) -> None:
        self._client.xadd(queue, {"body": body})

    def forget(self) -> None:
        for key in self._client.scan_iter(f"{self._topology.namespace}.*"):
            self._client.delete(key)
        self._client.close()


class Graveyard:
    """A broker that a worker has declared, and its dead letters."""

    def __init__(self, settings: BrokerSettings, raw: Raw, stack: ExitStack) -> None:
        self.topology = Topology(settings.namespace)
        self.raw = raw
        self._settings = settings
        self._stack = stack
        self._publisher: Publishing = open_publisher(settings, "tests")

    def declare(self) -> None:
        """Do what a worker's start does."""
        with closing(open_bus(self._settings, prefetch=1, name="tests")) as bus:
            bus.open()

    def bury(self, bodies: Sequence[str], **properties: object) -> None:
        """Publish as many letters, and wait until the queue has them."""
        before = self.raw.ready(self.topology.dead)
        self._publisher.open()
        self._publisher.publish(
            [Outgoing(self.topology.dead, "a.b", it.encode(), properties) for it in bodies]
        )
        until(lambda: self.ready() == before + len(bodies), "they are buried")

    def ready(self) -> int:
        return self.raw.ready(self.topology.dead)

    def new_queue(self, **changes: str) -> DeadQueue:
        queue = open_dead_queue(self._settings.model_copy(update=changes), "tests dead")
        self._stack.callback(queue.close)
        return queue

    def queue(self) -> tuple[DeadQueue, int]:
        queue = self.new_queue()
        return queue, queue.open()

    def event(self, held: Held, exchange: str | None = None) -> tuple[Held, Outgoing]:
        return held, Outgoing(
            exchange or self.topology.events,
            "volume-created",
            held.original.body,
            {"message_id": held.original.body.decode(), "delivery_mode": 2},
        )

    def close(self) -> None:
        self._publisher.close()
        self.raw.forget()


@pytest.fixture(params=["rabbitmq", "streams"])
def graveyard(request: pytest.FixtureRequest, namespace: str) -> Iterator[Graveyard]:
    topology = Topology(namespace)
    raw: Raw
    if request.param == "rabbitmq":
        broker: RabbitMQ = request.getfixturevalue("rabbitmq")
        url, raw = broker.url, RawRabbit(broker, topology)
    else:
        server: StoreServer = request.getfixturevalue("valkey_server")
        url, raw = server.url, RawStreams(server, topology)
    settings = BrokerSettings(url=url, namespace=namespace, confirm_timeout_s=10)
    with ExitStack() as stack:
        graveyard = Graveyard(settings, raw, stack)
        stack.callback(graveyard.close)
        graveyard.declare()
        yield graveyard


def numbered(count: int) -> list[str]:
    return [f"letter-{number:05}" for number in range(count)]


def looked_at(queue: DeadQueue) -> list[Held]:
    return [held for portion in queue.look() for held in portion]


def bodies(held: Sequence[Held]) -> list[str]:
    return [it.original.body.decode() for it in held]


def left(graveyard: Graveyard) -> list[str]:
    return sorted(body.decode() for body in graveyard.raw.take_all(graveyard.topology.dead))


def test_looking_shows_each_letter_once_and_takes_none(graveyard: Graveyard) -> None:
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


def test_a_letter_is_shown_with_its_properties(graveyard: Graveyard) -> None:
    headers = {"x-kmworker-reason": "conflict", "x-kmworker-attempts": 3}
    graveyard.bury(["one"], application_headers=headers, app_id="cinder")
    queue, _ = graveyard.queue()
    (held,) = looked_at(queue)
    assert held.original == Original(
        b"one", "a.b", {"application_headers": headers, "app_id": "cinder"}
    )


def test_what_somebody_else_put_there_is_shown_and_discarded(graveyard: Graveyard) -> None:
    graveyard.raw.put(graveyard.topology.dead, b"odd")
    until(lambda: graveyard.ready() == 1, "it is there")
    queue, _ = graveyard.queue()
    (held,) = looked_at(queue)
    assert held.original.body == b"odd"
    queue.discard([held])
    queue.close()
    assert graveyard.ready() == 0


@pytest.mark.parametrize("chosen", [slice(None), slice(None, None, 2), slice(1, None, 7)])
def test_what_is_discarded_is_gone_and_all_else_stays(graveyard: Graveyard, chosen: slice) -> None:
    names = numbered(PREFETCH + 321)
    graveyard.bury(names)
    queue, _ = graveyard.queue()
    gone: list[str] = []
    for portion in queue.look():
        queue.discard(portion[chosen])
        gone += bodies(portion[chosen])
    queue.close()
    assert gone
    assert left(graveyard) == sorted(set(names) - set(gone))


def test_what_is_replayed_is_an_event_and_no_letter_any_more(graveyard: Graveyard) -> None:
    names = numbered(250)
    graveyard.bury(names)
    queue, _ = graveyard.queue()
    replayed: list[str] = []
    for portion in queue.look():
        # How many come together is the broker's to say.
        chosen = portion[::2]
        assert queue.replay([graveyard.event(it) for it in chosen]) == [True] * len(chosen)
        replayed += bodies(chosen)
    queue.close()
    events = sorted(it.decode() for it in graveyard.raw.take_all(graveyard.topology.work))
    assert 0 < len(events) < len(names)
    assert events == sorted(replayed)
    assert sorted(events + left(graveyard)) == names


def test_a_letter_whose_event_no_queue_takes_stays(graveyard: Graveyard) -> None:
    graveyard.bury(["a", "b"])
    queue, _ = graveyard.queue()
    (first, second) = looked_at(queue)
    nowhere = graveyard.topology.assignments
    routed = queue.replay([graveyard.event(first), graveyard.event(second, nowhere)])
    assert routed == [True, False]
    queue.close()
    assert left(graveyard) == bodies([second])


def test_letters_that_die_meanwhile_are_not_looked_at(graveyard: Graveyard) -> None:
    """A replayed event that dies again would otherwise be replayed for ever."""
    names = numbered(150)
    graveyard.bury(names)
    queue, _ = graveyard.queue()
    seen: list[str] = []
    for portion in queue.look():
        graveyard._publisher.publish(
            [Outgoing(graveyard.topology.dead, "a.b", f"again-{it}".encode(), {})
             for it in bodies(portion)]
        )  # fmt: skip
        queue.discard(portion)
        seen += bodies(portion)
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
    looking = queue.look()
    next(looking)
    held = next(looking)
    queue.discard(held[:3])
    settled = bodies(held[:3])
    getattr(queue, end)()
    until(lambda: graveyard.ready() == len(names) - 3, "they are back")
    assert sorted([*settled, *left(graveyard)]) == names


def test_two_at_once_settle_nothing_twice_and_lose_nothing(graveyard: Graveyard) -> None:
    names = numbered(PREFETCH + 300)
    graveyard.bury(names)
    (one, _), (two, _) = graveyard.queue(), graveyard.queue()
    looks = [(one, one.look()), (two, two.look())]
    gone: Counter[str] = Counter()
    while looks:
        for queue, look in list(looks):
            portion = next(look, None)
            if portion is None:
                looks.remove((queue, look))
                continue
            # Each takes what the other leaves: even numbers, odd numbers.
            mine = [it for it in portion if int(it.original.body[-1:]) % 2 == (queue is one)]
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


@pytest.mark.parametrize("graveyard", ["rabbitmq"], indirect=True)
def test_a_connection_that_is_lost_before_the_acknowledgement_loses_no_letter(
    graveyard: Graveyard, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = numbered(PORTION + 20)
    graveyard.bury(names)
    queue, _ = graveyard.queue()
    assert isinstance(queue, RabbitDeadQueue)
    look = queue.look()
    publish = queue._publisher.publish

    def publish_and_cut(*arguments: Any, **options: Any) -> list[bool]:
        routed = publish(*arguments, **options)
        queue._link.connection.transport.sock.shutdown(socket.SHUT_RDWR)
        return routed

    monkeypatch.setattr(queue._publisher, "publish", publish_and_cut)
    first = next(look)
    with pytest.raises(BrokerUnavailable):
        queue.replay([graveyard.event(held) for held in first])
    until(lambda: graveyard.ready() == len(names), "all are back")
    # They are events, too, by now: to repeat one is harmless.
    events = [it.decode() for it in graveyard.raw.take_all(graveyard.topology.work)]
    assert sorted(events) == sorted(bodies(first))
    assert left(graveyard) == names


# --- RabbitMQ alone ------------------------------------------------------------------


class Lone:
    """A dead queue without all else."""

    def __init__(self, server: RabbitMQ, namespace: str, stack: ExitStack) -> None:
        self.name = Topology(namespace).dead
        self._settings = BrokerSettings(url=server.url, namespace=namespace, confirm_timeout_s=2)
        self._stack = stack
        connection = amqp.Connection(f"127.0.0.1:{server.port}")
        connection.connect()
        stack.callback(connection.close)
        self.channel: Any = connection.channel()
        self.channel.queue_declare(
            self.name, durable=True, auto_delete=False, arguments=dict(QUORUM)
        )
        stack.callback(self.channel.queue_delete, self.name)

    def bury(self, count: int, **properties: Any) -> None:
        for number in range(count):
            message = amqp.Message(str(number).encode(), **properties)
            self.channel.basic_publish(message, "", self.name)
        until(lambda: self._ready() >= count, "the letters are there")

    def queue(self) -> RabbitDeadQueue:
        queue = RabbitDeadQueue(self._settings, "tests dead")
        self._stack.callback(queue.close)
        return queue

    def _ready(self) -> int:
        count: int = self.channel.queue_declare(self.name, passive=True).message_count
        return count


@pytest.fixture
def lone(rabbitmq: RabbitMQ, namespace: str) -> Iterator[Lone]:
    with ExitStack() as stack:
        yield Lone(rabbitmq, namespace, stack)


def test_another_consumer_is_seen_and_what_it_holds_is_not_waited_for(lone: Lone) -> None:
    lone.bury(10)
    first, second = lone.queue(), lone.queue()
    assert first.open() == 10
    next(first.look())
    assert (second.open(), second.others) == (0, 1)
    assert looked_at(second) == []


def test_letters_that_others_take_meanwhile_are_not_waited_for(lone: Lone) -> None:
    lone.bury(10)
    first, second = lone.queue(), lone.queue()
    assert first.open() == 10
    next(first.look())
    # As if it had counted before the other came.
    second.open()
    second._expected = 10
    assert looked_at(second) == []


def test_a_letter_with_headers_that_fill_half_a_frame_is_read_with_them(lone: Lone) -> None:
    headers = {f"h{number}": "x" * 1000 for number in range(66)}
    lone.bury(1, application_headers=headers)
    queue = lone.queue()
    queue.open()
    (held,) = looked_at(queue)
    assert held.original.properties["application_headers"] == headers


def test_it_is_told_how_often_a_letter_was_given_back(lone: Lone) -> None:
    lone.bury(1)
    for returned in range(3):
        queue = lone.queue()
        queue.open()
        assert [held.returned for held in looked_at(queue)] == [returned]
        queue.close()


def test_a_queue_that_goes_away_ends_the_looking(lone: Lone) -> None:
    lone.bury(PREFETCH + 1)
    queue = lone.queue()
    queue.open()
    look = queue.look()
    next(look)
    lone.channel.queue_delete(lone.name)
    with pytest.raises(BrokerUnavailable):
        list(look)


def test_a_queue_that_sends_nothing_is_not_waited_for_for_ever(
    lone: Lone, monkeypatch: pytest.MonkeyPatch
) -> None:
    lone.bury(1)
    queue = lone.queue()
    # As if its leader were elected over and over.
    monkeypatch.setattr(queue, "_consume", lambda: None)
    queue.open()
    with pytest.raises(BrokerUnavailable, match="has 1 letters, sends none"):
        looked_at(queue)


@pytest.mark.parametrize(
    ("version", "may_drop"), [("3.13.7", False), ("4.0.5", True), ("4.3.3", True), ("", True)]
)
def test_a_broker_of_which_a_limit_is_known_may_drop_letters(
    lone: Lone, monkeypatch: pytest.MonkeyPatch, version: str, may_drop: bool
) -> None:
    queue = lone.queue()
    connect = queue._link.open

    def connect_to_version() -> None:
        connect()
        queue._link.connection.server_properties["version"] = version

    monkeypatch.setattr(queue._link, "open", connect_to_version)
    queue.open()
    assert queue.may_drop is may_drop
