"""One installation that delegates for all tests of a module: it takes seconds to found.

Who tests it against others has a volume on each of two nodes, and the other node's client.
"""

from collections.abc import Iterator
from typing import Any

import amqp
import pytest

from tests.integration.cli.test_events import volume
from tests.integration.delegation.neighbours import MINE, OTHER_NODE, THEIRS
from tests.kit.outside.asking import Host, Line, host_of, lined, second_client
from tests.kit.outside.delegating import Delegation, P, attached, delegating, enrol
from tests.kit.outside.worker import Site
from tests.kit.polling import until
from tests.kit.servers import RabbitMQ, StoreServer


@pytest.fixture(scope="module")
def delegation(
    redis_server: StoreServer, rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Delegation]:
    folder = tmp_path_factory.mktemp("delegation")
    names = f"del{folder.stat().st_ino}"
    site = Site(folder, rabbitmq, redis_server, names, names)
    site.lay_keyring()
    try:
        with delegating(site) as made:
            yield made
    finally:
        for server in (rabbitmq, redis_server):
            server.forget(names)


@pytest.fixture(scope="module")
def host(delegation: Delegation) -> Host:
    return host_of(delegation)


@pytest.fixture
def line(host: Host) -> Iterator[Line]:
    with lined(host) as line:
        yield line


@pytest.fixture(scope="module")
def told(delegation: Delegation) -> Delegation:
    """A volume on each of two nodes."""
    delegation.tell(
        volume(MINE, P), volume(THEIRS, P), attached(MINE), attached(THEIRS, node=OTHER_NODE)
    )
    until(lambda: len(delegation.site.reader.table(P, "grants")) == 2, "attached")
    return delegation


@pytest.fixture(scope="module")
def other(told: Delegation, rabbitmq: RabbitMQ) -> Iterator[Host]:
    """Another client, of another node, with its own account."""
    options = ("--node", OTHER_NODE, "--project", "*")
    with second_client(told, rabbitmq, "client-18", enrol, *options) as host:
        yield host


@pytest.fixture(scope="module")
def who_may_be_anybody(told: Delegation, rabbitmq: RabbitMQ) -> tuple[str, str]:
    """What an administrator makes himself: a user whom the broker lets say that he is another."""
    namespace, name, password = told.site.namespace, "anybody", "whoever-it-may-be"
    user = {"name": name, "password": password, "tags": ["impersonator"]}
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    permission = {"user": name, "vhost": namespace, **rights}
    rabbitmq.import_definitions({"users": [user], "permissions": [permission]})
    return name, password


@pytest.fixture
def admin(
    told: Delegation, rabbitmq: RabbitMQ, who_may_be_anybody: tuple[str, str]
) -> Iterator[Any]:
    """The broker's administrator, who may say that he is anybody."""
    name, password = who_may_be_anybody
    with amqp.Connection(
        f"127.0.0.1:{rabbitmq.port}", name, password, virtual_host=told.site.namespace
    ) as connection:
        yield connection.channel()
