"""``key-released``: what says that an item is gone and uses its key-id no more. All of it once.

As with assignments, the same release always gives the same bytes: all that is in it stands in the
item's tombstone, or in the record of the life that ended the one before.
"""

from functools import cache
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter
from pydantic_core import to_json
from typing_extensions import TypedDict

from kmworker.domain.ids import named_id
from kmworker.domain.message import Outgoing
from kmworker.domain.model import Cause, Item, KeyReleased
from kmworker.wire.envelope import (
    KINDS,
    AnnouncedCause,
    AnnouncedItem,
    message,
    read_as,
    read_so,
)
from kmworker.wire.fields import ProjectId, ShortText, UtcTime, Uuid

__all__ = ["RELEASED_TYPE", "KeyReleasedMessage", "announce_release", "read_release", "release_id"]

RELEASED_TYPE: Final = "key-released"


@read_so
class ReleasedData(TypedDict):
    """The release; the same data, byte for byte, whenever it is announced."""

    item: AnnouncedItem
    project_id: ProjectId
    """The item's project."""
    key_id: Uuid | None
    """The key-id that the item held; null: it was not encrypted, or never announced here."""
    cause: AnnouncedCause
    at: UtcTime
    """When it was recorded, in RFC 3339, UTC."""


@read_so
class KeyReleasedMessage(TypedDict):
    """An item is gone and uses its key-id no more, and this is durably recorded.

    Sent at least once, always with the same id and bytes: drop repeats by `id`. Others may use the
    key-id, and its key, as before. A release may arrive before its item's assignment.
    """

    specversion: Literal["1.0"]
    """The version of CloudEvents."""
    id: Uuid
    """The same for every announcement of a release; also the AMQP `message_id`."""
    source: ShortText
    """The setting `broker.source`."""
    type: Literal["key-released"]
    """What happened; also the AMQP property `type`."""
    subject: Annotated[str, Field(min_length=1)]
    """The item's project, a slash, and its item ref (`kind:id`)."""
    time: UtcTime
    """The same as `data.at`."""
    data: ReleasedData


def release_id(source: str, released: KeyReleased) -> str:
    """Return the CloudEvents id: the same for every announcement of a release."""
    item = released.item
    parts = ["released", source, item.project, item.ref, str(released.key_id)]
    return named_id("\0".join([*parts, str(released.generation)]))


def announce_release(released: KeyReleased, source: str, exchange: str) -> Outgoing:
    """Build the message that tells subscribers that an item is gone.

    Args:
        released: as it is stored.
        source: the CloudEvents source that the store's announcements carry.
        exchange: the assignments exchange.
    """
    item, cause = released.item, released.cause
    data: ReleasedData = {
        "item": {"kind": item.kind._value_, "id": item.id},
        "project_id": item.project,
        "key_id": released.key_id,
        "cause": {"id": cause.id, "source": cause.source, "type": cause.type},
        "at": released.at,
    }
    message_id = release_id(source, released)
    return message(
        RELEASED_TYPE, item, message_id, source, exchange, at=released.at, data=to_json(data)
    )


def read_release(body: bytes) -> tuple[str, KeyReleased]:
    """Read a release as a subscriber does: its id, and what is gone.

    Raises:
        ValueError: it is none, or says something that this version does not know.
    """
    said = read_as(_releases(), body)
    data = said["data"]
    item = Item(data["project_id"], KINDS[data["item"]["kind"]], data["item"]["id"])
    released = KeyReleased(item, data["key_id"], 0, Cause(**data["cause"]), data["at"])
    return said["id"], released


@cache
def _releases() -> TypeAdapter[KeyReleasedMessage]:
    return TypeAdapter(KeyReleasedMessage)
