"""``snapshot-deleted``."""

from dataclasses import dataclass
from typing import Any, ClassVar

from kmworker.domain.event import Release
from kmworker.domain.model import Cause, Item, Kind
from kmworker.wire.events.lifecycle import LifecycleEvent
from kmworker.wire.fields import ItemId

__all__ = ["SnapshotDeleted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotDeleted(LifecycleEvent):
    """A snapshot and its data are gone."""

    type: ClassVar[str] = "snapshot-deleted"
    also_refused: ClassVar = ()
    example: ClassVar[dict[str, Any]] = {
        "specversion": "1.0",
        "id": "e52f9a70-1c3b-4f88-8d06-27b4c5d6e781",
        "source": "/cinder/blk01",
        "type": "snapshot-deleted",
        "data": {
            "project_id": "2f1d8b04c6e94f0f9d0c5a7d3f6b1e58",
            "snapshot_id": "54af3e0d-8f6b-4d0e-9a53-0c6a4a1f2b77",
        },
    }

    snapshot_id: ItemId
    """The snapshot's id."""

    def to_event(self, cause: Cause) -> Release:
        """Reduce it to what a decision needs."""
        item = Item(self.project_id, Kind.SNAPSHOT, self.snapshot_id)
        return Release(cause, item, self.generation or 0)
