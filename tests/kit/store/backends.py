"""The three stores that the one suite runs over, behind one face."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import fakeredis

from kmworker.settings import StoreSettings
from kmworker.store.client import Client, Gate
from kmworker.store.connection import connect
from tests.kit.servers import ADMIN, StoreServer
from tests.kit.store.fake_client import FakeClient

__all__ = ["ADMIN", "WORKER", "Backend", "FakeBackend", "ServerBackend"]

WORKER = "worker"

# The tests wait for no answer longer than this; a server that stalls is a failure.
TIMEOUT_S = 10.0


class Backend(Protocol):
    """Something that speaks Redis."""

    def client(self, role: str, prefix: str) -> Client:
        """Return a new client, made as the product makes it, with this role's account."""
        ...


class FakeBackend:
    """fakeredis: no server, no disk, the same scripts."""

    def __init__(self) -> None:
        self._server = fakeredis.FakeServer()

    def client(self, role: str, prefix: str) -> Client:
        """Return a new client of this one store in memory, which knows no accounts."""
        del role, prefix
        return FakeClient(server=self._server, protocol=2)


class ServerBackend:
    """A server on the network."""

    def __init__(self, server: StoreServer, timeout_s: float = TIMEOUT_S) -> None:
        self._server = server
        self._timeout_s = timeout_s

    def client(self, role: str, prefix: str) -> Client:
        """Return a new client, made just as commands make their own."""
        return connect(self._settings(self._server.url_of(role, prefix)))

    def client_behind(self, gate: Gate, prefix: str) -> Client:
        """Return a new client, made just as the worker makes its own."""
        return connect(self._settings(self._server.url_of(WORKER, prefix)), gate)

    def client_as(self, user: str, password: str) -> Client:
        """Return a new client of a user that no file is about."""
        return connect(self._settings(f"redis://{user}:{password}@127.0.0.1:{self._server.port}/0"))

    def _settings(self, url: str) -> StoreSettings:
        return StoreSettings(url=url, timeout_s=self._timeout_s)


@contextmanager
def closing_pool(client: Client) -> Iterator[Client]:
    """Close the client's connections, also those lent to a `Wiretap` on it."""
    try:
        yield client
    finally:
        client.connection_pool.disconnect()
        client.close()
