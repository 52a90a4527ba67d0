"""Servers that somebody else runs, named by `KMWORKER_TEST_BROKER_URL` and `…_STORE_URL`.

Tests talk to them under names of their own and never stop them. Use throw-away ones: the
names stay behind.
"""

from typing import NoReturn
from urllib.parse import urlsplit

from tests.servers.broker import RabbitMQ
from tests.servers.server import Server, ServerError
from tests.servers.store import StoreServer


class Foreign(Server):
    """A server with an address, and no life of its own that a test could end."""

    def __init__(self, url: str) -> None:  # no folder, no process: nothing for the base to set up
        """Take the address as it is; the first test will find out whether anyone answers."""
        self.url = url
        self.port = urlsplit(url).port or 0

    @property
    def running(self) -> bool:
        """Assumed."""
        return True

    def start(self) -> None:
        """Do nothing: it runs already."""

    def stop(self) -> NoReturn:
        """Refuse."""
        self._refuse()

    def kill(self) -> NoReturn:
        """Refuse."""
        self._refuse()

    def restart(self) -> NoReturn:
        """Refuse."""
        self._refuse()

    def close(self) -> None:
        """Do nothing: it is not ours to end."""

    def _refuse(self) -> NoReturn:
        message = f"{self.url} is not ours: a test that does this starts a server for itself"
        raise ServerError(message)


class ForeignStore(Foreign, StoreServer):
    """A Redis or Valkey that somebody else runs."""


class ForeignRabbitMQ(Foreign, RabbitMQ):
    """A RabbitMQ that somebody else runs."""

    def tls_url(self, *_arguments: object, **_options: object) -> NoReturn:
        """Refuse: we do not have its authority's key."""
        self._refuse()

    def ctl(self, *arguments: str) -> NoReturn:
        """Refuse: its control program may be on another machine."""
        del arguments
        self._refuse()
