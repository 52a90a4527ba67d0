"""What goes wrong at a port, where, and how often: scripted by name.

Bus, store and reports tell one `Troubles` of every call, before it has its effect, and of every
answer that is waited for apart. An error raised there is what the caller sees. Raise a `Crash` to
end the process at that very point. (What goes wrong inside a call, between two I/O steps, is a
`Fault` of `Steps`.)
"""

from collections import Counter
from collections.abc import Callable, Sequence
from enum import Flag, auto
from typing import Any, Final, NoReturn

from kmworker.errors import BrokerUnavailable
from kmworker.store.pipe import Then
from tests.kit.simulator.steps import Crash, Life

__all__ = ["Crash", "Links", "Lost", "Troubled", "Troubles"]

MAX_REACHED: Final = 8_000
# Batches that come to nothing are sent, too.
NOTHING_SENT: Final[Sequence[tuple[str, tuple[object]]]] = (
    ("bus.send", ([],)),
    ("store.look_up", (set(),)),
)


class Links(Flag):
    """The two connections of a bus; that of an audit trail, and that of what has ended."""

    CONSUMER = auto()
    PUBLISHER = auto()
    AUDIT = auto()
    ENDS = auto()
    BOTH = CONSUMER | PUBLISHER
    ALL = BOTH | AUDIT | ENDS


class Lost(Exception):  # a thing that happens, not an error of ours
    """Connections of the bus break; its caller sees `BrokerUnavailable`."""

    def __init__(self, links: Links = Links.BOTH) -> None:
        super().__init__(links)
        self.links = links


class Troubles:
    """The script, and the list of all boundaries crossed so far.

    Attributes:
        at_each: called with each boundary as it is crossed.
        lose: breaks connections of the bus, which knows of it at once.
    """

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.life = Life()
        self.at_each: Callable[[str], None] = lambda _point: None
        self.lose: Callable[[Links], None] = lambda _links: None
        self._errors: dict[str, list[BaseException | None]] = {}

    def at(self, point: str, error: BaseException, *, times: int = 1, skip: int = 0) -> None:
        """Raise ``error`` the next ``times`` times that ``point`` is reached, after ``skip``."""
        self._errors.setdefault(point, []).extend([None] * skip + [error] * times)

    def reach(self, point: str) -> None:
        """Cross a boundary; a process that is gone crosses none."""
        self.life.go_on()
        self.reached.append(point)
        if len(self.reached) > MAX_REACHED:
            self.crash(f"the process does not come to rest: {self.reached[-12:]}")
        self.at_each(point)
        planned = self._errors.get(point)
        error = planned.pop(0) if planned else None
        if isinstance(error, Crash):
            self.crash()
        if isinstance(error, Lost):
            self.lose(error.links)
            raise BrokerUnavailable(f"lost at {point}") from error
        if error is not None:
            raise error

    def crash(self, why: str = "") -> NoReturn:
        """End the process: from now on nothing that it does has an effect."""
        self.life.end(why)

    def over(self) -> bool:
        """Return whether all that was to go wrong has gone wrong."""
        return not any(self._errors.values())

    def counts(self) -> Counter[str]:
        """Return how often each boundary was crossed."""
        return Counter(self.reached)


class Troubled:
    """A port's implementation, each of whose methods crosses ``<name>.<method>``.

    What is waited for apart crosses ``<name>.<method> result`` then.
    """

    def __init__(self, name: str, real: object, troubles: Troubles) -> None:
        self._name = name
        self._real = real
        self._troubles = troubles

    def __getattr__(self, attribute: str) -> Any:
        real = getattr(self._real, attribute)
        if not callable(real):
            return real
        point = f"{self._name}.{attribute}"

        def call(*args: Any, **kwargs: Any) -> Any:
            if (point, args) in NOTHING_SENT:
                return real(*args)
            self._troubles.reach(point)
            answer = real(*args, **kwargs)
            if not hasattr(answer, "result"):
                return answer

            def result() -> Any:
                self._troubles.reach(f"{point} result")
                return answer.result()

            return Then(answer, result)

        return call
