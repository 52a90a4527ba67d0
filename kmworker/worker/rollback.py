"""The store's number of commits, kept on the broker for whoever was not there.

A worker that has just started remembers nothing of the store. A store that counts fewer
commits than are anchored has lost some, and with them assignments that subscribers act
on. One that has fewer endings has lost what says which of its records are over. Losing
store and anchor at once is not noticed.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from kmworker.domain.values import value
from kmworker.ports import Keep, Store

__all__ = ["Anchor", "Anchored", "anchored_in"]

log = structlog.get_logger()

LEASE: Final = "anchor"
# Until well before the holder's next time, however late it was this time.
LEASE_S: Final = 0.5


@value
class Anchored:
    """What is kept on the broker; neither ever becomes less, but by a person's word."""

    commits: int = 0
    endings: int = 0


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
        self._recorded = Anchored()

    def check(self) -> None:
        """Compare, when store and broker are both there.

        Raises:
            SetupError: the store counts fewer commits or endings than are anchored.
            BrokerUnavailable, StoreUnavailable: it cannot be compared now.
        """
        self._recorded = self.newest()
        self._store.refuse_if_behind(self._recorded.commits)
        self._store.refuse_if_endings_lack(self._recorded.endings)

    def newest(self) -> Anchored:
        """Return the newest numbers that are anchored; 0 if none is."""
        return self._record(Anchored())

    def record_if_new(self) -> None:
        """Anchor what is new; one worker at a time, since one anchor serves all."""
        if self._now() != self._recorded and self._store.lease(LEASE, self._worker_id, LEASE_S):
            self.record()

    def record(self) -> None:
        """Anchor what is new."""
        now = self._now()
        if now != self._recorded:
            self._recorded = self._record(now)

    def replace(self, by: Anchored) -> None:
        """Anchor this, whatever is anchored: by a person's word."""
        self._keep(lambda _kept: self._written(by))

    def _now(self) -> Anchored:
        return Anchored(self._store.commits(), self._store.endings())

    def _record(self, now: Anchored) -> Anchored:
        """Anchor these numbers, or newer ones that another has anchored; return which."""
        newest = now

        def choose(kept: list[bytes]) -> bytes:
            nonlocal newest
            newest = _newest([now, anchored_in(kept, self._identity())])
            return self._written(newest)

        self._keep(choose)
        return newest

    def _written(self, anchored: Anchored) -> bytes:
        store = sorted(self._identity())
        fields = {"commits": anchored.commits, "endings": anchored.endings, "store": store}
        return json.dumps(fields).encode()


def anchored_in(kept: Iterable[bytes], identity: Iterable[str]) -> Anchored:
    """Return the newest numbers in what the broker keeps; 0 where none can be read.

    Args:
        kept: the messages; more than one after a crash.
        identity: words for the store's keys; what has none of them is another store's.
    """
    found, ours = [Anchored()], set(identity)
    for body in kept:
        try:
            anchor = json.loads(body)
            is_ours = not ours.isdisjoint(anchor["store"])
            # Older releases kept commits alone.
            numbers = Anchored(int(anchor["commits"]), int(anchor.get("endings", 0)))
        except (AttributeError, ValueError, TypeError, KeyError):
            log.warning("the anchor on the broker cannot be read")
            continue
        if is_ours:
            found.append(numbers)
        else:
            log.warning("the anchor on the broker is of a store with other keys")
    return _newest(found)


def _newest(of: Sequence[Anchored]) -> Anchored:
    return Anchored(max(it.commits for it in of), max(it.endings for it in of))
