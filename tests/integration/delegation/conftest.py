"""One installation that delegates for all tests of a module: it takes seconds to found."""

from collections.abc import Iterator

import pytest

from tests.kit.outside.asking import Host, Line, host_of, lined
from tests.kit.outside.delegating import Delegation, delegating
from tests.kit.outside.worker import Site
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
