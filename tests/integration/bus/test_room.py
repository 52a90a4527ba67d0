"""Queues of others without room, on a real broker: nobody else waits, and nothing is lost."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import amqp
import pytest

from kmworker.settings import Settings
from kmworker.worker.loop import Worker
from tests.integration.bus.conftest import Producer
from tests.integration.running import running
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ
from tests.kit.simulator.events import Sent, garbage, volume

JSON = "application/cloudevents+json"
REJECT = {"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"}

# The shipped policy keeps away what an administrator has for all queues.
FULL = {"max-length": 1, "overflow": "reject-publish"}
PROBE = "is there room?"


@pytest.fixture
def worker(settings: Settings) -> Iterator[Worker]:
    with running(settings) as (started,):
        until(lambda: started._bus.generation, "the worker is connected")
        yield started


def publish(producer: Producer, *events: Sent) -> None:
    for event in events:
        producer.publish(event.body, event.routing_key, content_type=JSON)


def drained(producer: Producer, queue: str, number: int) -> list[Any]:
    found: list[Any] = []

    def more() -> bool:
        # All that is there: 900 pauses would be most of the time that there is.
        while (message := producer.get(queue)) is not None:
            found.append(message)
        return len(found) >= number

    until(more, f"{number} messages come")
    return found


def items(messages: list[Any]) -> list[str]:
    return [json.loads(message.body)["data"]["item"]["id"] for message in messages]


def ready(producer: Producer, queue: str) -> int:
    count: int = producer.channel.queue_declare(queue, passive=True).message_count
    return count


def test_a_subscriber_without_room_costs_nobody_else_an_assignment(
    worker: Worker, producer: Producer, namespace: str
) -> None:
    exchange, full = producer.topology.assignments, f"{namespace}.full"
    well = producer.subscribe(exchange)
    producer.channel.queue_declare(full, durable=True, auto_delete=False, arguments=REJECT)
    producer.channel.queue_bind(full, exchange, "key-assigned.*.p1")
    try:
        wanted = [volume(f"v{number}") for number in range(300)]
        others = [volume(f"w{number}", project="p2") for number in range(300)]
        publish(producer, *(event for pair in zip(wanted, others, strict=True) for event in pair))
        seen: set[str] = set()

        def all_came() -> bool:
            while (message := producer.get(well)) is not None:
                seen.update(items([message]))
            return len(seen) == 600

        until(all_came, "every assignment comes to the healthy subscriber")
        until(lambda: worker._tally.totals["unrouted"], "some count as unrouted")
        until(lambda: ready(producer, producer.topology.work) == 0, "nothing is left")
        until(lambda: not worker._pipeline.unsettled, "every event is acknowledged")
        # A limit of one is not exact, but each assignment is there or counted.
        assert worker._tally.totals["unrouted"] + ready(producer, full) == 300
        assert exchange in worker._tally.trouble
        # There is room: what comes from now on arrives there as well.
        producer.channel.queue_purge(full)
        publish(producer, volume("after"))
        assert items(drained(producer, full, 1)) == ["after"]
    finally:
        producer.channel.queue_delete(full)


@contextmanager
def full(rabbitmq: RabbitMQ, producer: Producer) -> Iterator[None]:
    """Leave the dead queue no room, above our policies, while this lasts.

    A policy takes its time to reach a queue: it is full when it refuses, and not before.
    """
    dead, taken = producer.topology.dead, 0

    def refuses() -> bool:
        nonlocal taken
        try:
            producer.channel.basic_publish(amqp.Message(PROBE), "", dead)
        except amqp.exceptions.MessageNacked:
            return True
        taken += 1
        return False

    with rabbitmq.policy(producer.topology.namespace, f"^{re.escape(dead)}$", FULL, priority=101):
        until(refuses, "the dead queue is full")
        yield
        assert {producer.get(dead).body for _ in range(taken)} == {PROBE}


def test_dead_letters_without_room_wait_alone_and_come_when_there_is_some(
    worker: Worker, producer: Producer, rabbitmq: RabbitMQ
) -> None:
    dead, well = producer.topology.dead, producer.subscribe(producer.topology.assignments)
    with full(rabbitmq, producer):
        bad = [garbage(f"bad {number}") for number in range(40)]
        good = [volume(f"v{number}") for number in range(40)]
        publish(producer, *(event for pair in zip(bad, good, strict=True) for event in pair))
        assert sorted(items(drained(producer, well, 40))) == sorted(f"v{n}" for n in range(40))
        until(lambda: dead in worker._tally.trouble, "the trouble names the exchange")
        publish(producer, volume("more"))
        assert items(drained(producer, well, 1)) == ["more"]
        assert worker._tally.totals["dead"] < 40
        assert len(worker._pipeline.unsettled) == 40 - worker._tally.totals["dead"]
    letters = drained(producer, dead, 40)
    assert sorted(it.body for it in letters) == sorted(event.body for event in bad)
    until(lambda: not worker._tally.trouble, "the trouble is over")
    until(lambda: not worker._pipeline.unsettled, "every event is acknowledged")
    assert ready(producer, dead) == ready(producer, producer.topology.work) == 0


def test_whoever_comes_after_gets_held_back_events_first_and_goes_on_with_the_rest(
    settings: Settings, producer: Producer, rabbitmq: RabbitMQ
) -> None:
    dead = producer.topology.dead
    bad: list[Sent] = []

    def is_refused(worker: Worker) -> bool:
        bad.append(garbage(f"bad {len(bad)}"))
        publish(producer, bad[-1])
        return dead in worker._tally.trouble and len(worker._pipeline.unsettled) > 40

    with ExitStack() as stack:
        with running(settings) as (first,):
            until(lambda: first._bus.generation, "the topology is there")
            well = producer.subscribe(producer.topology.assignments)
            stack.enter_context(full(rabbitmq, producer))
            until(lambda: is_refused(first), "dead letters are refused")
        for life in range(4):
            with running(settings):
                wanted = [volume(f"life-{life}-{number}") for number in range(100)]
                publish(producer, *wanted)
                came = items(drained(producer, well, 100))
                assert sorted(came) == sorted(event.item.id for event in wanted)
    with running(settings):
        letters = drained(producer, dead, len(bad))
    assert sorted(it.body for it in letters) == sorted(event.body for event in bad)


def test_with_too_many_dead_letters_the_intake_stops_and_goes_on_when_there_is_room(
    worker: Worker, producer: Producer, rabbitmq: RabbitMQ
) -> None:
    dead = producer.topology.dead
    with full(rabbitmq, producer):
        publish(producer, *(garbage(f"bad {number}") for number in range(900)))
        until(lambda: dead in worker._tally.last_error, "it says what it waits for")
        assert worker._tally.state == "waiting"
    letters = drained(producer, dead, 900)
    assert len({it.body for it in letters}) == 900
    until(lambda: not worker._pipeline.unsettled, "every event is acknowledged")
    assert worker._tally.state == "running"
