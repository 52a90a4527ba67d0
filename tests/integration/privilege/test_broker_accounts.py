"""definitions.json: what each account of the broker may do, asked of RabbitMQ."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import amqp
import pytest
from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import (
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from kmworker.bus.topology import Topology
from kmworker.events import EVENT_TYPES
from tests.integration.outside.worker import Site

from .accounts import BROKER_USERS, CONFIG, NAMESPACE, PREFIX, VHOST, Broker, filled, take

EVENTS, WORK = "kmworker.events", "kmworker.events.work"
ASSIGNMENTS, DEAD = "kmworker.assignments", "kmworker.dead"
OWN, LASTING, OTHERS = "kmworker.sub.tests", "kmworker.sub.lasting", "someone.elses"
ASSIGNED: Final = "key-assigned.volume.p1"
ACCESS_REFUSED: Final = 403
QUORUM: Final = {"x-queue-type": "quorum"}

Act = Callable[[BlockingChannel], object]


def publish(exchange: str, routing_key: str) -> Act:
    """Publish, confirmed: only an answer says that it was permitted."""

    def act(channel: BlockingChannel) -> None:
        channel.confirm_delivery()
        # Expired at once: a permitted test must leave nothing behind for the next.
        channel.basic_publish(exchange, routing_key, b"", BasicProperties(expiration="0"))

    return act


def consume(queue: str) -> Act:
    return lambda channel: channel.basic_get(queue)


def declare_queue(name: str, **arguments: Any) -> Act:
    """Declare a queue for this connection alone, so that it is gone before the next test."""
    return lambda channel: channel.queue_declare(name, exclusive=True, arguments=arguments)


def declare_exchange(name: str, **arguments: Any) -> Act:
    return lambda channel: channel.exchange_declare(
        name, "topic", durable=True, arguments=arguments
    )


def bind(queue: str, exchange: str, key: str) -> Act:
    return lambda channel: channel.queue_bind(queue, exchange, key)


def own_queue_bound(exchange: str, key: str) -> Act:
    """Do what `kmworker watch` does: a queue that the broker names, for this connection alone."""

    def act(channel: BlockingChannel) -> None:
        queue = channel.queue_declare("", exclusive=True).method.queue
        assert queue is not None
        channel.queue_bind(queue, exchange, key)
        channel.basic_get(queue)

    return act


def both(first: Act, second: Act) -> Act:
    def act(channel: BlockingChannel) -> None:
        first(channel)
        second(channel)

    return act


def look_at(queue: str) -> Act:
    return lambda channel: channel.queue_declare(queue, passive=True)


MAY: Final[dict[str, dict[str, Act]]] = {
    "producer": {f"publish {type_}": publish(EVENTS, type_) for type_ in sorted(EVENT_TYPES)},
    "worker": {
        "take an event": consume(WORK),
        "announce": publish(ASSIGNMENTS, ASSIGNED),
        "announce for a project with dots": publish(ASSIGNMENTS, "key-assigned.replica.eu1.b@c"),
        "dead-letter": publish(DEAD, "malformed.unknown"),
        "count dead letters": look_at(DEAD),
    },
    "subscriber": {
        "declare a durable queue": both(
            lambda channel: channel.queue_declare(LASTING, durable=True, arguments=QUORUM),
            lambda channel: channel.queue_delete(LASTING),
        ),
        "subscribe": both(declare_queue(OWN), bind(OWN, ASSIGNMENTS, "key-assigned.#")),
        "subscribe to a project": both(
            declare_queue(OWN), bind(OWN, ASSIGNMENTS, "key-assigned.*.p1")
        ),
        "receive": both(declare_queue(OWN), consume(OWN)),
        "dead-letter among its own": declare_queue(
            "kmworker.sub.dlx", **{"x-dead-letter-exchange": "kmworker.sub.rest"}
        ),
    },
    "operator": {
        "read dead letters": consume(DEAD),
        "replay": publish(EVENTS, "volume-created"),
        "replay what is of no known type": publish(EVENTS, "volume-exploded"),
        "announce again": publish(ASSIGNMENTS, ASSIGNED),
        "watch assignments": own_queue_bound(ASSIGNMENTS, "key-assigned.#"),
        "watch dead letters": own_queue_bound(DEAD, "#"),
        "count events": look_at(WORK),
    },
}

CONFIGURES: Final[dict[str, Act]] = {
    "declare a queue": declare_queue(OTHERS),
    "declare an exchange": declare_exchange(OTHERS),
    "declare the work queue otherwise": declare_queue(WORK),
    "declare the work queue as it is": lambda channel: channel.queue_declare(
        WORK, durable=True, arguments=QUORUM
    ),
    "declare the events exchange": declare_exchange(EVENTS),
    "delete the work queue": lambda channel: channel.queue_delete(WORK),
    "delete the dead queue": lambda channel: channel.queue_delete(DEAD),
    "delete the events exchange": lambda channel: channel.exchange_delete(EVENTS),
    "unbind the work queue": lambda channel: channel.queue_unbind(WORK, EVENTS, "#"),
    "bind the work queue elsewhere": bind(WORK, ASSIGNMENTS, "#"),
    "bind the dead queue elsewhere": bind(DEAD, EVENTS, "#"),
    "publish past all exchanges": publish("", WORK),
    "publish to amq.topic": publish("amq.topic", "volume-created"),
    "publish dead letters to the queue": publish("", DEAD),
}
NO_QUEUE_OF_ITS_OWN: Final[dict[str, Act]] = {
    "have the broker name a queue": own_queue_bound(ASSIGNMENTS, "key-assigned.#"),
    "declare a subscriber's queue": declare_queue(OWN),
}

MAY_NOT: Final[dict[str, dict[str, Act]]] = {
    "producer": {
        **CONFIGURES,
        **NO_QUEUE_OF_ITS_OWN,
        "publish what is no event type": publish(EVENTS, "volume-exploded"),
        "publish a longer type": publish(EVENTS, "volume-created.x"),
        "publish an assignment": publish(ASSIGNMENTS, ASSIGNED),
        "publish a dead letter": publish(DEAD, "malformed.unknown"),
        "take events": consume(WORK),
        "take dead letters": consume(DEAD),
        "purge events": lambda channel: channel.queue_purge(WORK),
    },
    "worker": {
        **CONFIGURES,
        **NO_QUEUE_OF_ITS_OWN,
        "publish an event": publish(EVENTS, "volume-created"),
        "take dead letters": consume(DEAD),
        "purge dead letters": lambda channel: channel.queue_purge(DEAD),
        "take a subscriber's messages": consume(OWN),
    },
    "subscriber": {
        **CONFIGURES,
        "have the broker name a queue": own_queue_bound(ASSIGNMENTS, "key-assigned.#"),
        "bind to more than assignments": both(declare_queue(OWN), bind(OWN, ASSIGNMENTS, "#")),
        "listen to events": both(declare_queue(OWN), bind(OWN, EVENTS, "#")),
        "listen to dead letters": both(declare_queue(OWN), bind(OWN, DEAD, "#")),
        "publish an event": publish(EVENTS, "volume-created"),
        "publish an assignment": publish(ASSIGNMENTS, ASSIGNED),
        "publish a dead letter": publish(DEAD, "malformed.unknown"),
        "take events": consume(WORK),
        "take dead letters": consume(DEAD),
        "dead-letter into the events": declare_queue(
            "kmworker.sub.dlx2", **{"x-dead-letter-exchange": EVENTS}
        ),
        "feed the events from an exchange of its own": both(
            declare_exchange("kmworker.sub.x"),
            lambda channel: channel.exchange_bind(EVENTS, "kmworker.sub.x", "#"),
        ),
    },
    "operator": {
        **CONFIGURES,
        "declare a subscriber's queue": declare_queue(OWN),
        "take events": consume(WORK),
        "purge events": lambda channel: channel.queue_purge(WORK),
        "listen to events": own_queue_bound(EVENTS, "#"),
        "watch more than assignments": own_queue_bound(ASSIGNMENTS, "#"),
        "publish no assignment to subscribers": publish(ASSIGNMENTS, "volume-created"),
        "forge a dead letter": publish(DEAD, "malformed.unknown"),
        "take a subscriber's messages": consume(OWN),
    },
}


@pytest.mark.parametrize("user", BROKER_USERS)
def test_each_can_do_its_job(broker: Broker, user: str) -> None:
    with broker.connect(user) as connection:
        assert [what for what, act in MAY[user].items() if _is_refused(connection, act)] == []


@pytest.mark.parametrize("user", BROKER_USERS)
def test_everything_else_is_refused(broker: Broker, user: str) -> None:
    with broker.connect(user) as connection:
        acts = MAY_NOT[user].items()
        assert [what for what, act in acts if not _is_refused(connection, act)] == []


@pytest.mark.parametrize("user", BROKER_USERS)
def test_nobody_gets_into_another_vhost(broker: Broker, user: str) -> None:
    with pytest.raises(ProbableAccessDeniedError), broker.connect(user, vhost="%2F"):
        pass


def test_nobody_gets_in_before_a_password_is_set(broker: Broker) -> None:
    shipped = str(CONFIG / "rabbitmq" / "definitions.json")
    broker.server.ctl("import_definitions", shipped)
    try:
        for user in BROKER_USERS:
            for password in ("", user, "guest", broker.passwords.of("rabbitmq", user)):
                with (
                    pytest.raises(ProbableAuthenticationError),
                    broker.connect(user, password=password),
                ):
                    pass
    finally:
        # What the broker loads at its start, so the passwords are back.
        broker.server.ctl("import_definitions", str(broker.loaded / "definitions.json"))
    for user in BROKER_USERS:
        broker.connect(user).close()


def test_an_account_without_a_password_file_gets_none(tmp_path: Path) -> None:
    (tmp_path / "rabbitmq-worker").write_text("secret")
    users = json.loads(filled("rabbitmq", "definitions.json", tmp_path))["users"]
    assert [user["name"] for user in users if user["password_hash"]] == ["worker"]


def test_a_producer_publishes_by_command(broker: Broker, tmp_path: Path) -> None:
    site = Site(tmp_path, broker.url("producer"), "redis://none.invalid", NAMESPACE, PREFIX)
    site.run("publish", "volume-created", "--project", "p1", "--set", "volume_id=by-command")
    with broker.connect("worker") as connection:
        event = take(connection.channel(), WORK)
    assert event is not None
    assert json.loads(event.body)["data"]["volume_id"] == "by-command"


def test_a_worker_that_may_declare_finds_nothing_else_to_declare(broker: Broker) -> None:
    shipped = json.loads((CONFIG / "rabbitmq" / "definitions.json").read_text())
    topology = Topology(NAMESPACE)
    names = {topology.events, topology.assignments, topology.dead}
    assert {exchange["name"] for exchange in shipped["exchanges"]} == names
    assert {queue["name"] for queue in shipped["queues"]} == {topology.work, topology.dead}
    before = _topology(broker)
    with amqp.Connection(f"127.0.0.1:{broker.server.port}", virtual_host=VHOST) as connection:
        topology.ensure(connection)
    assert _topology(broker) == before


def test_redelivery_is_without_limit_on_our_queues_and_on_no_others(
    broker: Broker, tmp_path: Path
) -> None:
    shipped = CONFIG / "rabbitmq" / "policies-4.x.json"
    policies = json.loads(shipped.read_text())
    assert all(policy["definition"] == {"delivery-limit": -1} for policy in policies["policies"])
    # 4.x has a limit unless it is told otherwise; 3.x has none, and refuses to be told so.
    if broker.server.ctl("version").startswith("3."):
        with pytest.raises(subprocess.CalledProcessError):
            broker.server.ctl("import_definitions", str(shipped))
        for policy in policies["policies"]:
            policy["definition"] = {"delivery-limit": 1_000_000}
    path = tmp_path / "policies.json"
    path.write_text(json.dumps(policies))
    with broker.connect("guest", password="guest") as connection:
        channel = connection.channel()
        for queue in (LASTING, OTHERS):
            channel.queue_declare(queue, durable=True, arguments=QUORUM)
        broker.server.ctl("import_definitions", str(path))
        try:
            governed = json.loads(
                broker.server.ctl("list_queues", "-p", VHOST, "--formatter=json", "name", "policy")
            )
        finally:
            for policy in policies["policies"]:
                broker.server.ctl("clear_policy", "-p", VHOST, policy["name"])
            for queue in (LASTING, OTHERS):
                channel.queue_delete(queue)
    assert {queue["name"] for queue in governed if queue["policy"]} == {DEAD, WORK, LASTING}


def _is_refused(connection: BlockingConnection, act: Act) -> bool:
    channel = connection.channel()
    try:
        act(channel)
    except ChannelClosedByBroker as closed:
        if closed.reply_code != ACCESS_REFUSED:
            raise
        return True
    channel.close()
    return False


def _topology(broker: Broker) -> dict[str, list[dict[str, Any]]]:
    """Return all exchanges, queues and bindings, sorted."""
    defined = json.loads(broker.server.ctl("export_definitions", "-"))
    return {
        what: sorted(defined[what], key=json.dumps) for what in ("exchanges", "queues", "bindings")
    }
