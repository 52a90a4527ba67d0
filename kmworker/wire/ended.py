"""What key servers learn of what has ended, so that they can tell who may hold a copy of a key.

Of releases and of key-ids they hear as every subscriber does. That an attachment is over
(``grant-ended``) is said to them alone.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Final, Literal

from pydantic import TypeAdapter
from pydantic_core import to_json
from typing_extensions import TypedDict

from kmworker.domain.event import Detach
from kmworker.domain.ids import named_id
from kmworker.domain.keys import KeyEvent
from kmworker.domain.message import Original, Outgoing
from kmworker.domain.model import Item
from kmworker.domain.values import value
from kmworker.wire.answers.messages import Revoking
from kmworker.wire.envelope import KINDS, AnnouncedItem, enveloped, read_as, read_so
from kmworker.wire.fields import ProjectId, ShortText, Uuid
from kmworker.wire.key_changes import read_key_change
from kmworker.wire.releases import RELEASED_TYPE, read_release

__all__ = ["GRANT_ENDED", "RightEnded", "announce_end", "read_ended"]

GRANT_ENDED: Final = "grant-ended"
CAUSES: Final = {
    KeyEvent.SUSPENDED: Revoking.SUSPENDED,
    KeyEvent.COMPROMISED: Revoking.COMPROMISED,
    KeyEvent.DESTROYED: Revoking.DESTROYED,
}


@value
class RightEnded:
    """That somebody may have lost the right to a key."""

    id: str
    """The message's: repeats have the same one."""
    project: str
    cause: Revoking
    key_id: str | None
    """None: the key-id that the item has."""
    item: Item | None
    """None: all items that have the key-id."""
    attachment: str | None = None


@read_so
class _GrantEndedData(TypedDict):
    item: AnnouncedItem
    project_id: ProjectId
    attachment_id: ShortText


@read_so
class _GrantEndedMessage(TypedDict):
    specversion: Literal["1.0"]
    id: Uuid
    type: Literal["grant-ended"]
    data: _GrantEndedData


def announce_end(event: Detach, source: str, exchange: str, at: str) -> Outgoing:
    """Build the message that tells key servers that an attachment is over.

    Args:
        event: that has ended it, or says once more that it has ended.
        source: the CloudEvents source that the store's announcements carry.
        exchange: the key servers'.
        at: RFC 3339, UTC.
    """
    item = event.item
    # An attachment ends once: whoever says so again says the same.
    named = [GRANT_ENDED, source, item.project, item.ref, event.attachment]
    data = {
        "item": {"kind": item.kind.value, "id": item.id},
        "project_id": item.project,
        "attachment_id": event.attachment,
    }
    return enveloped(
        GRANT_ENDED,
        named_id("\0".join(named)),
        source,
        subject=f"{item.project}/{item.ref}",
        at=at,
        data=to_json(data),
        exchange=exchange,
        routing_key=f"{GRANT_ENDED}.{item.project}",
    )


def read_ended(original: Original) -> RightEnded:
    """Read what a key server is told.

    Raises:
        ValueError: it is none of these messages, or says something that this version does not know.
    """
    kind = original.routing_key.partition(".")[0]
    return READERS.get(kind, _key_ended)(original.body)


def _grant_ended(body: bytes) -> RightEnded:
    said = read_as(_grant_endings(), body)
    data = said["data"]
    item = Item(data["project_id"], KINDS[data["item"]["kind"]], data["item"]["id"])
    return RightEnded(
        said["id"], item.project, Revoking.DETACHED, None, item, data["attachment_id"]
    )


def _released(body: bytes) -> RightEnded:
    message_id, released = read_release(body)
    item = released.item
    return RightEnded(message_id, item.project, Revoking.RELEASED, released.key_id, item)


def _key_ended(body: bytes) -> RightEnded:
    message_id, changed = read_key_change(body)
    cause = CAUSES.get(changed.change.event)
    if cause is None:
        raise ValueError(f"{changed.change.event.value} ends nobody's right")
    return RightEnded(message_id, changed.project, cause, changed.key.key_id, None)


READERS: Final[Mapping[str, Callable[[bytes], RightEnded]]] = {
    GRANT_ENDED: _grant_ended,
    RELEASED_TYPE: _released,
}


@cache
def _grant_endings() -> TypeAdapter[_GrantEndedMessage]:
    return TypeAdapter(_GrantEndedMessage)
