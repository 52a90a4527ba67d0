"""Events as producers write them, named after their items: equal arguments, equal bytes."""

import json
from dataclasses import dataclass, replace
from typing import Any

from kmworker.domain.model import Item, Kind
from tests.kit.outside.wire import said

PROJECT = "p1"


@dataclass(frozen=True, slots=True)
class Sent:
    """A message on its way to the events exchange, and the item that it is about."""

    item: Item
    body: bytes
    routing_key: str
    derived_from: Item | None = None
    is_event: bool = True
    """Whether this program can read it."""
    user: str | None = None
    """Who publishes it, if the broker is to vouch for that."""
    is_release: bool = False
    """Whether it says that a life of the item's name, or an attachment, is over."""
    generation: int = 0
    """Which life of the item's name it is about."""
    source_generation: int = 0
    """Which life of the source's name it means."""
    attachment: str | None = None
    """Of what is attached, or is so no more: then it is no event of the item's life."""
    is_beyond_user: bool = False
    """Whether this user may not say it, where the policy lists producers."""

    def by(self, user: str, *, is_beyond: bool = False) -> "Sent":
        """Return it as it is when this user publishes it."""
        return replace(self, user=user, is_beyond_user=is_beyond)

    @property
    def event_id(self) -> str:
        """The CloudEvents id."""
        return str(json.loads(self.body)["id"])

    @property
    def name(self) -> str:
        """What to call it where something is wrong with it."""
        return self.event_id if self.is_event else repr(self.body)


def volume(
    name: str,
    source: Item | None = None,
    *,
    project: str = PROJECT,
    event_id: str = "",
    **data: Any,
) -> Sent:
    """A volume was created, blank or from its source."""
    item = Item(project, Kind.VOLUME, name)
    named = {} if source is None else {"source": _source(source, project)}
    return _sent(item, "volume-created", event_id, {"volume_id": name, **named, **data}, source)


def snapshot(
    name: str, of: str, *, project: str = PROJECT, event_id: str = "", **data: Any
) -> Sent:
    """A snapshot of a volume was taken."""
    item = Item(project, Kind.SNAPSHOT, name)
    fields = {"snapshot_id": name, "volume_id": of, **data}
    return _sent(item, "snapshot-taken", event_id, fields, Item(project, Kind.VOLUME, of))


def replica(
    name: str, source: Item, *, project: str = PROJECT, event_id: str = "", **data: Any
) -> Sent:
    """A replica was added."""
    item = Item(project, Kind.REPLICA, name)
    fields = {"replica_id": name, "source": _source(source, project), "node": "obj-07", **data}
    return _sent(item, "replica-added", event_id, fields, source)


def partition_replica(
    name: str, partition: str, *, project: str = PROJECT, event_id: str = "", **data: Any
) -> Sent:
    """A replica of a Swift partition was added; the first one founds the partition."""
    source = Item(project, Kind.PARTITION, partition)
    return replica(name, source, project=project, event_id=event_id, **data)


def release(item: Item, generation: int = 0, *, event_id: str = "") -> Sent:
    """An item is gone."""
    kind = item.kind.value
    event_type = {"replica": "replica-removed"}.get(kind, f"{kind}-deleted")
    fields: dict[str, Any] = {f"{kind}_id": item.id}
    if generation:
        fields["generation"] = generation
    name = event_id or f"end-{kind}-{item.id}-{generation}"
    message = said(event_type, name, item.project, **fields)
    return Sent(item, message.body, message.routing_key, is_release=True, generation=generation)


def attached(item: Item, attachment: str, node: str, *, event_id: str = "", **data: Any) -> Sent:
    """A volume is attached to a node."""
    return _granting("volume-attached", item, attachment, event_id, node=node, **data)


def detached(item: Item, attachment: str, *, event_id: str = "") -> Sent:
    """It is attached there no more."""
    return replace(_granting("volume-detached", item, attachment, event_id), is_release=True)


def _granting(event_type: str, item: Item, attachment: str, event_id: str, **data: Any) -> Sent:
    name = event_id or f"{event_type} {item.id} {attachment}"
    fields = {"volume_id": item.id, "attachment_id": attachment, **data}
    message = said(event_type, name, item.project, **fields)
    return Sent(
        item, message.body, message.routing_key,
        attachment=attachment, generation=data.get("generation", 0),
    )  # fmt: skip


def garbage(text: str = "no event at all") -> Sent:
    """What no version of this program can read."""
    nothing = Item(PROJECT, Kind.VOLUME, "none")
    return Sent(nothing, text.encode(), "volume-created", is_event=False)


def _source(source: Item, project: str) -> dict[str, str]:
    elsewhere = {} if source.project == project else {"project_id": source.project}
    return {"kind": source.kind.value, "id": source.id, **elsewhere}


def _sent(
    item: Item, event_type: str, event_id: str, data: dict[str, Any], source: Item | None
) -> Sent:
    event_id = event_id or f"event-{item.kind.value}-{item.id}"
    message = said(event_type, event_id, item.project, **data)
    return Sent(
        item,
        message.body,
        message.routing_key,
        source,
        generation=data.get("generation", 0),
        source_generation=data.get("source_generation", 0),
    )
