"""Events that harm whoever handles them."""

from collections.abc import Iterable, Mapping
from typing import Any

from kmworker.domain.model import Item, State
from kmworker.ports import Pending, Store
from kmworker.store.pipe import Then
from tests.kit.simulator.steps import Crash
from tests.kit.simulator.troubles import Troubles


class Poisoned:
    """A store that fails, or ends its process, when a poisonous item is looked up.

    Every event's item is looked up, wherever it comes from and however it was batched.
    """

    def __init__(
        self, real: Store, poison: Mapping[str, BaseException], troubles: Troubles
    ) -> None:
        self._real = real
        self._poison = poison
        self._troubles = troubles

    def look_up(self, items: Iterable[Item]) -> Pending[dict[Item, State]]:
        """Return what is known of each item; whoever waits for it comes to harm."""
        wanted = list(items)
        answer = self._real.look_up(wanted)
        return Then(answer, lambda: self._harmed(wanted, answer.result()))

    def _harmed(self, wanted: Iterable[Item], known: dict[Item, State]) -> dict[Item, State]:
        for item in wanted:
            harm = self._poison.get(item.ref)
            if isinstance(harm, Crash):
                self._troubles.crash("poisoned")
            if harm is not None:
                # It is one for all runs: what it says of where it came by would only grow.
                raise harm.with_traceback(None)
        return known

    def __getattr__(self, method: str) -> Any:
        return getattr(self._real, method)
