"""definitions.json: what each account of the broker may do, asked of RabbitMQ."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import amqp
import pytest
from pika.adapters.blocking_connection import BlockingConnection
from pika.exceptions import (
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from kmworker.bus.topology import Topology
from tests.integration.outside.worker import Site

from .accounts import BROKER_USERS, CONFIG, NAMESPACE, PREFIX, VHOST, Broker, filled, take
from .broker_acts import ANCHOR, DEAD, LASTING, MAY, MAY_NOT, OTHERS, QUORUM, WORK, Act

ACCESS_REFUSED: Final = 403
NOT_FOUND: Final = 404


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
    names = {topology.events, topology.assignments, topology.dead, topology.anchor}
    queues = {topology.work, topology.dead, topology.anchor}
    assert {exchange["name"] for exchange in shipped["exchanges"]} == names
    assert {queue["name"] for queue in shipped["queues"]} == queues
    before = _topology(broker)
    with amqp.Connection(f"127.0.0.1:{broker.server.port}", virtual_host=VHOST) as connection:
        topology.ensure(connection)
        assert topology.ensure_anchor(connection)
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
    assert {queue["name"] for queue in governed if queue["policy"]} == {DEAD, WORK, ANCHOR, LASTING}


def _is_refused(connection: BlockingConnection, act: Act) -> bool:
    channel = connection.channel()
    try:
        act(channel)
    except ChannelClosedByBroker as closed:
        if closed.reply_code == NOT_FOUND:
            return False
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
