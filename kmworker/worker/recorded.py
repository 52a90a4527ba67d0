"""Out of the outbox goes what has been announced and, where there is one, is in the audit trail.

Nobody waits for the trail who suspends or compromises a key, revokes a client or detaches a volume:
that is done, and announced, when it is in the store. What the trail does not take stays there, and
is recorded later, perhaps twice: each record of a change has the id of its announcement, of the
event that made it, or one that is made of the change's name.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, assert_never

import structlog

from kmworker.clock import Clock
from kmworker.domain.audit import (
    AuditRecord,
    KeptRecord,
    Unsaid,
    record_of_change,
    records_of_grants,
)
from kmworker.domain.grants import GrantsChanged
from kmworker.domain.ids import named_id
from kmworker.domain.model import KeyChanged
from kmworker.errors import NotRecorded
from kmworker.ports import AuditTrail, Store
from kmworker.wire.key_changes import key_change_id

__all__ = ["RecordedFirst"]

log = structlog.get_logger()

LEFT_ALONE_S: Final = 10.0


class RecordedFirst:
    """Notes that changes of keys, grants, KEKs and clients are done with."""

    def __init__(self, store: Store, clock: Clock, trail: AuditTrail | None = None) -> None:
        """Prepare.

        Args:
            store: whose outboxes these are.
            clock: by which the trail is left alone for a while.
            trail: where changes are recorded; None: nowhere.
        """
        self._store = store
        self._clock = clock
        self._trail = trail
        self._is_told = False
        self._left_alone_until_s = 0.0
        """Monotonic."""

    @property
    def is_on(self) -> bool:
        """Return whether changes are recorded."""
        return self._trail is not None

    @property
    def takes(self) -> bool:
        """Return whether the trail is worth the wait of events for it: it has not just refused.

        A broker that confirms nothing takes its time for that, and each batch would wait so long.
        """
        return self._clock.monotonic() >= self._left_alone_until_s

    def said(self, changes: Sequence[Unsaid], producer: str) -> bool:
        """Let changes leave the outbox; return whether they do, if there are any.

        Args:
            changes: that have been announced, if they are to be.
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

    def _is_recorded(self, changes: Sequence[Unsaid], producer: str) -> bool:
        if self._trail is None:
            return True
        records = [record for it in changes for record in _records_of(it, producer)]
        if not records:
            return True
        try:
            self._trail.record(records).result()
        except NotRecorded as refused:
            # Once, until it works again: it may take a day.
            if not self._is_told:
                log.error("what was done is not in the audit trail", detail=str(refused))  # noqa: TRY400
            self._is_told = True
            self._left_alone_until_s = self._clock.monotonic() + LEFT_ALONE_S
            return False
        self._is_told = False
        self._left_alone_until_s = 0.0
        return True


def _records_of(changed: Unsaid, producer: str) -> list[AuditRecord]:
    match changed:
        case KeyChanged():
            return [record_of_change(changed, key_change_id(producer, changed))]
        case GrantsChanged():
            return records_of_grants(changed)
        case KeptRecord():
            same = named_id(f"kept\0{producer}\0{changed.name}")
            return [replace(changed.record, event=same)]
        case _:
            assert_never(changed)
