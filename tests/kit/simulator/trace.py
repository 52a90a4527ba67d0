"""``make trace``: one event passes the stages, and where in the code that is.

A snapshot of a volume that has a key goes through a real worker, on the simulated broker and
store. Each line is a call: the file and line where its function begins, and what came of it.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import unwrap
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import kmworker
from kmworker.bus.rabbit import RabbitBus
from kmworker.domain.decision import decide
from kmworker.domain.planner import plan_batch
from kmworker.domain.resolve import resolve
from kmworker.store.redis_store import RedisStore
from kmworker.wire.assignments import announce
from kmworker.wire.events.reading import parse
from kmworker.worker.stages import Stages
from tests.kit.simulator.events import snapshot, volume
from tests.kit.simulator.explore import quietly
from tests.kit.simulator.installation import Installation

__all__ = ["STAGES", "Call", "trace"]

STAGES: Final[Sequence[Callable[..., Any]]] = (
    Stages.receive, Stages.parse, Stages.look_up, Stages.commit, Stages.announce, Stages.settle,
)  # fmt: skip
INSIDE: Final[Sequence[Callable[..., Any]]] = (
    parse, RedisStore.look_up, plan_batch, decide, RedisStore.commit, resolve, announce,
    RabbitBus.send, RabbitBus.acknowledge,
)  # fmt: skip
ROOT: Final = Path(kmworker.__file__).parents[1]


@dataclass(slots=True)
class Call:
    """A call of a function that an event passes."""

    code: CodeType
    depth: int
    result: object = None

    @property
    def where(self) -> str:
        """Return file and line."""
        path = Path(self.code.co_filename).relative_to(ROOT)
        return f"{path}:{self.code.co_firstlineno}"

    def __str__(self) -> str:
        """Return a line for a person."""
        name = "  " * self.depth + self.code.co_qualname
        came = "" if self.result is None else f" -> {_shown(self.result)}"
        return f"{self.where:<42} {name}{came}"


def trace() -> list[Call]:
    """Take one event through all stages; return the calls, in order."""
    site = Installation()
    with quietly():
        site.handle(volume("1111"))
        site.publish(snapshot("54af", "1111"))
        process = site.process()
        with _watched() as calls:
            process.run()
    return list(_of_the_event(calls))


@contextmanager
def _watched() -> Iterator[list[Call]]:
    watched = {unwrap(function).__code__ for function in (*STAGES, *INSIDE)}
    calls: list[Call] = []
    under_way: list[Call] = []

    def note(frame: FrameType, happens: str, result: object) -> None:
        if frame.f_code not in watched:
            return
        if happens == "call":
            under_way.append(Call(frame.f_code, len(under_way)))
            calls.append(under_way[-1])
        elif happens == "return":
            under_way.pop().result = result

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def _of_the_event(calls: Sequence[Call]) -> Iterator[Call]:
    """Leave out looks at an empty queue, and what is done beside the stages."""
    stages = {function.__code__ for function in STAGES}
    for call in calls:
        if call.depth or (call.code in stages and call.result != []):
            yield call


def _shown(result: object) -> str:
    if isinstance(result, list | tuple):
        return ", ".join(_shown(it) for it in result)
    return type(result).__name__


def main() -> None:
    """Print them."""
    sys.stdout.write("snapshot-taken for snapshot:54af of volume:1111, which has a key\n\n")
    sys.stdout.write("".join(f"{call}\n" for call in trace()))


if __name__ == "__main__":
    main()
