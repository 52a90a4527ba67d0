"""Out of the outbox goes what has been announced and, where there is one, is in the audit trail.

Nobody waits for the trail who suspends or compromises a key: that is done, and announced, when it
is in the store. What the trail does not take stays in the outbox, and is recorded later, perhaps
twice: each record of a change has the id of its announcement.
"""

from collections.abc import Sequence

import structlog

from kmworker.domain.audit import record_of_change
from kmworker.domain.model import KeyChanged
from kmworker.errors import NotRecorded
from kmworker.ports import AuditTrail, Store
from kmworker.wire.key_changes import key_change_id

__all__ = ["RecordedFirst"]

log = structlog.get_logger()


class RecordedFirst:
    """Notes that changes of key-ids are done with."""

    def __init__(self, store: Store, trail: AuditTrail | None = None) -> None:
        """Prepare.

        Args:
            store: whose outboxes these are.
            trail: where changes are recorded; None: nowhere.
        """
        self._store = store
        self._trail = trail
        self._is_told = False

    def said(self, changes: Sequence[KeyChanged], producer: str) -> bool:
        """Let announced changes leave the outbox; return whether they do, if there are any.

        Args:
            changes: that have been announced.
            producer: CloudEvents' `source`.
        """
        if changes and not self._is_recorded(changes, producer):
            return False
        if changes:
            self._store.said(changes)
        return True

    def tick(self) -> None:
        """Keep the trail's connection; to be called about once a second."""
        if self._trail is not None:
            self._trail.tick()

    def close(self) -> None:
        """Leave the trail."""
        if self._trail is not None:
            self._trail.close()

    def _is_recorded(self, changes: Sequence[KeyChanged], producer: str) -> bool:
        if self._trail is None:
            return True
        records = [record_of_change(it, key_change_id(producer, it)) for it in changes]
        try:
            self._trail.record(records).result()
        except NotRecorded as refused:
            # Once, until it works again: it may take a day.
            if not self._is_told:
                log.error("changes of keys are not in the audit trail", detail=str(refused))  # noqa: TRY400
            self._is_told = True
            return False
        self._is_told = False
        return True
