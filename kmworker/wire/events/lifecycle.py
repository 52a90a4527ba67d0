"""What every event has. The class of a type is all of it: for producers, workers and schemas.

Producers in Python make its instances, and what a worker reads becomes one. So a field is stated
once, with its limits, and what is written under it is its published description.

An event gets its id when it is made, not when it is sent. So whoever publishes the same
object again says the same thing again, and no retry can turn one event into two.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from time import time
from typing import Annotated, Any, ClassVar, Final

from kmworker.clock import rfc3339
from kmworker.domain.event import Happening, RequestedEncryption, Unencrypted
from kmworker.domain.model import Cause, Disposition, Encryption, Item
from kmworker.wire.events.parts import Generation, Members, ReadAs, SizeBytes
from kmworker.wire.fields import ProjectId
from kmworker.wire.ids import random_id

__all__ = ["CreatingEvent", "LifecycleEvent"]

REQUESTED: Final = Members(Disposition.CREATE, Disposition.CLONE, Disposition.REUSE)
ENVELOPE: Final = frozenset({"id", "time"})


def _now() -> str:
    return rfc3339(time())


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleEvent(ABC):
    """What every event has."""

    type: ClassVar[str]
    also_refused: ClassVar[Sequence[str]]
    """What a worker refuses that the schema cannot say."""
    example: ClassVar[dict[str, Any]]
    """A whole event, as the published schemas show it."""

    project_id: ProjectId
    """The item's project; for Swift partitions and their replicas the cluster's name."""
    generation: Generation | None = None
    """Which life of the item's name it is about, by whatever the storage numbers these with.

    A higher number is a later life. Absent: 0.
    """
    extra: Annotated[Mapping[str, Any], ReadAs(dict[str, Any], dict)] | None = None
    """The producer's own notes, at most 4 KiB as compact JSON in UTF-8: they are ignored."""
    id: str = field(default_factory=random_id)
    """With the producer's ``event_source`` it names the event: give it back on a retry."""
    time: str = field(default_factory=_now)
    """RFC 3339."""

    @classmethod
    def data_fields(cls) -> list[Any]:
        """Return the dataclass fields of what is written into the event's data."""
        return [it for it in fields(cls) if it.name not in ENVELOPE]

    def objection(self) -> str | None:
        """Return what is wrong with the fields together."""
        return None

    @abstractmethod
    def to_event(self, cause: Cause) -> Happening:
        """Reduce it to what a decision needs."""

    def body(self, event_source: str) -> bytes:
        """Return the event as it is published; what was not given is not there."""
        given = {it.name: getattr(self, it.name) for it in self.data_fields()}
        document = {
            "specversion": "1.0",
            "id": self.id,
            "source": event_source,
            "type": self.type,
            "time": self.time,
            "data": {name: self._as_json(it) for name, it in given.items() if it is not None},
        }
        return json.dumps(document, separators=(",", ":")).encode()

    def _as_json(self, given: object) -> object:
        match given:
            case Item(project, kind, name):
                project_id = {} if project == self.project_id else {"project_id": project}
                return {"kind": kind, "id": name, **project_id}
            case Unencrypted():
                return None
            case Encryption() | RequestedEncryption():
                return {name: it for name, it in given._asdict().items() if it is not None}
            case Mapping():
                return dict(given)
            case _:
                return given


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatingEvent(LifecycleEvent):
    """What every event has by which an item comes to be."""

    size_bytes: SizeBytes | None = None
    """How much data the item can hold."""
    disposition: Annotated[Disposition, REQUESTED] | None = None
    """The disposition that is requested for the item; policy decides whether it is allowed."""
    source_generation: Generation | None = None
    """Which life of the source's name is meant: the `generation` of its own event. Absent: 0."""
