"""One store contract, run over fakeredis, Redis and Valkey.

Tests that stop, fill or reconfigure a server run over the two real ones, each with a
server of its own.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.kit.servers import Start, StoreServer
from tests.kit.store.backends import Backend, FakeBackend, ServerBackend
from tests.kit.store.builders import CUSTODY
from tests.kit.store.stand import Stand, StandOn


@pytest.fixture(params=["fakeredis", "redis", "valkey"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "fakeredis":
        return FakeBackend()
    server: StoreServer = request.getfixturevalue(f"{request.param}_server")
    return ServerBackend(server)


@pytest.fixture
def stand(backend: Backend, prefix: str) -> Iterator[Stand]:
    with ExitStack() as stack:
        yield Stand(backend, prefix, CUSTODY, stack)


@pytest.fixture(params=["redis", "valkey"])
def start(request: pytest.FixtureRequest) -> Start[StoreServer]:
    start: Start[StoreServer] = request.getfixturevalue(f"start_{request.param}")
    return start


@pytest.fixture
def server(start: Start[StoreServer]) -> StoreServer:
    """A server of the test's own."""
    return start()


@pytest.fixture
def own(server: StoreServer, stand_on: StandOn) -> Stand:
    """A stand on it."""
    return stand_on(server)


@pytest.fixture
def stand_on(prefix: str) -> Iterator[StandOn]:
    """Build a stand on a server of the test's own."""
    with ExitStack() as stack:
        yield lambda server, timeout_s=10.0: Stand(
            ServerBackend(server, timeout_s), prefix, CUSTODY, stack
        )
