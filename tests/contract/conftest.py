"""One store contract, run over fakeredis, Redis and Valkey.

Tests that stop, fill or reconfigure a server run over the two real ones, each with a
server of its own.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import redis

from kmworker.crypto import Keyring, KeyringVault
from kmworker.store.redis_store import RedisStore
from tests.contract.backends import Backend, FakeBackend, ServerBackend
from tests.contract.builders import Drafts
from tests.contract.stand import Stand, StandOn
from tests.servers import Start, StoreServer


@pytest.fixture(params=["fakeredis", "redis", "valkey"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "fakeredis":
        return FakeBackend()
    server: StoreServer = request.getfixturevalue(f"{request.param}_server")
    return ServerBackend(server.url)


@pytest.fixture
def stand(backend: Backend, prefix: str, vault: KeyringVault) -> Iterator[Stand]:
    with ExitStack() as stack:
        stand = Stand(backend, prefix, vault, stack)
        yield stand
        stand.clear()


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
def stand_on(prefix: str, vault: KeyringVault) -> Iterator[StandOn]:
    """Build a stand on a server of the test's own."""
    with ExitStack() as stack:
        yield lambda server, timeout_s=10.0: Stand(
            ServerBackend(server.url, timeout_s), prefix, vault, stack
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
def vault(keyring: Keyring) -> KeyringVault:
    return KeyringVault(keyring)


@pytest.fixture(scope="session")
def other_vault(other_keyring: Keyring) -> KeyringVault:
    """A vault of another installation."""
    return KeyringVault(other_keyring)


@pytest.fixture(scope="session")
def newer_vault(keyring: Keyring, other_keyring: Keyring) -> KeyringVault:
    """The vault after a rotation: another KEK is active, the first is still there."""
    return KeyringVault(Keyring(other_keyring.active, {**keyring.keks, **other_keyring.keks}))


@pytest.fixture(scope="session")
def draft(vault: KeyringVault) -> Drafts:
    return Drafts(vault.kek_id)
