"""One store contract, run over fakeredis, Redis and Valkey.

Tests that stop, fill or reconfigure a server run over the two real ones, each with a
server of its own.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import redis

from kmworker.crypto import Keyring, KeyringCustody
from kmworker.store.redis_store import RedisStore
from tests.kit.servers import Start, StoreServer
from tests.kit.store.backends import Backend, FakeBackend, ServerBackend
from tests.kit.store.builders import Drafts
from tests.kit.store.stand import INSTALLATION, Stand, StandOn


@pytest.fixture(params=["fakeredis", "redis", "valkey"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "fakeredis":
        return FakeBackend()
    server: StoreServer = request.getfixturevalue(f"{request.param}_server")
    return ServerBackend(server)


@pytest.fixture
def stand(backend: Backend, prefix: str, custody: KeyringCustody) -> Iterator[Stand]:
    with ExitStack() as stack:
        stand = Stand(backend, prefix, custody, stack)
        yield stand


@pytest.fixture
def store(stand: Stand) -> RedisStore:
    return stand.store()


@pytest.fixture
def raw(stand: Stand) -> redis.Redis:
    return stand.raw


@pytest.fixture(params=["redis", "valkey"])
def start(request: pytest.FixtureRequest) -> Start[StoreServer]:
    start: Start[StoreServer] = request.getfixturevalue(f"start_{request.param}")
    return start


@pytest.fixture
def stand_on(prefix: str, custody: KeyringCustody) -> Iterator[StandOn]:
    """Build a stand on a server of the test's own."""
    with ExitStack() as stack:
        yield lambda server, timeout_s=10.0: Stand(
            ServerBackend(server, timeout_s), prefix, custody, stack
        )


def _keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return Keyring.generate(tmp_path_factory.mktemp("keyring") / "keyring.json")


@pytest.fixture(scope="session")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return _keyring(tmp_path_factory)


@pytest.fixture(scope="session")
def other_keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return _keyring(tmp_path_factory)


@pytest.fixture(scope="session")
def custody(keyring: Keyring) -> KeyringCustody:
    return KeyringCustody(keyring, INSTALLATION)


@pytest.fixture(scope="session")
def other_custody(other_keyring: Keyring) -> KeyringCustody:
    """A custody with another keyring."""
    return KeyringCustody(other_keyring, INSTALLATION)


@pytest.fixture(scope="session")
def newer_custody(keyring: Keyring, other_keyring: Keyring) -> KeyringCustody:
    """The custody after a rotation: another KEK is active, the first is still there."""
    both = Keyring(other_keyring.active, {**keyring.keks, **other_keyring.keks})
    return KeyringCustody(both, INSTALLATION)


@pytest.fixture(scope="session")
def draft(custody: KeyringCustody) -> Drafts:
    return Drafts(custody.kek_id)
