"""``snapshot-taken``."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from kmworker.domain.event import Event
from kmworker.domain.model import Cause, Item, Kind
from kmworker.wire.events.lifecycle import CreatingEvent
from kmworker.wire.events.parts import From
from kmworker.wire.fields import ItemId

__all__ = ["SnapshotTaken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotTaken(CreatingEvent):
    """A snapshot of a volume or a replica exists."""

    type: ClassVar[str] = "snapshot-taken"
    also_refused: ClassVar = (
        "neither or both of `volume_id` and `source`",
        "a source of another project",
    )
    example: ClassVar[dict[str, Any]] = {
        "specversion": "1.0",
        "id": "77aa4c1b-0d2e-4a36-8f5b-6e7d8c9b0a13",
        "source": "/cinder/blk01",
        "type": "snapshot-taken",
        "data": {
            "project_id": "2f1d8b04c6e94f0f9d0c5a7d3f6b1e58",
            "snapshot_id": "54af3e0d-8f6b-4d0e-9a53-0c6a4a1f2b77",
            "volume_id": "11111c0e-5a3e-4f43-b7cf-5c3a9d9b7d10",
        },
    }

    snapshot_id: ItemId
    """The snapshot's id."""
    volume_id: ItemId | None = None
    """The volume that the snapshot was taken of; this or `source`."""
    source: (
        Annotated[
            Item,
            From(
                Kind.VOLUME, Kind.REPLICA,
                said="A `replica` is what the snapshot was taken of where the copy is held.",
            ),
        ]
        | None
    ) = None  # fmt: skip
    """What the snapshot was taken of, in its own project; this or `volume_id`."""

    def objection(self) -> str | None:
        """Return what is wrong with the fields together."""
        if self.source is None:
            return "data.volume_id: missing, and so is data.source" if not self.volume_id else None
        if self.volume_id is not None:
            return "data.source: there beside data.volume_id; a snapshot names one of the two"
        if self.source.project != self.project_id:
            return "data.source.project_id: a snapshot is of its source's own project"
        return None

    def to_event(self, cause: Cause) -> Event:
        """Reduce it to what a decision needs."""
        project, volume = self.project_id, self.volume_id
        return Event(
            cause=cause,
            item=Item(project, Kind.SNAPSHOT, self.snapshot_id),
            derived_from=self.source if volume is None else Item(project, Kind.VOLUME, volume),
            encryption=None,
            requested=self.disposition,
            size_bytes=self.size_bytes,
            generation=self.generation or 0,
            source_generation=self.source_generation or 0,
        )
