"""A store of each kind with the shipped users, and one broker that has loaded the shipped file.

They serve all tests here: the shipped files name their keys, queues and users, so tests
keep apart by projects.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.privilege.accounts import Broker, Installation, Store
from tests.kit.servers import RabbitMQ, redis_store, valkey_store

STORES = {"redis": redis_store, "valkey": valkey_store}


@pytest.fixture(scope="package", params=STORES)
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """Redis, then Valkey, as an operator would start them."""
    with closing(STORES[request.param](tmp_path_factory.mktemp("store"))) as server:
        server.start()
        yield Store(server)


@pytest.fixture(params=STORES)
def own_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of each kind as an operator would start it, for one test alone."""
    folder = tmp_path / "server"
    folder.mkdir()
    with closing(STORES[request.param](folder)) as server:
        server.start()
        yield Store(server)


@pytest.fixture(scope="package")
def broker(rabbitmq: RabbitMQ) -> Broker:
    """RabbitMQ, as an operator would start it: nobody else uses the vhost of the shipped names."""
    rabbitmq.renew()
    return Broker(rabbitmq)


@pytest.fixture(scope="package")
def installation(
    store: Store, broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Installation:
    """Both, and a keyring."""
    installed = Installation(store, broker, tmp_path_factory.mktemp("installation"))
    installed.make_keyring()
    return installed
