"""Events as they look on the wire: the definition that schemas are made from."""

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from kmworker.events.event import UNENCRYPTED, Event, RequestedEncryption, Unencrypted
from kmworker.model import Cause, Disposition, Item, Kind, Transport

__all__ = ["EVENT_TYPES", "Envelope"]

MAX_SIZE_BYTES: Final = 2**63 - 1
MAX_KEY_BITS: Final = 65_536

ItemId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,254}$")]
ProjectId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$")]
# No control characters or line separators: these names end up in logs and terminals.
Printable = Annotated[str, Field(pattern=r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]{1,255}$")]
SizeBytes = Annotated[int, Field(ge=0, le=MAX_SIZE_BYTES)]
_TIME_PATTERN: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)


def _real_time(text: str) -> str:
    """Refuse the 30th of February (RFC 3339, section 5.6); second 60 is a leap second."""
    _real_date(text[:10])
    # All are two digits, so they compare as text.
    hour, minute, second = text[11:13], text[14:16], text[17:19]
    zone_hour, zone_minute = (text[-5:-3], text[-2:]) if text[-1] not in "Zz" else ("", "")
    if max(hour, zone_hour) > "23" or max(minute, zone_minute) > "59" or second > "60":
        raise ValueError("no such time of day")
    return text


# Events of one day have one date.
_real_date = lru_cache(maxsize=64)(date.fromisoformat)


Rfc3339 = Annotated[str, Field(pattern=_TIME_PATTERN, max_length=64), AfterValidator(_real_time)]


class _Wire(BaseModel):
    """Strict, so that `"1"` is no number; unknown fields are left to newer producers.

    What is written under a class or a field is its description in the published schemas.
    """

    model_config = ConfigDict(
        strict=True, extra="ignore", hide_input_in_errors=True, use_attribute_docstrings=True
    )


class Envelope(_Wire):
    """The CloudEvents 1.0 attributes that every event has."""

    specversion: Literal["1.0"]
    """The version of CloudEvents."""
    id: Annotated[str, Field(pattern=r"^[ -~]{1,255}$")]
    """With `source`, identifies the event: printable ASCII."""
    source: Annotated[str, Field(min_length=1, max_length=255)]
    """Who publishes: a URI reference, by convention a path such as `/cinder/blk01`."""
    type: Annotated[str, Field(min_length=1)]
    """What happened; the message's routing key is the same."""
    time: Rfc3339 | None = None
    """When it happened, in RFC 3339; second 60 is a leap second."""


class WireEncryption(_Wire):
    """A cipher in dm-crypt's notation; the DEK's length in bits."""

    cipher: Annotated[str, Field(pattern=r"^[!-~]{1,128}$")]
    """As dm-crypt writes it, e.g. `aes-xts-plain64`."""
    key_bits: Annotated[int, Field(ge=1, le=MAX_KEY_BITS)] | None = None
    """The DEK's length. Absent: the source's with the same cipher, else the policy's default."""


class _Source(_Wire):
    id: ItemId
    """The source's id within its project and kind."""
    project_id: ProjectId | None = None
    """The source's project, where it differs from the item's."""


class VolumeSource(_Source):
    """What a volume was made from."""

    kind: Literal["volume", "snapshot", "replica", "image"]
    """An `image` is data from outside that has no key here."""


class ReplicaSource(_Source):
    """What a replica is a copy of."""

    kind: Literal["volume", "snapshot", "partition"]
    """A `partition` is a Swift partition; its first replica creates it, in its own project."""


class _Data(_Wire):
    project_id: ProjectId
    """The item's project; for Swift partitions and their replicas the cluster's name."""
    size_bytes: SizeBytes | None = None
    """How much data the item can hold."""
    disposition: Literal["create", "clone", "reuse"] | None = None
    """A wish for how the item joins its source; policy decides whether it is heard."""


class VolumeCreated(_Data):
    """A volume exists, and no byte of it is written yet."""

    volume_id: ItemId
    """The volume's id."""
    source: VolumeSource | None = None
    """What the volume was made from. Absent: it is blank."""
    volume_type: Printable | None = None
    """The storage's name for this kind of volume, which policy can go by."""
    encryption: WireEncryption | None = None
    """Null: the volume is not encrypted. Absent: the source's, else the policy's default."""

    def to_event(self, cause: Cause) -> Event:
        """Reduce it to what a decision needs."""
        return Event(
            cause=cause,
            item=Item(self.project_id, Kind.VOLUME, self.volume_id),
            derived_from=_source_item(self.source, self.project_id),
            encryption=_requested(self),
            wish=_wish(self),
            volume_type=self.volume_type,
            size_bytes=self.size_bytes,
        )


class SnapshotTaken(_Data):
    """A snapshot of a volume exists."""

    snapshot_id: ItemId
    """The snapshot's id."""
    volume_id: ItemId
    """The volume that the snapshot was taken of."""

    def to_event(self, cause: Cause) -> Event:
        """Reduce it to what a decision needs."""
        return Event(
            cause=cause,
            item=Item(self.project_id, Kind.SNAPSHOT, self.snapshot_id),
            derived_from=Item(self.project_id, Kind.VOLUME, self.volume_id),
            encryption=None,
            wish=_wish(self),
            size_bytes=self.size_bytes,
        )


class ReplicaAdded(_Data):
    """A replica of an item will be held by a node."""

    replica_id: ItemId
    """The replica's id."""
    source: ReplicaSource
    """What the replica is a copy of."""
    node: Printable
    """The host that will hold the replica."""
    transport: Literal["block", "file", "reencrypt"] | None = None
    """How the data travels: ciphertext in blocks or files, or encrypted anew by its receiver."""
    encryption: WireEncryption | None = None
    """Null: the replica is not encrypted. Absent: the source's, else the policy's default."""

    def to_event(self, cause: Cause) -> Event:
        """Reduce it to what a decision needs."""
        return Event(
            cause=cause,
            item=Item(self.project_id, Kind.REPLICA, self.replica_id),
            derived_from=_source_item(self.source, self.project_id),
            encryption=_requested(self),
            wish=_wish(self),
            node=self.node,
            transport=None if self.transport is None else Transport(self.transport),
            size_bytes=self.size_bytes,
        )


EVENT_TYPES: Final[Mapping[str, type[VolumeCreated | SnapshotTaken | ReplicaAdded]]] = {
    "volume-created": VolumeCreated,
    "snapshot-taken": SnapshotTaken,
    "replica-added": ReplicaAdded,
}


def _source_item(source: _Source | None, project: str) -> Item | None:
    if source is None:
        return None
    kind: str = source.kind  # type: ignore[attr-defined]  # both subclasses have it
    return Item(source.project_id or project, Kind(kind), source.id)


def _requested(data: VolumeCreated | ReplicaAdded) -> RequestedEncryption | Unencrypted | None:
    """Tell an explicit null (not encrypted) from a field that is not there."""
    if data.encryption is not None:
        return RequestedEncryption(data.encryption.cipher, data.encryption.key_bits)
    return UNENCRYPTED if "encryption" in data.model_fields_set else None


def _wish(data: _Data) -> Disposition | None:
    return None if data.disposition is None else Disposition(data.disposition)
