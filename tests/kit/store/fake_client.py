"""A client of a store in memory that has all that the worker's client has."""

from functools import cached_property
from typing import Any

import fakeredis

from kmworker.store.client import Client
from tests.kit.store.direct import DirectConnection


class FakeClient(fakeredis.FakeRedis, Client):
    """fakeredis: no server, no disk, the same scripts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(connection_class=DirectConnection, **options)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command. Asked for a greeting, fakeredis changes its protocol: it is not asked."""
        if args == ("HELLO",):
            return [b"mode", b"standalone", b"role", b"master"]
        return self._execute_command(*args, **options)

    def _execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command on the one connection: the library's pool and retries take longer."""
        untyped: Any = self
        self.one_connection.send_command(*args)
        return untyped.parse_response(self.one_connection, args[0], **options)

    @cached_property
    def one_connection(self) -> Any:
        """Return what all commands go over: whoever uses this client does so alone."""
        return self.connection_pool.get_connection()

    def drop_connections(self) -> None:
        """Do nothing: there is but one server, and it is this process."""
