"""A client that notes each round trip, and lets a test act just before one."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import redis
from redis.client import Pipeline

from kmworker.store.client import Client
from kmworker.store.pipe import Command, Pipe, Replies


class Wiretap(Client):
    """A client on the connections of another.

    Attributes:
        trips: the commands of each round trip so far.
        before_trip: called before each, with its commands.
    """

    trips: list[list[Command]]
    before_trip: Callable[[list[Command]], object]

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(connection_pool=client.connection_pool)
        self.trips = []
        self.before_trip = lambda _commands: None

    def note(self, commands: list[Command]) -> None:
        """Note a round trip that is about to begin."""
        self.before_trip(commands)
        self.trips.append(commands)

    @cached_property
    def pipe(self) -> Pipe:
        """Return a pipe whose every sending is the beginning of one round trip."""
        return _TappedPipe(self)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command."""
        self.note([args])
        untyped: Any = super()
        return untyped.execute_command(*args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """Return a pipeline whose execution is one round trip."""
        return _TappedPipeline(self, transaction, shard_hint)


class _TappedPipe(Pipe):
    def __init__(self, tap: Wiretap) -> None:
        super().__init__(tap.connection_pool)
        self._tap = tap

    def send(self, commands: Sequence[Command]) -> Replies:
        self._tap.note(list(commands))
        return super().send(commands)


class _TappedPipeline(Pipeline):
    def __init__(self, tap: Wiretap, transaction: bool, shard_hint: str | None) -> None:
        super().__init__(tap.connection_pool, tap.response_callbacks, transaction, shard_hint)
        self._tap = tap

    def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        self._tap.note([args])
        untyped: Any = super()
        return untyped.immediate_execute_command(*args, **options)

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        if self.command_stack:
            self._tap.note([command[0] for command in self.command_stack])
        return super().execute(raise_on_error)
