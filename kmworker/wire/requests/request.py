"""What every request has. The class of a type is all of it: for clients, key servers and schemas.

A request gets its id and time when it is made. Whoever sends the same object again asks the same
thing again, and is answered again; other bytes under the same id are refused.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from time import time
from typing import Annotated, Any, ClassVar, Final

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from kmworker.clock import rfc3339
from kmworker.domain.model import Item, Kind
from kmworker.wire.events.parts import Strict
from kmworker.wire.fields import ItemId, OneOf, ProjectId, QueueName
from kmworker.wire.ids import random_id

__all__ = ["ASKED_FOR", "DIRECT_REPLY", "AskedItem", "ClientRequest", "WantedItem"]

DIRECT_REPLY: Final = "amq.rabbitmq.reply-to"
"""RabbitMQ's direct reply-to: the broker puts the address itself into the property `reply_to`."""
ASKED_FOR: Final = (Kind.VOLUME, Kind.SNAPSHOT, Kind.REPLICA, Kind.PARTITION)
ENVELOPE: Final = frozenset({"id", "time"})


class WantedItem(Strict):
    """An item of the request's own project."""

    kind: Annotated[str, OneOf(ASKED_FOR)]
    """What it is."""
    id: ItemId
    """Its id within its project and kind."""


class AskedItem:
    """Marks the field of the item that a request is about."""

    def __get_pydantic_core_schema__(
        self, _source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Take it for one of the request's own project."""
        written = handler.generate_schema(WantedItem | None)
        return core_schema.with_info_after_validator_function(_item, written)


def _item(wanted: WantedItem | None, info: ValidationInfo) -> Item | None:
    if wanted is None:
        return None
    # Without a project, the request is refused whatever comes of this.
    return Item(info.data.get("project_id", ""), Kind(wanted.kind), wanted.id)


def _now() -> str:
    return rfc3339(time())


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRequest(ABC):
    """What every request has."""

    type: ClassVar[str]
    also_refused: ClassVar[Sequence[str]]
    """What a key server refuses that the schema cannot say."""
    example: ClassVar[dict[str, Any]]
    """A whole request, as the published schemas show it."""

    project_id: ProjectId
    """The project of what is asked for."""
    reply_to: QueueName
    """Where the answer goes: `amq.rabbitmq.reply-to`, or the client's own queue; nowhere else."""
    id: str = field(default_factory=random_id)
    """Names the request: sent again, it has the same one and the same bytes."""
    time: str = field(default_factory=_now)
    """RFC 3339, UTC. The key server's clock must agree within 300 s."""

    @classmethod
    @cache
    def data_fields(cls) -> Sequence[Any]:
        """Return the dataclass fields of what is written into the request's data."""
        return [it for it in fields(cls) if it.name not in ENVELOPE]

    @abstractmethod
    def objection(self) -> str | None:
        """Return what is wrong with the fields together."""

    def body(self, client: str) -> bytes:
        """Return the request as it is signed and sent; what was not given is not there."""
        given = {it.name: getattr(self, it.name) for it in self.data_fields()}
        document = {
            "specversion": "1.0",
            "id": self.id,
            "source": client,
            "type": self.type,
            "time": self.time,
            "data": {name: _as_json(it) for name, it in given.items() if it is not None},
        }
        return json.dumps(document, separators=(",", ":")).encode()


def _as_json(given: object) -> object:
    return {"kind": given.kind, "id": given.id} if isinstance(given, Item) else given
