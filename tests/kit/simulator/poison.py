"""Events that harm whoever handles them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kmworker.domain.model import Item, State
from kmworker.domain.plan import AssignWrite, Committed, Write
from kmworker.ports import Pending, Store
from kmworker.store.pipe import Then
from tests.kit.simulator.steps import Crash
from tests.kit.simulator.troubles import Troubles


class Poisoned:
    """A store that fails, or ends its process, over a poisonous item.

    Every event's item is looked up or written, wherever it comes from and however it was batched.
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
        return Then(answer, lambda: self._unharmed(wanted, answer))

    def commit(self, writes: Sequence[Write]) -> Pending[list[Committed]]:
        """Write all, unless one of them does harm before."""
        self._harm(
            write.assignment.item if isinstance(write, AssignWrite) else write.item
            for write in writes
        )
        return self._real.commit(writes)

    def _unharmed(
        self, wanted: Iterable[Item], answer: Pending[dict[Item, State]]
    ) -> dict[Item, State]:
        known = answer.result()
        self._harm(wanted)
        return known

    def _harm(self, items: Iterable[Item]) -> None:
        for item in items:
            harm = self._poison.get(item.ref)
            if isinstance(harm, Crash):
                self._troubles.crash("poisoned")
            if harm is not None:
                # It is one for all runs: what it says of where it came by would only grow.
                raise harm.with_traceback(None)

    def __getattr__(self, method: str) -> Any:
        return getattr(self._real, method)
