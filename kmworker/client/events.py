"""Events out: what a producer has to say.

An event gets its id when it is made, not when it is sent. So whoever publishes the same
object again says the same thing again, and no retry can turn one event into two.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any, ClassVar, TypeAlias

from kmworker.clock import rfc3339
from kmworker.events import RequestedEncryption, Unencrypted
from kmworker.ids import random_id
from kmworker.model import Disposition, Encryption, Item, Transport

__all__ = ["Encrypted", "LifecycleEvent", "ReplicaAdded", "SnapshotTaken", "VolumeCreated"]

Encrypted: TypeAlias = Encryption | RequestedEncryption | Unencrypted | None
"""None leaves it to the source or the policy; only `UNENCRYPTED` means not encrypted."""


def _now() -> str:
    return rfc3339(time())


def _new_id() -> str:
    return random_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleEvent(ABC):
    """What every event has."""

    type: ClassVar[str]

    project_id: str
    size_bytes: int | None = None
    disposition: Disposition | None = None
    """A wish: rules may overrule it, and guards always do."""
    id: str = field(default_factory=_new_id)
    """With the producer's ``event_source`` it names the event: give it back on a retry."""
    time: str = field(default_factory=_now)
    """RFC 3339."""

    def body(self, event_source: str) -> bytes:
        """Return the event as it is published."""
        wish = None if self.disposition is None else str(self.disposition)
        everywhere = {
            "project_id": self.project_id,
            "size_bytes": self.size_bytes,
            "disposition": wish,
        }
        document = {
            "specversion": "1.0",
            "id": self.id,
            "source": event_source,
            "type": self.type,
            "time": self.time,
            "data": _present(everywhere) | self._data(),
        }
        return json.dumps(document, separators=(",", ":")).encode()

    @abstractmethod
    def _data(self) -> dict[str, Any]:
        """Return what only this type of event has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeCreated(LifecycleEvent):
    """A volume exists, and no byte of it is written yet."""

    type: ClassVar[str] = "volume-created"

    volume_id: str
    source: Item | None = None
    """What it was made from; `Kind.IMAGE` for data from outside, None for a blank volume."""
    volume_type: str | None = None
    encryption: Encrypted = None

    def _data(self) -> dict[str, Any]:
        named = {"volume_id": self.volume_id, "volume_type": self.volume_type}
        source = {} if self.source is None else {"source": _source(self.source, self.project_id)}
        return _present(named) | source | _encryption(self.encryption)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotTaken(LifecycleEvent):
    """A snapshot of a volume exists."""

    type: ClassVar[str] = "snapshot-taken"

    snapshot_id: str
    volume_id: str

    def _data(self) -> dict[str, Any]:
        return {"snapshot_id": self.snapshot_id, "volume_id": self.volume_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaAdded(LifecycleEvent):
    """A replica of an item will be held by a node."""

    type: ClassVar[str] = "replica-added"

    replica_id: str
    source: Item
    node: str
    transport: Transport | None = None
    encryption: Encrypted = None

    def _data(self) -> dict[str, Any]:
        named = {
            "replica_id": self.replica_id,
            "source": _source(self.source, self.project_id),
            "node": self.node,
            "transport": None if self.transport is None else str(self.transport),
        }
        return _present(named) | _encryption(self.encryption)


def _source(source: Item, project_id: str) -> dict[str, str]:
    named = {"kind": str(source.kind), "id": source.id}
    return named if source.project == project_id else {**named, "project_id": source.project}


def _encryption(encryption: Encrypted) -> dict[str, Any]:
    if encryption is None:
        return {}
    if isinstance(encryption, Unencrypted):
        return {"encryption": None}
    return {"encryption": _present(encryption._asdict())}


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
