"""``volume-attached``."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from kmworker.domain.event import Attach
from kmworker.domain.model import Cause, Item, Kind
from kmworker.wire.events.lifecycle import LifecycleEvent
from kmworker.wire.events.parts import Rfc3339
from kmworker.wire.fields import ItemId, OneOf, Printable

__all__ = ["MODES", "VolumeAttached"]

MODES = ("rw", "ro")


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeAttached(LifecycleEvent):
    """A volume is attached to a node, which may have its key until it is detached."""

    type: ClassVar[str] = "volume-attached"
    also_refused: ClassVar = ()
    example: ClassVar[dict[str, Any]] = {
        "specversion": "1.0",
        "id": "c1d5f7a2-9b3e-4c60-8f14-2e7a6b9d0c85",
        "source": "/nova/cell1",
        "type": "volume-attached",
        "data": {
            "project_id": "2f1d8b04c6e94f0f9d0c5a7d3f6b1e58",
            "volume_id": "11111c0e-5a3e-4f43-b7cf-5c3a9d9b7d10",
            "attachment_id": "6c1f9be2-3d7a-4f08-9a41-d2b5e8c7f603",
            "node": "compute-17",
            "mode": "rw",
        },
    }

    volume_id: ItemId
    """The volume's id."""
    attachment_id: ItemId
    """The attachment's id: of two at a time, each has its own, and none is used again."""
    node: Printable
    """The node that it is attached to; clients are enrolled for nodes."""
    mode: Annotated[str, OneOf(MODES)] | None = None
    """How it is attached; the key is the same."""
    expires_at: Rfc3339 | None = None
    """When the grant ends if nothing ends it before, in RFC 3339."""

    def to_event(self, cause: Cause) -> Attach:
        """Reduce it to what a decision needs."""
        return Attach(
            cause,
            Item(self.project_id, Kind.VOLUME, self.volume_id),
            self.attachment_id,
            self.node,
            self.mode,
            self.expires_at,
            self.generation or 0,
        )
