"""``volume-deleted``."""

from dataclasses import dataclass
from typing import Any, ClassVar

from kmworker.domain.event import Release
from kmworker.domain.model import Cause, Item, Kind
from kmworker.wire.events.lifecycle import LifecycleEvent
from kmworker.wire.fields import ItemId

__all__ = ["VolumeDeleted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeDeleted(LifecycleEvent):
    """A volume and its data are gone."""

    type: ClassVar[str] = "volume-deleted"
    also_refused: ClassVar = ()
    example: ClassVar[dict[str, Any]] = {
        "specversion": "1.0",
        "id": "0b7de1c4-52a9-4d6e-9f38-6a1f0c2b7e55",
        "source": "/cinder/blk01",
        "type": "volume-deleted",
        "data": {
            "project_id": "2f1d8b04c6e94f0f9d0c5a7d3f6b1e58",
            "volume_id": "2222a9c1-7b5d-4f0e-8c36-9e1d4b7a6f05",
        },
    }

    volume_id: ItemId
    """The volume's id."""

    def to_event(self, cause: Cause) -> Release:
        """Reduce it to what a decision needs."""
        item = Item(self.project_id, Kind.VOLUME, self.volume_id)
        return Release(cause, item, self.generation or 0)
