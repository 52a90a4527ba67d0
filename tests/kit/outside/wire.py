"""From an event to the bytes and properties a producer might send.

`plain` is the shape of the contract's examples. `dressed` draws any other legal
shape: the worker may depend on neither key order, white space nor content type.
"""

import json
from random import Random
from typing import Any, Final

from tests.kit.outside.words import CANARY, Ask, Event, Item, Message, Release

ITEM_ID_FIELDS: Final = {
    "volume": "volume_id",
    "snapshot": "snapshot_id",
    "replica": "replica_id",
}
CONTENT_TYPES: Final = (
    "application/cloudevents+json",
    "application/cloudevents+json; charset=utf-8",
    "application/json",
    "application/json;charset=UTF-8",
    None,
)
TIMES: Final = (
    "2026-11-23T16:00:00Z",
    "2026-11-23T17:00:00.123456+01:00",
    "2026-11-23T16:00:00.5Z",
)


def payload(event: Event | Release) -> dict[str, Any]:
    told = data(event) if isinstance(event, Event) else _named(event.item)
    return {
        "specversion": "1.0",
        "id": event.event_id,
        "source": event.producer,
        "type": event.type,
        "data": told,
    }


def data(event: Event) -> dict[str, Any]:
    optional = {
        "node": event.node,
        "transport": event.transport,
        "size_bytes": event.size_bytes,
        "volume_type": event.volume_type,
        "copy": event.copy,
        "disposition": event.requested,
    }
    if event.source is not None and event.source.generation:
        optional["source_generation"] = event.source.generation
    return {
        **_named(event.item),
        **_source(event),
        **_encryption(event),
        **{name: value for name, value in optional.items() if value is not None},
    }


def _named(item: Item) -> dict[str, Any]:
    named = {"project_id": item.project, ITEM_ID_FIELDS[item.kind]: item.id}
    return {**named, "generation": item.generation} if item.generation else named


def said(event_type: str, event_id: str, project: str, **data: Any) -> Message:
    """What a test says in its own words, field by field."""
    event = {
        "specversion": "1.0", "id": event_id, "source": "/test", "type": event_type,
        "data": {"project_id": project, **data},
    }  # fmt: skip
    return Message(json.dumps(event).encode(), event_type)


def plain(event: Event | Release) -> Message:
    return Message(json.dumps(payload(event)).encode(), event.type)


def dressed(event: Event | Release, rng: Random) -> Message:
    return Message(
        _bytes(_decorated(payload(event), rng), rng),
        event.type,
        content_type=rng.choice(CONTENT_TYPES),
        correlation_id=rng.choice([None, "request-" + event.item.id[:40]]),
        app_id=rng.choice([None, "cinder"]),
        timestamp=rng.choice([None, 1_795_449_600]),
        message_id=rng.choice([None, "producers-own-id"]),
        headers=rng.choice([(), (("x-producer", "blk01"),)]),
    )


def _source(event: Event) -> dict[str, Any]:
    source = event.source
    if source is None:
        return {}
    if event.item.kind == "snapshot" and source.kind == "volume":
        return {"volume_id": source.id}
    return {"source": _origin(source, event)}


def _origin(source: Item, event: Event) -> dict[str, str]:
    origin = {"kind": source.kind, "id": source.id}
    if event.names_project or source.project != event.item.project:
        origin["project_id"] = source.project
    return origin


def _encryption(event: Event) -> dict[str, Any]:
    asked = event.encryption
    if asked is None:
        return {"encryption": None}
    if not isinstance(asked, Ask):
        return {}
    if asked.key_bits is None:
        return {"encryption": {"cipher": asked.cipher}}
    return {"encryption": {"cipher": asked.cipher, "key_bits": asked.key_bits}}


def _decorated(envelope: dict[str, Any], rng: Random) -> dict[str, Any]:
    """Add what the worker must ignore, and shuffle what has no order."""
    extra_data = {"extra": {"note": f"{CANARY} {rng.random()}"}} if rng.random() < 0.5 else {}
    extra: dict[str, Any] = {"traceparent": f"{CANARY}-01"} if rng.random() < 0.3 else {}
    if rng.random() < 0.6:
        extra["time"] = rng.choice([*TIMES, None])
    changed = {**envelope, **extra, "data": _shuffled({**envelope["data"], **extra_data}, rng)}
    return _shuffled(changed, rng)


def _shuffled(fields: dict[str, Any], rng: Random) -> dict[str, Any]:
    names = list(fields)
    rng.shuffle(names)
    return {name: fields[name] for name in names}


def _bytes(envelope: dict[str, Any], rng: Random) -> bytes:
    text = json.dumps(envelope, indent=rng.choice([None, None, 2]), ensure_ascii=rng.random() < 0.5)
    return (rng.choice(["", "", "\n", "  "]) + text + rng.choice(["", "\n"])).encode()
