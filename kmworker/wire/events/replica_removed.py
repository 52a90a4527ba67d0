"""``replica-removed``."""

from dataclasses import dataclass
from typing import Any, ClassVar

from kmworker.domain.event import Release
from kmworker.domain.model import Cause, Item, Kind
from kmworker.wire.events.lifecycle import LifecycleEvent
from kmworker.wire.fields import ItemId

__all__ = ["ReplicaRemoved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaRemoved(LifecycleEvent):
    """A replica has left its node, and its data there is gone."""

    type: ClassVar[str] = "replica-removed"
    also_refused: ClassVar = ()
    example: ClassVar[dict[str, Any]] = {
        "specversion": "1.0",
        "id": "3a91c8d2-7e4f-4b05-a6d1-0f2e3c4b5a69",
        "source": "/swift/ring-builder",
        "type": "replica-removed",
        "data": {
            "project_id": "swift-eu1",
            "replica_id": "policy-0/18/4711@obj-07",
            "generation": 12,
        },
    }

    replica_id: ItemId
    """The replica's id."""

    def to_event(self, cause: Cause) -> Release:
        """Reduce it to what a decision needs."""
        item = Item(self.project_id, Kind.REPLICA, self.replica_id)
        return Release(cause, item, self.generation or 0)
