"""What most tests on real servers begin with."""

from pathlib import Path

import pytest

from tests.kit.outside.worker import Site
from tests.kit.servers import RabbitMQ, StoreServer


@pytest.fixture
def site(
    redis_server: StoreServer, rabbitmq: RabbitMQ, namespace: str, prefix: str, tmp_path: Path
) -> Site:
    """An installation with a keyring, of which no worker knows yet."""
    new = Site(tmp_path, rabbitmq, redis_server, namespace, prefix)
    new.lay_keyring()
    return new
