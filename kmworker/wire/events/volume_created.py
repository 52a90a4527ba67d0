"""``volume-created``."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from kmworker.domain.event import Event
from kmworker.domain.model import Cause, Item, Kind
from kmworker.wire.events.definition import (
    Data,
    Definition,
    Source,
    WireEncryption,
    requested_encryption,
    source_item,
)
from kmworker.wire.events.lifecycle import Encrypted, LifecycleEvent
from kmworker.wire.fields import ItemId, Printable

__all__ = ["DEFINITION", "VolumeCreated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeCreated(LifecycleEvent):
    """A volume exists, and no byte of it is written yet."""

    type: ClassVar[str] = "volume-created"

    volume_id: str
    copy: Literal["shared"] | None = None
    """``shared``: it shares its source's blocks, as a thin clone does."""
    volume_type: str | None = None
    source: Item | None = None
    """What it was made from; `Kind.IMAGE` for data from outside, None for a blank volume."""
    encryption: Encrypted = None


class VolumeSource(Source):
    """What a volume was made from."""

    kind: Literal["volume", "snapshot", "replica", "image"]
    """An `image` is data from outside that has no key here."""


class VolumeData(Data):
    """What a worker takes."""

    volume_id: ItemId
    """The volume's id."""
    source: VolumeSource | None = None
    """What the volume was made from. Absent: it is blank."""
    copied: Annotated[Literal["shared"] | None, Field(alias="copy")] = None
    """`shared`: the volume shares its source's blocks, as thin clones do: never encrypted anew.

    Absent: its data is written anew, or copied as the assignment says.
    """
    volume_type: Printable | None = None
    """The storage's name for this kind of volume, which policy can go by."""
    encryption: WireEncryption | None = None
    """Null: the volume is not encrypted. Absent: the source's, else the policy's default."""

    def objection(self) -> str | None:
        """Return what is wrong with the fields together."""
        if self.copied is not None and self.source is None:
            return "data.copy: a volume without data.source has nothing to share"
        return None

    def to_event(self, cause: Cause) -> Event:
        """Reduce it to what a decision needs."""
        return Event(
            cause=cause,
            item=Item(self.project_id, Kind.VOLUME, self.volume_id),
            derived_from=source_item(self.source, self.project_id),
            encryption=requested_encryption(self, self.encryption),
            requested=self.requested,
            volume_type=self.volume_type,
            size_bytes=self.size_bytes,
            is_shared=self.copied is not None,
        )


DEFINITION: Final = Definition(
    event=VolumeCreated,
    data=VolumeData,
    source=VolumeSource,
    also_refused=("a volume that names itself as its source", "`copy` without `source`"),
    example={
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
    },
)
