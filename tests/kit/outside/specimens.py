"""Events in which nothing is wrong, to be spoiled one field at a time."""

import copy
import json
from typing import Any, Final

from tests.kit.outside.words import CANARY, Message

VOLUME: Final = "volume-created"
SNAPSHOT: Final = "snapshot-taken"
REPLICA: Final = "replica-added"
PROJECT: Final = "specimens"


def specimen(type_: str, nonce: str) -> dict[str, Any]:
    """A faultless event; the `note` in it is the producer's own, which nobody may repeat."""
    return {
        "specversion": "1.0",
        "id": nonce,
        "source": "/cinder/blk01",
        "type": type_,
        "time": "2026-11-23T16:00:00Z",
        "data": {"project_id": PROJECT, "extra": {"note": CANARY}, **_DATA[type_](nonce)},
    }


def encoded(
    event: dict[str, Any],
    routing_key: str | None = None,
    content_type: str | None = "application/cloudevents+json",
) -> Message:
    key = event["type"] if routing_key is None else routing_key
    return Message(json.dumps(event).encode(), key, content_type)


def edited(event: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    changed = copy.deepcopy(event)
    _parent(changed, path)[path[-1]] = value
    return changed


def without(event: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    changed = copy.deepcopy(event)
    del _parent(changed, path)[path[-1]]
    return changed


def _parent(event: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    parent = event
    for name in path[:-1]:
        parent = parent.setdefault(name, {})
    return parent


def _volume(nonce: str) -> dict[str, Any]:
    return {"volume_id": f"v-{nonce}", "volume_type": "luks-gold", "size_bytes": 1024}


def _snapshot(nonce: str) -> dict[str, Any]:
    return {"snapshot_id": f"s-{nonce}", "volume_id": f"v-{nonce}", "size_bytes": 1024}


def _replica(nonce: str) -> dict[str, Any]:
    return {
        "replica_id": f"r-{nonce}",
        "source": {"kind": "partition", "id": f"p-{nonce}"},
        "node": "obj-07",
        "transport": "file",
    }


_DATA: Final = {VOLUME: _volume, SNAPSHOT: _snapshot, REPLICA: _replica}
