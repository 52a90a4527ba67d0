"""``volume-created``."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from kmworker.domain.event import Event
from kmworker.domain.model import Cause, Item, Kind
from kmworker.wire.events.lifecycle import CreatingEvent
from kmworker.wire.events.parts import Encrypted, From, requested
from kmworker.wire.fields import ItemId, Printable

__all__ = ["VolumeCreated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeCreated(CreatingEvent):
    """A volume exists, and no byte of it is written yet."""

    type: ClassVar[str] = "volume-created"
    also_refused: ClassVar = (
        "a volume that names itself as its source",
        "`copy` without `source`",
        "`source_generation` without `source`",
    )
    example: ClassVar[dict[str, Any]] = {
        "specversion": "1.0",
        "id": "6d1c2a5e-8a0f-4c61-9a44-3c1b6d1f0e92",
        "source": "/cinder/blk01",
        "type": "volume-created",
        "time": "2026-11-23T16:00:00Z",
        "data": {
            "project_id": "2f1d8b04c6e94f0f9d0c5a7d3f6b1e58",
            "volume_id": "2222a9c1-7b5d-4f0e-8c36-9e1d4b7a6f05",
            "source": {
                "kind": "snapshot",
                "id": "54af3e0d-8f6b-4d0e-9a53-0c6a4a1f2b77",
                "project_id": "2f1d8b04c6e94f0f9d0c5a7d3f6b1e58",
            },
            "size_bytes": 10737418240,
            "volume_type": "luks-gold",
            "encryption": {"cipher": "aes-xts-plain64", "key_bits": 512},
            "disposition": "clone",
        },
    }

    volume_id: ItemId
    """The volume's id."""
    source: (
        Annotated[
            Item,
            From(
                Kind.VOLUME, Kind.SNAPSHOT, Kind.REPLICA, Kind.IMAGE,
                said="An `image` is data from outside that has no key here.",
            ),
        ]
        | None
    ) = None  # fmt: skip
    """What the volume was made from. Absent: it is blank."""
    copy: Literal["shared"] | None = None
    """`shared`: the volume shares its source's blocks, as thin clones do: never encrypted anew.

    Absent: its data is written anew, or copied as the assignment says.
    """
    volume_type: Printable | None = None
    """The storage's name for this kind of volume, which policy can go by."""
    encryption: Encrypted = None
    """Null: the volume is not encrypted. Absent: the source's, else the policy's default."""

    def objection(self) -> str | None:
        """Return what is wrong with the fields together."""
        if self.copy is not None and self.source is None:
            return "data.copy: a volume without data.source has nothing to share"
        if self.source_generation is not None and self.source is None:
            return "data.source_generation: there is no data.source that it could be of"
        return None

    def to_event(self, cause: Cause) -> Event:
        """Reduce it to what a decision needs."""
        return Event(
            cause=cause,
            item=Item(self.project_id, Kind.VOLUME, self.volume_id),
            derived_from=self.source,
            encryption=requested(self.encryption),
            requested=self.disposition,
            volume_type=self.volume_type,
            size_bytes=self.size_bytes,
            generation=self.generation or 0,
            source_generation=self.source_generation or 0,
            is_shared=self.copy is not None,
        )
