"""definitions.json: what others set for the whole broker does not reach our queues.

One user policy applies to a queue, the one of the highest priority. Operator policies are
merged with it, and nobody can keep them away.
"""

import json
from collections.abc import Iterator
from time import sleep
from typing import Any, Final

import pytest
from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker, ChannelWrongStateError, NackError

from tests.integration.privilege.accounts import VHOST, Broker, take
from tests.integration.privilege.broker_acts import (
    ANCHOR,
    ASSIGNED,
    ASSIGNMENTS,
    AUDIT,
    DEAD,
    EVENTS,
    LASTING,
    OTHERS,
    QUORUM,
    REQUESTS,
    REVOCATIONS,
    WORK,
)
from tests.kit.polling import until
from tests.kit.servers.accounts import ADMIN_USER

OURS: Final = {WORK, DEAD, ANCHOR, AUDIT, REVOCATIONS, LASTING}
TTL_S, EXPIRES_S = 1.0, 2.0
# As in public deployments of OpenStack, whose queues are for calls that somebody waits for.
CATCH_ALL: Final = {"message-ttl": int(TTL_S * 1000), "expires": int(EXPIRES_S * 1000)}
PERSISTENT: Final = BasicProperties(delivery_mode=2)


@pytest.fixture
def admin(broker: Broker) -> Iterator[BlockingChannel]:
    """An administrator, with a subscriber's queue, one that is none of ours, and all empty."""
    with broker.connect(ADMIN_USER) as connection:
        channel = connection.channel()
        for queue in (LASTING, OTHERS):
            channel.queue_declare(queue, durable=True, arguments=QUORUM)
        channel.queue_bind(LASTING, ASSIGNMENTS, "key-assigned.#")
        # Other tests have the same queues, and their workers leave an anchor.
        for queue in (WORK, DEAD, ANCHOR, AUDIT, REVOCATIONS):
            channel.queue_purge(queue)
        channel.confirm_delivery()
        yield channel
        with broker.connect(ADMIN_USER) as again:
            for queue in (LASTING, OTHERS):
                again.channel().queue_delete(queue)


@pytest.fixture
def catch_all(broker: Broker, admin: BlockingChannel) -> Iterator[None]:
    """A policy that someone has set for every queue there is."""
    policy = ["--priority", "99", "catch-all", r"^(?!amq\.).*"]
    broker.server.ctl("set_policy", "-p", VHOST, *policy, json.dumps(CATCH_ALL))
    yield
    broker.server.ctl("clear_policy", "-p", VHOST, "catch-all")


def test_a_policy_for_all_queues_destroys_no_event_and_no_queue_of_ours(
    broker: Broker, admin: BlockingChannel, catch_all: None
) -> None:
    for user, exchange, key in (
        ("producer", EVENTS, "volume-created"),
        ("worker", DEAD, "malformed.unknown"),
        ("worker", ASSIGNMENTS, ASSIGNED),
        ("worker", ANCHOR, ANCHOR),
        ("worker", AUDIT, "record.key-suspended.p1"),
        ("worker", REVOCATIONS, "grant-ended.p1"),
    ):
        with broker.connect(user) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish(exchange, key, b"kept", PERSISTENT, mandatory=True)
    until(lambda: not _exists(broker, OTHERS), "the policy is at work: another queue is gone")
    sleep(TTL_S + EXPIRES_S)
    for queue in OURS:
        found = take(admin, queue)
        assert found is not None, queue
        assert found.body == b"kept"


def test_our_policies_are_on_our_queues_and_on_no_others(
    broker: Broker, admin: BlockingChannel
) -> None:
    governed = _policies(broker)
    # Requests live for seconds, and are asked again.
    assert {queue for queue, policy in governed.items() if policy} == {*OURS, REQUESTS}
    # A program that crashes in a loop gives innocent neighbours back, too.
    for policy in json.loads(broker.server.ctl("export_definitions", "-"))["policies"]:
        # A classic queue has no such limit, and a policy with one would not be applied to it.
        is_of_clients = policy["name"].endswith("-clients")
        assert policy["definition"].get("delivery-limit", 0) >= 1_000_000 * (not is_of_clients)
        assert policy["priority"] >= 100


def test_where_an_operator_bounds_our_queues_their_publishers_hear_of_it(
    broker: Broker, admin: BlockingChannel
) -> None:
    bound = ["bound", f"^{WORK}$", '{"max-length": 3}', "--apply-to", "queues"]
    broker.server.ctl("set_operator_policy", "-p", VHOST, *bound)
    try:
        with broker.connect("producer") as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            accepted = 0
            try:
                # It may take a few more than its bound.
                for number in range(50):
                    body = str(number).encode()
                    channel.basic_publish(EVENTS, "volume-created", body, PERSISTENT)
                    accepted += 1
            except NackError:
                pass
    finally:
        broker.server.ctl("clear_operator_policy", "-p", VHOST, "bound")
    assert accepted < 50
    found = [event.body for event in iter(lambda: take(admin, WORK), None)]
    assert found[:accepted] == [str(number).encode() for number in range(accepted)]


def test_what_is_no_event_by_its_size_is_refused_to_its_sender(
    broker: Broker, admin: BlockingChannel
) -> None:
    largest = 131_072
    with broker.connect("producer") as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish(EVENTS, "volume-created", bytes(largest), PERSISTENT)
        with pytest.raises((ChannelClosedByBroker, ChannelWrongStateError)) as refused:
            channel.basic_publish(EVENTS, "volume-created", bytes(largest + 1), PERSISTENT)
        assert "406" in str(refused.value)
    with broker.connect("worker") as connection:
        found = take(connection.channel(), WORK)
    assert found is not None
    assert len(found.body) == largest


def _policies(broker: Broker) -> dict[str, str]:
    columns = ("--formatter=json", "name", "policy")
    listed: list[Any] = json.loads(broker.server.ctl("list_queues", "-p", VHOST, *columns))
    return {queue["name"]: queue["policy"] for queue in listed}


def _exists(broker: Broker, queue: str) -> bool:
    return queue in _policies(broker)
