"""The store's real scripts over fakeredis, one step each, on a connection that can break."""

from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn

import fakeredis
from redis.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from kmworker.errors import StoreUnavailable
from kmworker.ports import Reports
from kmworker.store.scripts import Scripts
from kmworker.tally import Report
from tests.simulation.steps import Steps

__all__ = ["NoReports", "SimulatedClient", "SteppedReports", "load_scripts"]


class SimulatedClient(fakeredis.FakeRedis):
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

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command."""
        name = self._name_of(args)
        with self._steps.step(f"store.{name}", _cut):
            try:
                return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
            finally:
                self._on_effect(name)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        """Start a pipeline."""
        assert not transaction
        assert shard_hint is None
        return _SteppedPipeline(self)

    def _name_of(self, args: tuple[Any, ...]) -> str:
        if args[0] in {"EVALSHA", "EVAL"}:
            return self._names[args[1]]
        return str(args[0]).lower()


class _SteppedPipeline(Pipeline):
    def __init__(self, client: SimulatedClient) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, False, None)
        self._client = client

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands, self.command_stack = self.command_stack, []
        replies: list[Any] = []
        for args, options in commands:
            try:
                replies.append(self._client.execute_command(*args, **options))
            except ResponseError as error:
                replies.append(error)
        for reply in replies:
            if raise_on_error and isinstance(reply, ResponseError):
                raise reply
        return replies


class NoReports:
    """Reports to nobody: most of a run's time would go into what no promise rests on."""

    def write(self, report: Report) -> None:
        """Do nothing."""


class SteppedReports:
    """Reports, each of which is one step: how much of one arrives matters to nobody."""

    def __init__(self, real: Reports, steps: Steps) -> None:
        self._real = real
        self._steps = steps

    def write(self, report: Report) -> None:
        """Write what has happened."""
        with self._steps.step("reports.write", _unavailable):
            self._real.write(report)


def load_scripts(client: Any) -> None:
    """Let the server know the scripts, as it does after the first worker's first batch."""
    for text in _script_texts().values():
        client.script_load(text)


@cache
def _script_texts() -> dict[str, Any]:
    texts: dict[str, Any] = Scripts(fakeredis.FakeRedis())._texts
    return texts


@cache
def _script_names() -> dict[Any, str]:
    digests = Scripts(fakeredis.FakeRedis())._digests
    names: dict[Any, str] = {digest: name for name, digest in digests.items()}
    return names | {text: name for name, text in _script_texts().items()}


def _cut(_arrives: bool) -> NoReturn:
    raise RedisConnectionError("Connection reset by peer")


def _unavailable(_arrives: bool) -> NoReturn:
    raise StoreUnavailable("Connection reset by peer")
