"""Records that are the same to the byte are opened once.

A key server looks at all that it delivers by twice within moments. What was opened is what these
bytes say, as long as the keyring is the same: so all is forgotten whenever that is looked at.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from kmworker.delegation.clients import ClientRecord
from kmworker.domain.grants import GrantsSeen
from kmworker.domain.model import Item, State
from kmworker.store.records import RecordCodec

__all__ = ["MAX_READ", "RememberingCodec"]

MAX_READ: Final = 8_192
"""Some 20 MB in all."""

T = TypeVar("T")


class RememberingCodec(RecordCodec):
    """A `RecordCodec` that remembers what it has last read in a place, and from which bytes."""

    def __init__(self, *given: Any, **named: Any) -> None:  # noqa: ANN401  # a codec's
        super().__init__(*given, **named)
        self._read: dict[tuple[str, str | Item], tuple[object, Any]] = {}

    def forget(self) -> None:
        """Open everything anew: what opens a record may open it no more."""
        self._read.clear()

    def read_client(self, name: str, record: bytes) -> ClientRecord:
        """Return a client."""
        opened = super().read_client
        return self._once(("client", name), record, lambda: opened(name, record))

    def read_grants(self, item: Item, record: bytes) -> GrantsSeen:
        """Return who may have an item's key."""
        opened = super().read_grants
        return self._once(("grants", item), record, lambda: opened(item, record))

    def state(self, item: Item, found: list[Any]) -> State:
        """Turn what was found of an item into what is known of it."""
        opened = super().state
        return self._once(("item", item), found, lambda: opened(item, found))

    def _once(self, place: tuple[str, str | Item], found: object, read: Callable[[], T]) -> T:
        before = self._read.get(place)
        if before is not None and before[0] == found:
            known: T = before[1]
            return known
        value = read()
        if len(self._read) >= MAX_READ:
            self._read.clear()
        self._read[place] = found, value
        return value
