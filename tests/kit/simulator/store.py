"""The store's real scripts over fakeredis, one step each, on a connection that can break."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, cached_property
from typing import Any, Final, NoReturn, cast

import fakeredis
from redis.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError

from kmworker.errors import StoreUnavailable
from kmworker.ports import Answered, Pending, Report, Reports
from kmworker.store.pipe import Command, Pipe, Replies
from kmworker.store.scripts import WRITING, Scripts
from tests.kit.simulator.clock import SettableClock
from tests.kit.simulator.steps import Fault, Steps
from tests.kit.store.fake_client import FakeClient

# What a replica refuses: scripts that write, and those commands that workers send.
CHANGING: Final = frozenset(
    (
        *WRITING,
        *("set", "hset", "hsetnx", "hdel", "hincrby", "expire", "pexpire"),
        *("sadd", "zadd", "zincrby", "zrem"),
    )
)


class SimulatedClient(FakeClient):
    """A client each of whose commands is a step.

    A pipeline is not atomic, so each of its commands is a step of its own: when one is
    struck, those before it have had their effect, and the caller gets no reply at all.
    """

    def __init__(
        self,
        server: fakeredis.FakeServer,
        steps: Steps,
        on_effect: Callable[[str], None],
        *,
        role: str = "store",
        clock: SettableClock | None = None,
    ) -> None:
        """Connect.

        Args:
            server: the store.
            steps: of the process.
            on_effect: called with the name of each command when it has had its effect.
            role: what steps are called after.
            clock: the server's; None: nobody asks it for the time.
        """
        super().__init__(server=server)
        self._role = role
        self._clock = clock
        self._steps = steps
        self._on_effect = on_effect
        self._names = _script_names()
        self._refuses_next = False
        self._is_demoted = False

    def strike(self, fault: Fault) -> None:
        """Let something go wrong with this connection."""
        self._refuses_next |= fault is Fault.STORE_REFUSES
        self._is_demoted |= fault is Fault.STORE_DEMOTED

    def drop_connections(self) -> None:
        """Let the next command go where the name leads then: to a primary."""
        self._is_demoted = False

    @cached_property
    def pipe(self) -> Pipe:
        """Return a pipe each of whose commands is a step."""
        return _SteppedPipe(self)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command."""
        name = self._name_of(args)
        try:
            with self._steps.step(f"{self._role}.{name}", _cut):
                try:
                    self._refuse_if_struck(name)
                    if self._is_demoted and args == ("HELLO",):
                        return [b"mode", b"standalone", b"role", b"replica"]
                    if args == ("TIME",) and self._clock is not None:
                        return divmod(int(self._clock.now() * 1_000_000), 1_000_000)
                    return super().execute_command(*args, **options)
                finally:
                    self._on_effect(name)
        except RedisConnectionError:
            # There is one connection: with it goes whatever was still to come.
            cast("_SteppedPipe", self.pipe).lose()
            raise

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
        """Start a pipeline, each of whose commands is a step; a transaction is one."""
        assert shard_hint is None
        return _SteppedTransaction(self) if transaction else _SteppedPipeline(self)

    def run_at_once(self, commands: Iterable[tuple[Command, Mapping[str, Any]]]) -> list[Any]:
        """Run commands that only read, in one step: a transaction."""
        with self._steps.step(f"{self._role}.exec", _cut):
            self._refuse_if_struck("exec")
            run = super().execute_command
            return [run(*command, **options) for command, options in commands]

    def _refuse_if_struck(self, name: str) -> None:
        refuses, self._refuses_next = self._refuses_next, False
        if refuses:
            raise ResponseError("upstream connect error, reset reason: overflow")
        if self._is_demoted and name in CHANGING:
            raise ReadOnlyError("You can't write against a read only replica.")

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
            self._to_come.append(self._client.run((it, _options(it)) for it in commands))
        return replies

    def has_more(self) -> bool:
        return bool(self._to_come)

    def take_in(self) -> None:
        self._awaited.popleft().came(self._to_come.popleft())

    def lose(self) -> None:
        self._lose()

    def _lose(self) -> None:
        self._to_come.clear()
        super()._lose()


class _SteppedPipeline(Pipeline):
    def __init__(self, client: SimulatedClient) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, False, None)
        self._client = client

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands, self.command_stack = self.command_stack, []
        replies = self._client.run(commands)
        for reply in replies:
            if raise_on_error and isinstance(reply, ResponseError):
                raise reply
        return replies


class _SteppedTransaction(_SteppedPipeline):
    def execute(self, raise_on_error: bool = True) -> list[Any]:
        del raise_on_error
        commands, self.command_stack = self.command_stack, []
        return self._client.run_at_once(commands)


class NoReports:
    """Reports to nobody: most of a run's time would go into what no promise rests on."""

    def write(self, _report: Report) -> Pending[None]:
        """Do nothing."""
        return Answered(None)

    def count_if_due(self, _now: float) -> None:
        """Do nothing."""


class SteppedReports:
    """Reports, each of which is one step: how much of one arrives matters to nobody."""

    def __init__(self, real: Reports, steps: Steps) -> None:
        self._real = real
        self._steps = steps

    def write(self, report: Report) -> Pending[None]:
        """Write what has happened, all of it at once."""
        with self._steps.step("reports.write", _unavailable):
            self._real.write(report).result()
        return Answered(None)

    def count_if_due(self, now: float) -> None:
        """Count on."""
        self._real.count_if_due(now)


def _options(command: Command) -> dict[str, Any]:
    """Return what the library is to know of a command: that GET stands in a SET changes its reply.

    Of a pipe nobody reads replies but who sends the commands.
    """
    return {"get": True} if command[0] == "SET" and "GET" in command else {}


def load_scripts(server: fakeredis.FakeServer) -> None:
    """Let the server know the scripts, as it does after the first worker's first batch."""
    server.script_cache.update(_scripts())


@cache
def _scripts() -> dict[bytes, bytes]:
    scripts = Scripts(FakeClient())
    return {scripts._digests[name].encode(): text for name, text in scripts._texts.items()}


@cache
def _script_names() -> dict[Any, str]:
    scripts = Scripts(FakeClient())
    return {it: name for name in scripts._texts for _how, it in scripts.both_ways(name)}


def _cut(_arrives: bool) -> NoReturn:
    raise RedisConnectionError("Connection reset by peer")


def _unavailable(_arrives: bool) -> NoReturn:
    raise StoreUnavailable("Connection reset by peer")
