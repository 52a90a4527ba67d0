"""What goes wrong at a port, where, and how often: scripted by name.

Bus and store report every boundary that they cross to one `Troubles`: before a call has
its effect, and when it has had it but its answer has not arrived. An error raised there
is what the caller sees. Raise a `Crash` to end the process at that very point. (What goes
wrong inside a call, between two I/O steps, is a `Fault` of `Steps`.)
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Flag, auto
from typing import Any, Final, NoReturn, TypeVar

from kmworker.domain.model import Item, State
from kmworker.domain.plan import Committed, Write
from kmworker.ports import Pending, Store
from kmworker.store.pipe import Then
from tests.kit.simulator.steps import Crash, Life

__all__ = ["Crash", "Links", "Lost", "Troubled", "TroubledStore", "Troubles"]

T = TypeVar("T")


MAX_REACHED: Final = 8_000


class Links(Flag):
    """The two connections of a bus."""

    CONSUMER = auto()
    PUBLISHER = auto()
    BOTH = CONSUMER | PUBLISHER


class Lost(Exception):  # a thing that happens, not an error of ours
    """Connections of the bus break; its caller sees `BrokerUnavailable`."""

    def __init__(self, links: Links = Links.BOTH) -> None:
        super().__init__(links)
        self.links = links


class Troubles:
    """The script, and the list of all boundaries crossed so far."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.life = Life()
        self.at_each: Callable[[str], None] = lambda _point: None
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

    @contextmanager
    def around(self, call: str) -> Iterator[None]:
        """Cross the boundaries before and after a call."""
        self.reach(call)
        yield
        self.reach(f"{call} done")


class TroubledStore:
    """A store, each of whose methods crosses ``store.<method>``.

    What is waited for apart crosses ``store.<method> result`` then.
    """

    def __init__(self, real: Store, troubles: Troubles) -> None:
        self._real = real
        self._troubles = troubles
        self._whole = Troubled("store", real, troubles)

    def look_up(self, items: Iterable[Item]) -> Pending[dict[Item, State]]:
        """Begin a look-up."""
        with self._troubles.around("store.look_up"):
            answer = self._real.look_up(items)
        return Then(answer, lambda: self._waited("store.look_up result", answer))

    def commit(self, writes: Sequence[Write]) -> Pending[list[Committed]]:
        """Begin a commit."""
        with self._troubles.around("store.commit"):
            answer = self._real.commit(writes)
        return Then(answer, lambda: self._waited("store.commit result", answer))

    def __getattr__(self, method: str) -> Any:
        return getattr(self._whole, method)

    def _waited(self, call: str, answer: Pending[T]) -> T:
        with self._troubles.around(call):
            return answer.result()


class Troubled:
    """A port's implementation, each of whose methods crosses ``<name>.<method>``."""

    def __init__(self, name: str, real: object, troubles: Troubles) -> None:
        self._name = name
        self._real = real
        self._troubles = troubles

    def __getattr__(self, method: str) -> Any:
        real = getattr(self._real, method)

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._troubles.around(f"{self._name}.{method}"):
                return real(*args, **kwargs)

        return call
