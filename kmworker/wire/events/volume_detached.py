"""``volume-detached``."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from kmworker.domain.event import Detach
from kmworker.domain.model import Cause, Item, Kind
from kmworker.wire.events.lifecycle import LifecycleEvent
from kmworker.wire.events.parts import Rfc3339
from kmworker.wire.events.volume_attached import MODES
from kmworker.wire.fields import ItemId, OneOf, Printable

__all__ = ["VolumeDetached"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeDetached(LifecycleEvent):
    """An attachment is over, and its node may not have the volume's key by it any more."""

    type: ClassVar[str] = "volume-detached"
    also_refused: ClassVar = ()
    example: ClassVar[dict[str, Any]] = {
        "specversion": "1.0",
        "id": "e8b40c17-6f2d-4a9b-b3c5-71d9f0a2e846",
        "source": "/nova/cell1",
        "type": "volume-detached",
        "data": {
            "project_id": "2f1d8b04c6e94f0f9d0c5a7d3f6b1e58",
            "volume_id": "11111c0e-5a3e-4f43-b7cf-5c3a9d9b7d10",
            "attachment_id": "6c1f9be2-3d7a-4f08-9a41-d2b5e8c7f603",
            "node": "compute-17",
        },
    }

    volume_id: ItemId
    """The volume's id."""
    attachment_id: ItemId
    """The attachment's id."""
    node: Printable | None = None
    """As the attachment said; it ends whatever stands here."""
    mode: Annotated[str, OneOf(MODES)] | None = None
    """As the attachment said; it ends whatever stands here."""
    expires_at: Rfc3339 | None = None
    """As the attachment said; it ends whatever stands here."""

    def to_event(self, cause: Cause) -> Detach:
        """Reduce it to what a decision needs."""
        item = Item(self.project_id, Kind.VOLUME, self.volume_id)
        return Detach(cause, item, self.attachment_id, self.generation or 0)
