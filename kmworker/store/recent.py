"""Records that this worker has sent or verified lately: what it need not look up.

Nothing here is believed. A write that rests on such a record carries its sealed bytes, and
`commit.lua` compares them with what is there: whatever was edited, replaced, rewrapped or rolled
back meanwhile is another text, and the write is stale. No secrets are kept: a wrapped DEK is not.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, NamedTuple

from kmworker.domain.model import Held, Item, Released
from kmworker.domain.values import value

__all__ = ["UNSEALED", "Recent", "RecentRecords", "Sealed"]

# With what is read from them, some 4 KiB each.
MAX_RECORDS: Final = 5_000
MAX_BYTES: Final = 8 * 1024 * 1024


class Sealed(NamedTuple):
    """The records that an item's state is made of, as they are stored; none where it has none."""

    item: bytes = b""
    key: bytes = b""
    scope: bytes = b""


UNSEALED: Final = Sealed()


@value
class Recent:
    """What is known of an item, and the records that say so."""

    known: Held | Released
    sealed: Sealed

    def says(self, known: Held | Released) -> bool:
        """Return whether these records say this; of what is gone, what it was may be asked for."""
        kept = self.known
        if kept is known:
            return True
        if isinstance(kept, Held):
            return isinstance(known, Held) and _same(kept, known)
        if isinstance(known, Held):
            return kept.held is not None and _same(kept.held, known)
        return kept.tombstone == known.tombstone and _both(kept.held, known.held)


class RecentRecords:
    """The last records, bounded by number and by bytes; those that are not used go first."""

    def __init__(self, max_records: int = MAX_RECORDS, max_bytes: int = MAX_BYTES) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._records: OrderedDict[Item, Recent] = OrderedDict()

    def put(self, recent: Recent) -> None:
        """Keep this, in place of what was kept of its item."""
        item = recent.known.item
        self.forget(item)
        self._records[item] = recent
        self._size_bytes += _size(recent)
        while len(self._records) > self._max_records or self._size_bytes > self._max_bytes:
            self.forget(next(iter(self._records)))

    def forget(self, item: Item) -> None:
        """Let an item be looked up the next time."""
        if (recent := self._records.pop(item, None)) is not None:
            self._size_bytes -= _size(recent)

    def recall(self, items: Iterable[Item]) -> dict[Item, Held | Released]:
        """Return what is kept of these items."""
        found: dict[Item, Held | Released] = {}
        for item in items:
            if (recent := self._records.get(item)) is not None:
                self._records.move_to_end(item)
                found[item] = recent.known
        return found

    def sealed(self, known: Held | Released) -> Sealed:
        """Return the records that say this of an item; none, if it has changed."""
        recent = self._records.get(known.item)
        return recent.sealed if recent is not None and recent.says(known) else UNSEALED

    def clear(self) -> None:
        """Let everything be looked up the next time."""
        self._records.clear()
        self._size_bytes = 0


def _same(kept: Held, held: Held) -> bool:
    # On what is announced, and on whether events wait, no decision rests.
    return (kept.assignment, kept.key, kept.scope) == (held.assignment, held.key, held.scope)


def _both(kept: Held | None, held: Held | None) -> bool:
    return kept is held if kept is None or held is None else _same(kept, held)


def _size(recent: Recent) -> int:
    item, key, scope = recent.sealed
    return len(item) + len(key) + len(scope)
