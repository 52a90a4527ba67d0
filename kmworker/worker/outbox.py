"""What has become of key-ids, announced for whoever could not do it.

A worker announces what its own batch has changed. This is for the rest: what operators and the
janitor have changed, and what a worker that died, or lost the broker, has left in an outbox.
"""

from collections.abc import Sequence
from typing import Final

from kmworker.domain.message import Confirm
from kmworker.domain.model import KeyChanged
from kmworker.ports import Bus, Store
from kmworker.wire.key_changes import announce_key

__all__ = ["OutboxAnnouncer", "taken"]

LEASE: Final = "outbox"


class OutboxAnnouncer:
    """Announces what is left; one worker at a time, by lease."""

    def __init__(
        self, store: Store, bus: Bus, *, worker_id: str, exchange: str, every_s: float
    ) -> None:
        """Prepare.

        Args:
            store: whose outboxes these are.
            bus: where it is announced.
            worker_id: of the lease's holder.
            exchange: the keys exchange.
            every_s: how often `announce` is called.
        """
        self._store = store
        self._bus = bus
        self._worker_id = worker_id
        self._exchange = exchange
        # Until well before the holder's next time, however late it was this time.
        self._lease_s = every_s / 2

    def announce(self, producer: str) -> None:
        """Announce some of it.

        Args:
            producer: CloudEvents' `source`.
        """
        if not self._store.lease(LEASE, self._worker_id, self._lease_s):
            return
        changes = self._store.unsaid()
        if changes:
            messages = [announce_key(it, producer, self._exchange) for it in changes]
            self._store.said(taken(changes, self._bus.send(messages).result()))


def taken(changes: Sequence[KeyChanged], confirms: Sequence[Confirm]) -> list[KeyChanged]:
    """Return what the broker has: that no queue is bound for it is an end, too."""
    return [
        change
        for change, confirm in zip(changes, confirms, strict=True)
        if confirm is not Confirm.REFUSED
    ]
