"""A client of a store in memory that has all that the worker's client has."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import fakeredis
from redis.client import Pipeline
from redis.exceptions import ResponseError

from kmworker.store.client import Client
from kmworker.store.pipe import Command
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

    def run(self, commands: Iterable[tuple[Command, Mapping[str, Any]]]) -> list[Any]:
        """Run commands one after the other, without regard to what errors they reply.

        Each is given with what the library is to know when it reads the reply.
        """
        replies: list[Any] = []
        for command, options in commands:
            try:
                replies.append(self.execute_command(*command, **options))
            except ResponseError as error:
                replies.append(error)
        return replies

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        """Start a pipeline; what is no transaction is run one by one, which takes less long."""
        if transaction:
            return super().pipeline(transaction, shard_hint)
        return _OneByOne(self)

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


class _OneByOne(Pipeline):
    def __init__(self, client: FakeClient) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, False, None)
        self._client = client

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands, self.command_stack = self.command_stack, []
        replies = self._client.run(commands)
        for reply in replies:
            if raise_on_error and isinstance(reply, ResponseError):
                raise reply
        return replies
