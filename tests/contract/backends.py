"""The three stores that the one suite runs over, behind one face."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import fakeredis

from kmworker.redis_client import Client, Gate
from kmworker.settings import StoreSettings
from kmworker.store.connection import connect
from tests.fake_client import FakeClient

__all__ = ["Backend", "FakeBackend", "ServerBackend"]

# The tests wait for no answer longer than this; a server that stalls is a failure.
TIMEOUT_S = 10.0


class Backend(Protocol):
    """Something that speaks Redis."""

    def client(self) -> Client:
        """Return a new client, as the worker would have it."""
        ...


class FakeBackend:
    """fakeredis: no server, no disk, the same scripts."""

    def __init__(self) -> None:
        self._server = fakeredis.FakeServer()

    def client(self) -> Client:
        """Return a new client of this one store in memory."""
        return FakeClient(server=self._server, protocol=2)


class ServerBackend:
    """A server on the network."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self._settings = StoreSettings(url=url, timeout_s=timeout_s)

    def client(self) -> Client:
        """Return a new client, made just as commands make their own."""
        return connect(self._settings)

    def client_behind(self, gate: Gate) -> Client:
        """Return a new client, made just as the worker makes its own."""
        return connect(self._settings, gate)

    def client_as(self, user: str, password: str) -> Client:
        """Return a new client of another user."""
        server = self._settings.url or ""
        url = server.replace("redis://", f"redis://{user}:{password}@")
        return connect(self._settings.model_copy(update={"url": url}))


@contextmanager
def closing_pool(client: Client) -> Iterator[Client]:
    """Close the client's connections, also those lent to a `Wiretap` on it."""
    try:
        yield client
    finally:
        client.connection_pool.disconnect()
        client.close()
