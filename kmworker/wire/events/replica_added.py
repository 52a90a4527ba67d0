"""``replica-added``."""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from kmworker.domain.event import Event
from kmworker.domain.model import Cause, Item, Kind, Transport
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

__all__ = ["DEFINITION", "ReplicaAdded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaAdded(LifecycleEvent):
    """A replica of an item will be held by a node."""

    type: ClassVar[str] = "replica-added"

    replica_id: str
    source: Item
    node: str
    transport: Transport | None = None
    encryption: Encrypted = None


class ReplicaSource(Source):
    """What a replica is a copy of."""

    kind: Literal["volume", "snapshot", "replica", "partition"]
    """A `partition` is a Swift partition; its first replica creates it, in its own project."""


class ReplicaData(Data):
    """What a worker takes."""

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
            derived_from=source_item(self.source, self.project_id),
            encryption=requested_encryption(self, self.encryption),
            requested=self.requested,
            node=self.node,
            transport=None if self.transport is None else Transport(self.transport),
            size_bytes=self.size_bytes,
        )


DEFINITION: Final = Definition(
    event=ReplicaAdded,
    data=ReplicaData,
    source=ReplicaSource,
    also_refused=(
        "a replica that names itself as its source",
        "a source that is a partition of another project",
    ),
    example={
        "specversion": "1.0",
        "id": "9c0e5b7d-2f4a-4e68-b1c3-5d6f7a8b9c24",
        "source": "/swift/ring-builder",
        "type": "replica-added",
        "data": {
            "project_id": "swift-eu1",
            "replica_id": "policy-0/18/4711@obj-07",
            "source": {"kind": "partition", "id": "policy-0/18/4711"},
            "node": "obj-07",
            "transport": "file",
        },
    },
)
