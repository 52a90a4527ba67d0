"""The message that stopped every worker of 0.1, under the shipped accounts and policies."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import amqp
import pytest

from tests.integration.privilege.accounts import VHOST, Broker, Installation, Store, take
from tests.kit.amqp_frames import Encoded, grown_headers
from tests.kit.outside.wire import plain
from tests.kit.outside.words import Event, Item
from tests.kit.outside.worker import Worker
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, redis_store

EVENTS, ASSIGNMENTS, DEAD = "kmworker.events", "kmworker.assignments", "kmworker.dead"
QUEUE = "kmworker.sub.headers"


@pytest.fixture
def alone(rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A store and names of its own: others count what is dead."""
    rabbitmq.renew()
    with closing(redis_store(tmp_path_factory.mktemp("store"))) as store:
        store.start()
        folder = tmp_path_factory.mktemp("installation")
        installed = Installation(Store(store), Broker(rabbitmq), folder)
        installed.make_keyring()
        yield installed


def event(name: str, source: str | None = None) -> Any:
    kind = "snapshot" if source else "volume"
    parent = Item("p1", "volume", source) if source else None
    return plain(Event(Item("p1", kind, name), f"event-{name}", "/tests", parent))


def produce(broker: Broker, *messages: tuple[bytes, str, bool]) -> None:
    """Publish as a producer: body, routing key, and whether the array goes along."""
    connection = amqp.Connection(
        f"127.0.0.1:{broker.server.port}", userid="producer", virtual_host=VHOST,
        password=broker.password("producer"), confirm_publish=True,
    )  # fmt: skip
    with connection:
        channel = connection.channel()
        for body, key, is_odd in messages:
            message = Encoded(body, grown_headers()) if is_odd else amqp.Message(body)
            channel.basic_publish(message, EVENTS, key)


def test_it_costs_a_letter_its_header_and_nobody_else_anything(alone: Installation) -> None:
    broker = alone.broker
    settings = ("KMWORKER_WAITING__DEADLINE_S=3", "KMWORKER_WAITING__SWEEP_S=0.5")
    orphan = event("orphan", "nowhere")
    with broker.connect("subscriber") as connection, broker.connect("operator") as other:
        listening, dead = connection.channel(), other.channel()
        listening.queue_declare(QUEUE, exclusive=True)
        listening.queue_bind(QUEUE, ASSIGNMENTS, "key-assigned.#")
        heard: set[str] = set()
        letters: dict[bytes, dict[str, Any]] = {}

        def hear() -> set[str]:
            while (taken := take(listening, QUEUE)) is not None:
                heard.add(json.loads(taken.body)["data"]["item"]["id"])
            return heard

        def collect() -> set[bytes]:
            while (letter := take(dead, DEAD)) is not None:
                letters[letter.body] = letter.headers
            return set(letters)

        workers = [Worker(alone.site("worker", "worker", settings)) for _ in range(2)]
        try:
            honest = [event(f"v{number}") for number in range(40)]
            for number, message in enumerate(honest):
                produce(
                    broker,
                    (b"not json %d" % number, "volume-created", True),
                    (message.body, message.routing_key, False),
                )
            produce(broker, (orphan.body, orphan.routing_key, True))
            # In the middle of it, and while one of them is parked.
            workers.pop().kill()
            workers.append(Worker(alone.site("worker", "worker", settings)))
            until(lambda: len(hear()) == 40, "every honest event is assigned", within_s=60)
            until(lambda: len(collect()) == 41, "every other has its letter", within_s=60)
        except BaseException as error:
            error.add_note(workers[0].tail())
            raise
        finally:
            for worker in workers:
                worker.kill()
    assert letters.pop(orphan.body)["x-kmworker-reason"] == "source-missing"
    assert {headers["x-kmworker-reason"] for headers in letters.values()} == {"malformed"}
    assert {headers["x-kmworker-left-off"] for headers in letters.values()} == {"x"}
