"""Installations for the commands to look at."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.outside.client import connected
from tests.integration.outside.worker import Site, working
from tests.servers import RabbitMQ, StoreServer


@pytest.fixture
def site(
    redis_server: StoreServer, rabbitmq: RabbitMQ, namespace: str, prefix: str, tmp_path: Path
) -> Iterator[Site]:
    """An installation with a keyring, of which no worker knows yet."""
    new = Site(tmp_path, rabbitmq.url, redis_server.url, namespace, prefix)
    new.run("keyring", "init")
    yield new
    with connected(new.broker_url, new.namespace) as client:
        client.remove_topology()
    new.reader.forget()


@pytest.fixture
def at_work(site: Site) -> Iterator[Site]:
    """The same with a worker."""
    with working(site):
        yield site
