"""The store's number of commits, kept on the broker for whoever was not there.

A worker that has just started remembers nothing of the store. A store that counts fewer
commits than are anchored has lost some, and with them assignments that subscribers act
on. Losing store and anchor at once is not noticed.
"""

import json
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from kmworker.ports import Keep, Store

__all__ = ["Anchor"]

log = structlog.get_logger()

LEASE: Final = "anchor"
# Until well before the holder's next time, however late it was this time.
LEASE_S: Final = 0.5


class Anchor:
    """Compares the store with the anchor, and keeps the anchor up to date."""

    def __init__(
        self, keep: Keep, store: Store, *, worker_id: str, identity: Callable[[], Iterable[str]]
    ) -> None:
        """Take what both sides have in common.

        Args:
            keep: `Bus.anchor`.
            store: whose commits it counts.
            worker_id: of the lease's holder.
            identity: words for the store's keys as they are now; an anchor with none of them is
                another's.
        """
        self._keep = keep
        self._store = store
        self._worker_id = worker_id
        self._identity = identity
        self._recorded = 0

    def check(self) -> None:
        """Compare, when store and broker are both there.

        Raises:
            SetupError: the store counts fewer commits than are anchored.
            BrokerUnavailable, StoreUnavailable: it cannot be compared now.
        """
        self._recorded = self.newest()
        self._store.refuse_if_behind(self._recorded)

    def newest(self) -> int:
        """Return the newest number that is anchored; 0 if none is."""
        return self._record(0)

    def record_if_new(self) -> None:
        """Anchor what is new; one worker at a time, since one anchor serves all."""
        if self._store.commits() != self._recorded and self._store.lease(
            LEASE, self._worker_id, LEASE_S
        ):
            self.record()

    def record(self) -> None:
        """Anchor what is new."""
        number = self._store.commits()
        if number != self._recorded:
            self._recorded = self._record(number)

    def replace(self, number: int) -> None:
        """Anchor this number, whatever is anchored: by a person's word."""
        self._keep(lambda _kept: self._written(number))

    def _record(self, number: int) -> int:
        """Anchor this number, or a newer one that another has anchored; return which."""
        newest = number

        def choose(kept: list[bytes]) -> bytes:
            nonlocal newest
            newest = max([number, *self._read(kept)])
            return self._written(newest)

        self._keep(choose)
        return newest

    def _read(self, kept: Iterable[bytes]) -> list[int]:
        numbers, ours = [], set(self._identity())
        for body in kept:
            try:
                anchor = json.loads(body)
                is_ours = not ours.isdisjoint(anchor["store"])
                number = int(anchor["commits"])
            except (ValueError, TypeError, KeyError):
                log.warning("the anchor on the broker cannot be read")
                continue
            if is_ours:
                numbers.append(number)
            else:
                log.warning("the anchor on the broker is of a store with other keys")
        return numbers

    def _written(self, commits: int) -> bytes:
        return json.dumps({"commits": commits, "store": sorted(self._identity())}).encode()
