"""definitions.json: what each account of the broker may do, asked of RabbitMQ."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from pika.adapters.blocking_connection import BlockingConnection
from pika.exceptions import (
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from kmworker.bus.declaring import Declaring, ensure_anchor, ensure_audit
from kmworker.wire.topology import Topology
from tests.integration.privilege.accounts import (
    BROKER_USERS,
    CONFIG,
    NAMESPACE,
    PREFIX,
    VHOST,
    Broker,
    filled,
    take,
)
from tests.integration.privilege.broker_acts import (
    ASSIGNMENTS,
    MAY,
    MAY_NOT,
    OWN,
    WORK,
    Act,
    bind,
    both,
    declare_queue,
)
from tests.kit.outside.worker import Site
from tests.kit.servers import At

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
    broker.server.define("another", accounts=False)
    with pytest.raises(ProbableAccessDeniedError), broker.connect(user, vhost="another"):
        pass


def test_nobody_gets_in_before_a_password_is_set(broker: Broker) -> None:
    shipped = str(CONFIG / "rabbitmq" / "definitions.json")
    broker.server.ctl("import_definitions", shipped)
    try:
        for user in BROKER_USERS:
            for password in ("", user, "guest", broker.password(user)):
                with (
                    pytest.raises(ProbableAuthenticationError),
                    broker.connect(user, password=password),
                ):
                    pass
    finally:
        # What the broker loads at its start, so the passwords are back.
        broker.server.ctl("import_definitions", str(broker.server.loaded / "definitions.json"))
    for user in BROKER_USERS:
        broker.connect(user).close()


def test_an_account_without_a_password_file_gets_none(tmp_path: Path) -> None:
    (tmp_path / "rabbitmq-worker").write_text("secret")
    users = json.loads(filled("rabbitmq", "definitions.json", tmp_path))["users"]
    assert [user["name"] for user in users if user["password_hash"]] == ["worker"]


def test_the_pattern_for_one_project_lets_nobody_hear_of_another(broker: Broker) -> None:
    readme = (CONFIG / "rabbitmq" / "README.md").read_text()
    (pattern,) = re.findall(r"`(\^key-\(assigned[^`]*2f1d\$)` as its topic", readme)
    broker.server.ctl(
        "set_topic_permissions", "-p", VHOST, "subscriber", ASSIGNMENTS, "^$", pattern
    )
    try:
        with broker.connect("subscriber") as connection:
            keys = ("#", "#.2f1d", "*.#", "*.*.2f1d", "volume.other.2f1d", "*.2f1d.#")
            refused = [key for key in keys if _is_refused(connection, _subscribed(key))]
            assert refused == list(keys)
            assert not _is_refused(connection, _subscribed("*.2f1d"))
            assert not _is_refused(connection, _subscribed("volume.2f1d"))
    finally:
        broker.server.ctl("import_definitions", str(broker.server.loaded / "definitions.json"))


def test_a_producer_publishes_by_command(broker: Broker, tmp_path: Path) -> None:
    site = Site(tmp_path, broker.server, At("redis://none.invalid"), NAMESPACE, PREFIX)
    site.run("publish", "volume-created", "--project", "p1", "--set", "volume_id=by-command")
    with broker.connect("worker") as connection:
        event = take(connection.channel(), WORK)
    assert event is not None
    assert json.loads(event.body)["data"]["volume_id"] == "by-command"


def test_a_worker_that_may_declare_finds_nothing_else_to_declare(broker: Broker) -> None:
    shipped = json.loads((CONFIG / "rabbitmq" / "definitions.json").read_text())
    topology = Topology(NAMESPACE)
    # Whoever ships requests has made their queue, with its bounds.
    names = {*topology.exchanges, topology.anchor, topology.audit, topology.requests}
    queues = {
        topology.work, topology.dead, topology.anchor, topology.audit, topology.requests,
        topology.revocations,
    }  # fmt: skip
    assert {exchange["name"] for exchange in shipped["exchanges"]} == names
    assert {queue["name"] for queue in shipped["queues"]} == queues
    before = _topology(broker)
    with broker.server.admin() as connection:
        Declaring(topology).ensure(connection)
        ensure_anchor(connection, topology)
        ensure_audit(connection, topology)
    assert _topology(broker) == before


def _subscribed(key: str) -> Act:
    return both(declare_queue(OWN), bind(OWN, ASSIGNMENTS, f"key-assigned.{key}"))


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
