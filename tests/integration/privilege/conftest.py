"""A store of each kind with the shipped users, and one broker that has loaded the shipped file.

They serve all tests here: the shipped files name their keys, queues and users, so tests
keep apart by projects.
"""

from collections.abc import Iterator
from contextlib import closing
from secrets import token_hex

import pytest

from tests.servers import RabbitMQ, redis_store, valkey_store

from .accounts import (
    Broker,
    Installation,
    Passwords,
    Store,
    administrator,
    definitions,
    store_options,
)

STORES = {"redis": redis_store, "valkey": valkey_store}


@pytest.fixture(scope="package")
def passwords(tmp_path_factory: pytest.TempPathFactory) -> Passwords:
    """One for each account."""
    return Passwords(tmp_path_factory.mktemp("secrets"))


@pytest.fixture(scope="package", params=STORES)
def store(
    request: pytest.FixtureRequest,
    passwords: Passwords,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Store]:
    """Redis, then Valkey, as an operator would start them."""
    folder, ours = tmp_path_factory.mktemp("store"), token_hex(16)
    users = passwords.filled("redis", "users.acl") + administrator(ours)
    with closing(STORES[request.param](folder, store_options(folder, users))) as server:
        server.start()
        yield Store(server, passwords, ours)


@pytest.fixture(scope="package")
def broker(passwords: Passwords, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """RabbitMQ, as an operator would start it."""
    folder = tmp_path_factory.mktemp("broker")
    loaded = definitions(tmp_path_factory.mktemp("loaded"), passwords)
    with closing(RabbitMQ(folder, {"load_definitions": str(loaded)})) as server:
        server.start()
        yield Broker(server, passwords, loaded)


@pytest.fixture(scope="package")
def installation(
    store: Store, broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Installation:
    """Both, and a keyring."""
    installed = Installation(store, broker, tmp_path_factory.mktemp("installation"))
    installed.site("worker", "worker").run("keyring", "init")
    return installed
