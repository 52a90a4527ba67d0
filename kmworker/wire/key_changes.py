"""What is said of key-ids as such: deactivated, restored, suspended, …, destroyed. All of it once.

As with assignments, the same change always gives the same bytes: all that is in it stands in the
key-id's record. Each has a version, so that a subscriber can tell the newer of two.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import Field, TypeAdapter
from pydantic_core import to_json
from typing_extensions import TypedDict

from kmworker.domain.ids import named_id
from kmworker.domain.keys import (
    JANITOR,
    By,
    Cause,
    Janitor,
    KeyChanged,
    KeyEvent,
    KeyRecord,
    KeyState,
    LastChange,
    Operator,
)
from kmworker.domain.lifecycle import NAMED_AT_MOST
from kmworker.domain.message import Outgoing
from kmworker.wire.envelope import enveloped, read_as, read_so
from kmworker.wire.fields import OneOf, ProjectId, ShortText, UtcTime, Uuid

__all__ = [
    "EVENTS", "KEY_EVENT_TYPES", "SAID", "STATES", "KeyChangedMessage", "announce_key",
    "by_fields", "by_in", "key_change_id", "read_key_change",
]  # fmt: skip

KEY_EVENT_TYPES: Final = tuple(event.value for event in KeyEvent)
STATES: Final = {it.value: it for it in KeyState}
EVENTS: Final = {it.value: it for it in KeyEvent}


@read_so
class ChangedBy(TypedDict):
    """An event, a person, or the janitor, because time has passed."""

    kind: Annotated[str, OneOf(("event", "operator", "janitor"))]
    """Which of them."""
    id: NotRequired[ShortText]
    """An event's `id`: the release of the last item that held it, or of one that joins it."""
    source: NotRequired[ShortText]
    """An event's `source`."""
    type: NotRequired[ShortText]
    """An event's `type`."""
    name: NotRequired[ShortText]
    """Which person."""
    reason: NotRequired[ShortText]
    """Why, in that person's words."""


@read_so
class KeyChangedData(TypedDict):
    """The change; the same data, byte for byte, whenever it is announced."""

    key_id: Uuid
    """Whose change it is."""
    scope_id: Uuid
    """The key scope: all items whose data is encrypted under the same DEK."""
    project_id: ProjectId
    """The key-id's project."""
    state: Annotated[str, OneOf(KeyState)]
    """The key-id's state since then: the worse of its own and its scope's."""
    version: Annotated[int, Field(ge=2)]
    """Grows with each change of the key-id: ignore lower ones than you have seen."""
    at: UtcTime
    """When it was recorded, in RFC 3339, UTC."""
    by: ChangedBy
    destroy_at: NotRequired[ShortText]
    """Of what nobody holds, when it is to be destroyed, in RFC 3339, UTC; or `manual`."""
    dek_destroyed: NotRequired[bool]
    """Of `key-destroyed`: whether the DEK is gone with it. Other key-ids may still name it."""
    dek_named_by: NotRequired[Annotated[list[Uuid], Field(max_length=NAMED_AT_MOST)]]
    """Of `key-destroyed`, where the DEK is not: key-ids that name it, the first of them."""


@read_so
class KeyChangedMessage(TypedDict):
    """Something has become of a key-id, and this is durably recorded.

    Sent at least once, always with the same id and bytes: drop repeats by `id`. They may arrive in
    any order: of two changes of a key-id, the one with the higher `version` is the later one.
    """

    specversion: Literal["1.0"]
    """The version of CloudEvents."""
    id: Uuid
    """The same for every announcement of a change; also the AMQP `message_id`."""
    source: ShortText
    """The setting `broker.source`."""
    type: Annotated[str, OneOf(KeyEvent)]
    """What happened; also the AMQP property `type`."""
    subject: Annotated[str, Field(min_length=1)]
    """The key-id's project, a slash, and the key-id."""
    time: UtcTime
    """The same as `data.at`."""
    data: KeyChangedData


SAID: Final[Mapping[str, str]] = {
    KeyEvent.DEACTIVATED: "Nobody holds a key-id any more, and its time is running.",
    KeyEvent.RESTORED: "A key-id is in use again: an item joined it, or a person restored it.",
    KeyEvent.SUSPENDED: "A person has suspended a key-id: it is to be given to nobody.",
    KeyEvent.RESUMED: "A key-id is suspended no more.",
    KeyEvent.COMPROMISED: "The DEK that a key-id names may be known to others.",
    KeyEvent.DESTROYED: "A key-id is gone for ever.",
}
"""What each type of message means."""


def by_fields(by: By) -> dict[str, str]:
    """Return who changed a key-id, as it is written."""
    match by:
        case Cause(event_id, source, event_type):
            return {"kind": "event", "id": event_id, "source": source, "type": event_type}
        case Operator(name, reason):
            return {"kind": "operator", "name": name, "reason": reason}
        case Janitor.JANITOR:
            return {"kind": "janitor"}


def by_in(fields: Any) -> By:  # noqa: ANN401  # parsed JSON
    """Return who changed a key-id, as it was written.

    Raises:
        KeyError: it does not say.
    """
    match fields["kind"]:
        case "event":
            return Cause(fields["id"], fields["source"], fields["type"])
        case "operator":
            return Operator(fields["name"], fields["reason"])
        case "janitor":
            return JANITOR
        case other:
            raise KeyError(other)


def key_change_id(source: str, changed: KeyChanged) -> str:
    """Return the CloudEvents id: the same for every announcement of a change."""
    key = changed.key
    return named_id("\0".join(["key", source, changed.project, key.key_id, str(key.version)]))


def announce_key(changed: KeyChanged, source: str, exchange: str) -> Outgoing:
    """Build the message that tells subscribers what has become of a key-id.

    Args:
        changed: as it is stored.
        source: the CloudEvents source that the store's announcements carry.
        exchange: the keys exchange.
    """
    key, change = changed.key, changed.change
    data: dict[str, Any] = {
        "key_id": key.key_id,
        "scope_id": key.scope_id,
        "project_id": changed.project,
        "state": change.state._value_,
        "version": key.version,
        "at": change.at,
        "by": by_fields(change.by),
    }
    if key.destroy_at is not None:
        data["destroy_at"] = key.destroy_at
    if change.dek_destroyed is not None:
        data["dek_destroyed"] = change.dek_destroyed
    if change.dek_named_by:
        data["dek_named_by"] = list(change.dek_named_by)
    return enveloped(
        change.event.value,
        key_change_id(source, changed),
        source,
        subject=f"{changed.project}/{key.key_id}",
        at=change.at,
        data=to_json(data),
        exchange=exchange,
        routing_key=f"{change.event.value}.{changed.project}",
    )


def read_key_change(body: bytes) -> tuple[str, KeyChanged]:
    """Read a change as a subscriber does: its id, and what it says of the key-id.

    Raises:
        ValueError: it is none, or says something that this version does not know.
    """
    said = read_as(_changes(), body)
    data = said["data"]
    try:
        by = by_in(data["by"])
    except KeyError as missing:
        raise ValueError(f"data.by: no {missing}") from None
    change = LastChange(
        event=EVENTS[said["type"]],
        at=data["at"],
        by=by,
        state=STATES[data["state"]],
        dek_destroyed=data.get("dek_destroyed"),
        dek_named_by=tuple(data.get("dek_named_by", ())),
    )
    key = KeyRecord(
        key_id=data["key_id"],
        scope_id=data["scope_id"],
        dek_id="",
        state=change.state,
        cloned_from=None,
        created_at="",
        version=data["version"],
        destroy_at=data.get("destroy_at"),
        changed=change,
    )
    return said["id"], KeyChanged(data["project_id"], key)


# Workers write only, and need none.
@cache
def _changes() -> TypeAdapter[KeyChangedMessage]:
    return TypeAdapter(KeyChangedMessage)
