"""``replica-added``."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from kmworker.domain.event import Event
from kmworker.domain.model import Cause, Item, Kind, Transport
from kmworker.wire.events.lifecycle import CreatingEvent
from kmworker.wire.events.parts import Encrypted, From, Members, requested
from kmworker.wire.fields import ItemId, Printable

__all__ = ["ReplicaAdded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaAdded(CreatingEvent):
    """A replica of an item will be held by a node."""

    type: ClassVar[str] = "replica-added"
    also_refused: ClassVar = (
        "a replica that names itself as its source",
        "a source that is a partition of another project",
        "`source_generation` of a partition, but for 0",
    )
    example: ClassVar[dict[str, Any]] = {
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
    }

    replica_id: ItemId
    """The replica's id."""
    source: Annotated[
        Item,
        From(
            Kind.VOLUME, Kind.SNAPSHOT, Kind.REPLICA, Kind.PARTITION,
            said="A `partition` is a Swift partition; its first replica creates it, in its own"
            " project.",
        ),
    ]  # fmt: skip
    """What the replica is a copy of."""
    node: Printable
    """The host that will hold the replica."""
    transport: Annotated[Transport, Members(*Transport)] | None = None
    """How the data travels: ciphertext in blocks or files, or encrypted anew by its receiver."""
    encryption: Encrypted = None
    """Null: the replica is not encrypted. Absent: the source's, else the policy's default."""

    def to_event(self, cause: Cause) -> Event:
        """Reduce it to what a decision needs."""
        return Event(
            cause=cause,
            item=Item(self.project_id, Kind.REPLICA, self.replica_id),
            derived_from=self.source,
            encryption=requested(self.encryption),
            requested=self.disposition,
            node=self.node,
            transport=self.transport,
            size_bytes=self.size_bytes,
            generation=self.generation or 0,
            source_generation=self.source_generation or 0,
        )
