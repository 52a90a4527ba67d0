"""What has become of key-ids, announced for whoever could not do it.

A worker announces what its own batch has changed. This is for the rest: what operators and the
janitor have changed, and what a worker that died, or lost the broker, has left in an outbox.
"""

from collections.abc import Sequence
from typing import Final

from kmworker.domain.audit import KeptRecord, Unsaid
from kmworker.domain.grants import GrantsChanged
from kmworker.domain.message import Confirm
from kmworker.domain.model import KeyChanged
from kmworker.ports import Bus, Store
from kmworker.wire.key_changes import announce_key
from kmworker.worker.recorded import RecordedFirst

__all__ = ["OutboxAnnouncer", "taken"]

LEASE: Final = "outbox"
# Beyond these, some are announced once more: with the same ids.
MAX_ANNOUNCED: Final = 10_000


class OutboxAnnouncer:
    """Announces what is left; one worker at a time, by lease."""

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        store: Store,
        bus: Bus,
        recorded: RecordedFirst,
        *,
        worker_id: str,
        exchange: str,
        every_s: float,
    ) -> None:
        """Prepare.

        Args:
            store: whose outboxes these are.
            bus: where it is announced.
            recorded: takes out of them what is done with.
            worker_id: of the lease's holder.
            exchange: the keys exchange.
            every_s: how often `announce` is called.
        """
        self._store = store
        self._bus = bus
        self._recorded = recorded
        self._announced: set[tuple[str, str, int]] = set()
        """What the audit trail has not taken yet: it is not announced each time anew."""
        self._worker_id = worker_id
        self._exchange = exchange
        # Until well before the holder's next time, however late it was this time.
        self._lease_s = every_s / 2

    def announce(self, producer: str) -> None:
        """Announce some of it.

        Args:
            producer: CloudEvents' `source`.
        """
        self._recorded.tick()
        if not self._store.lease(LEASE, self._worker_id, self._lease_s):
            return
        changes = self._store.unsaid()
        of_keys = [it for it in changes if isinstance(it, KeyChanged)]
        known = [it for it in of_keys if _named(it) in self._announced]
        fresh = [it for it in of_keys if _named(it) not in self._announced]
        if fresh:
            messages = [announce_key(it, producer, self._exchange) for it in fresh]
            known += taken(fresh, self._bus.send(messages).result())
        # Nobody is told of these, but the trail.
        others = [it for it in changes if isinstance(it, GrantsChanged | KeptRecord)]
        done: list[Unsaid] = [*known, *others]
        if self._recorded.said(done, producer):
            self._announced.difference_update(map(_named, known))
        elif len(self._announced) < MAX_ANNOUNCED:
            self._announced.update(map(_named, known))

    def close(self) -> None:
        """Leave the audit trail, if changes are recorded there."""
        self._recorded.close()


def _named(changed: KeyChanged) -> tuple[str, str, int]:
    return changed.project, changed.key.key_id, changed.key.version


def taken(changes: Sequence[KeyChanged], confirms: Sequence[Confirm]) -> list[KeyChanged]:
    """Return what the broker has: that no queue is bound for it is an end, too."""
    return [
        change
        for change, confirm in zip(changes, confirms, strict=True)
        if confirm is not Confirm.REFUSED
    ]
