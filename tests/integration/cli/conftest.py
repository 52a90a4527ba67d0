"""Installations for the commands to look at."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kit.outside.worker import Site, working
from tests.kit.servers import RabbitMQ, StoreServer


@pytest.fixture
def bare_site(
    redis_server: StoreServer, rabbitmq: RabbitMQ, namespace: str, prefix: str, tmp_path: Path
) -> Site:
    """The same on a broker that has the accounts, and none of the names yet."""
    rabbitmq.define(namespace, names=False)
    new = Site(tmp_path, rabbitmq, redis_server, namespace, prefix)
    new.lay_keyring()
    return new


@pytest.fixture
def at_work(site: Site) -> Iterator[Site]:
    """The same with a worker."""
    with working(site):
        yield site


@pytest.fixture
def office(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Where the key operator sits, with a copy of the keyring file of their own."""
    folder = tmp_path_factory.mktemp("office")
    shutil.copy2(site.keyring, folder / "keyring")
    return replace(site, folder=folder)
