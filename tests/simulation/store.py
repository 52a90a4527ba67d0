"""The store's real scripts over fakeredis, one step each, on a connection that can break."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache, cached_property
from typing import Any, NoReturn, cast

import fakeredis
from redis.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from kmworker.errors import StoreUnavailable
from kmworker.ports import Reports
from kmworker.redis_pipe import Command, Pipe, Replies
from kmworker.store.scripts import Scripts
from kmworker.tally import Report
from tests.fake_client import FakeClient
from tests.simulation.steps import Steps

__all__ = ["NoReports", "SimulatedClient", "SteppedReports", "load_scripts"]


class SimulatedClient(FakeClient):
    """A client each of whose commands is a step.

    A pipeline is not atomic, so each of its commands is a step of its own: when one is
    struck, those before it have had their effect, and the caller gets no reply at all.
    """

    def __init__(
        self, server: fakeredis.FakeServer, steps: Steps, on_effect: Callable[[str], None]
    ) -> None:
        super().__init__(server=server)
        self._steps = steps
        self._on_effect = on_effect
        self._names = _script_names()

    @cached_property
    def pipe(self) -> Pipe:
        """Return a pipe each of whose commands is a step."""
        return _SteppedPipe(self)

    def run(self, commands: Iterable[Command]) -> list[Any]:
        """Run commands one after the other, without regard to what errors they reply."""
        replies: list[Any] = []
        for command in commands:
            try:
                replies.append(self.execute_command(*command))
            except ResponseError as error:
                replies.append(error)
        return replies

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command."""
        name = self._name_of(args)
        try:
            with self._steps.step(f"store.{name}", _cut):
                try:
                    return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
                finally:
                    self._on_effect(name)
        except RedisConnectionError:
            # There is one connection: with it goes whatever was still to come.
            cast("_SteppedPipe", self.pipe).lose()
            raise

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        """Start a pipeline."""
        assert not transaction
        assert shard_hint is None
        return _SteppedPipeline(self)

    def _name_of(self, args: tuple[Any, ...]) -> str:
        if args[0] in {"EVALSHA", "EVAL"}:
            return self._names[args[1]]
        return str(args[0]).lower()


class _SteppedPipe(Pipe):
    """Commands have their effect when they are sent; that they had none shows later."""

    def __init__(self, client: SimulatedClient) -> None:
        super().__init__(client.connection_pool)
        self._client = client
        self._to_come: deque[list[Any]] = deque()

    def send(self, commands: Sequence[Command]) -> Replies:
        replies = Replies(self, len(commands))
        self._awaited.append(replies)
        # A cut marks them as lost.
        with suppress(RedisConnectionError):
            self._to_come.append(self._client.run(commands))
        return replies

    def take_in(self) -> None:
        self._awaited.popleft().came(self._to_come.popleft())

    def lose(self) -> None:
        self._to_come.clear()
        self._lose()


class _SteppedPipeline(Pipeline):
    def __init__(self, client: SimulatedClient) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, False, None)
        self._client = client

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands, self.command_stack = self.command_stack, []
        replies = self._client.run(args for args, _options in commands)
        for reply in replies:
            if raise_on_error and isinstance(reply, ResponseError):
                raise reply
        return replies


class NoReports:
    """Reports to nobody: most of a run's time would go into what no promise rests on."""

    def write(self, report: Report) -> None:
        """Do nothing."""

    def begin(self, _report: Report) -> Callable[[], None]:
        """Do nothing, twice."""
        return lambda: None


class SteppedReports:
    """Reports, each of which is one step: how much of one arrives matters to nobody."""

    def __init__(self, real: Reports, steps: Steps) -> None:
        self._real = real
        self._steps = steps

    def write(self, report: Report) -> None:
        """Write what has happened."""
        with self._steps.step("reports.write", _unavailable):
            self._real.write(report)

    def begin(self, report: Report) -> Callable[[], None]:
        """Write what has happened, all of it at once."""
        self.write(report)
        return lambda: None


def load_scripts(client: Any) -> None:
    """Let the server know the scripts, as it does after the first worker's first batch."""
    for text in _script_texts().values():
        client.script_load(text)


@cache
def _script_texts() -> dict[str, Any]:
    texts: dict[str, Any] = Scripts(FakeClient())._texts
    return texts


@cache
def _script_names() -> dict[Any, str]:
    digests = Scripts(FakeClient())._digests
    names: dict[Any, str] = {digest: name for name, digest in digests.items()}
    return names | {text: name for name, text in _script_texts().items()}


def _cut(_arrives: bool) -> NoReturn:
    raise RedisConnectionError("Connection reset by peer")


def _unavailable(_arrives: bool) -> NoReturn:
    raise StoreUnavailable("Connection reset by peer")
