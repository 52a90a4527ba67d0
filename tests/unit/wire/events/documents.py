"""One event of each type with every optional field filled in, and what is read of it."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from kmworker.domain.event import (
    Attach,
    Detach,
    Event,
    Happening,
    Release,
    RequestedEncryption,
    Unreadable,
)
from kmworker.domain.model import Cause, Disposition, Item, Kind, Transport
from kmworker.errors import Reason
from kmworker.wire.events.reading import parse

CONTENT_TYPE = "application/cloudevents+json"


def _event(event_type: str, event_id: str, producer: str, /, **data: object) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": producer,
        "type": event_type,
        "time": "2026-11-23T16:00:00Z",
        "data": data,
    }


DOCUMENTS: dict[str, dict[str, Any]] = {
    "volume-created": _event(
        "volume-created", "6d1c", "/cinder/blk01",
        project_id="2f1d",
        volume_id="1111",
        source={"kind": "snapshot", "id": "54af", "project_id": "2f1e"},
        size_bytes=10737418240,
        volume_type="luks-gold",
        encryption={"cipher": "aes-xts-plain64", "key_bits": 512},
        disposition="clone",
        generation=2**53,
    ),
    "snapshot-taken": _event(
        "snapshot-taken", "77aa", "/cinder/blk01",
        project_id="2f1d", snapshot_id="54af", volume_id="1111", size_bytes=0, disposition="reuse",
        source_generation=3,
    ),
    "replica-added": _event(
        "replica-added", "9c0e", "/swift/ring-builder",
        project_id="swift-eu1",
        replica_id="policy-0/18/4711@obj-07",
        source={"kind": "partition", "id": "policy-0/18/4711", "project_id": "swift-eu1"},
        node="obj-07",
        transport="file",
        size_bytes=2**63 - 1,
        encryption={"cipher": "aes-xts-plain64", "key_bits": 256},
        disposition="create",
    ),
    "volume-deleted": _event(
        "volume-deleted", "0b7d", "/cinder/blk01",
        project_id="2f1d", volume_id="1111", generation=7,
    ),
    "snapshot-deleted": _event(
        "snapshot-deleted", "e52f", "/cinder/blk01", project_id="2f1d", snapshot_id="54af",
    ),
    "replica-removed": _event(
        "replica-removed", "3a91", "/swift/ring-builder",
        project_id="swift-eu1", replica_id="policy-0/18/4711@obj-07", generation=0,
    ),
    "volume-attached": _event(
        "volume-attached", "c1d5", "/nova/cell1",
        project_id="2f1d", volume_id="1111", attachment_id="6c1f", node="compute-17", mode="rw",
        expires_at="2026-12-01T00:00:00+01:00", generation=7,
    ),
    "volume-detached": _event(
        "volume-detached", "e8b4", "/nova/cell1",
        project_id="2f1d", volume_id="1111", attachment_id="6c1f", node="compute-17", mode="ro",
        expires_at="2026-12-01T00:00:00Z", generation=7,
    ),
}  # fmt: skip
EVENTS: dict[str, Happening] = {
    "volume-created": Event(
        cause=Cause("6d1c", "/cinder/blk01", "volume-created"),
        item=Item("2f1d", Kind.VOLUME, "1111"),
        derived_from=Item("2f1e", Kind.SNAPSHOT, "54af"),
        encryption=RequestedEncryption("aes-xts-plain64", 512),
        requested=Disposition.CLONE,
        volume_type="luks-gold",
        size_bytes=10737418240,
        generation=2**53,
    ),
    "snapshot-taken": Event(
        cause=Cause("77aa", "/cinder/blk01", "snapshot-taken"),
        item=Item("2f1d", Kind.SNAPSHOT, "54af"),
        derived_from=Item("2f1d", Kind.VOLUME, "1111"),
        encryption=None,
        requested=Disposition.REUSE,
        size_bytes=0,
        source_generation=3,
    ),
    "replica-added": Event(
        cause=Cause("9c0e", "/swift/ring-builder", "replica-added"),
        item=Item("swift-eu1", Kind.REPLICA, "policy-0/18/4711@obj-07"),
        derived_from=Item("swift-eu1", Kind.PARTITION, "policy-0/18/4711"),
        encryption=RequestedEncryption("aes-xts-plain64", 256),
        requested=Disposition.CREATE,
        node="obj-07",
        transport=Transport.FILE,
        size_bytes=2**63 - 1,
    ),
    "volume-deleted": Release(
        Cause("0b7d", "/cinder/blk01", "volume-deleted"), Item("2f1d", Kind.VOLUME, "1111"), 7
    ),
    "snapshot-deleted": Release(
        Cause("e52f", "/cinder/blk01", "snapshot-deleted"), Item("2f1d", Kind.SNAPSHOT, "54af")
    ),
    "replica-removed": Release(
        Cause("3a91", "/swift/ring-builder", "replica-removed"),
        Item("swift-eu1", Kind.REPLICA, "policy-0/18/4711@obj-07"),
    ),
    "volume-attached": Attach(
        Cause("c1d5", "/nova/cell1", "volume-attached"),
        Item("2f1d", Kind.VOLUME, "1111"),
        "6c1f",
        "compute-17",
        "rw",
        "2026-12-01T00:00:00+01:00",
        7,
    ),
    "volume-detached": Detach(
        Cause("e8b4", "/nova/cell1", "volume-detached"),
        Item("2f1d", Kind.VOLUME, "1111"),
        "6c1f",
        7,
    ),
}
EACH_TYPE = pytest.mark.parametrize("event_type", DOCUMENTS)
GOOD_BODY = json.dumps(DOCUMENTS["volume-created"]).encode()


def paths_of(value: object, path: str = "") -> Iterator[str]:
    """The dotted path of every field of a document."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{path}{name}"
            yield from paths_of(inner, f"{path}{name}.")


EVERY_FIELD = [
    (event_type, path) for event_type in DOCUMENTS for path in paths_of(DOCUMENTS[event_type])
]


def document(event_type: str = "volume-created") -> dict[str, Any]:
    return copy.deepcopy(DOCUMENTS[event_type])


def changed(event_type: str, path: str, value: object) -> dict[str, Any]:
    """A document with another value at a dotted path."""
    whole = document(event_type)
    place, _, name = path.rpartition(".")
    _within(whole, place)[name] = value
    return whole


def without(event_type: str, path: str) -> dict[str, Any]:
    whole = document(event_type)
    place, _, name = path.rpartition(".")
    del _within(whole, place)[name]
    return whole


def _within(whole: dict[str, Any], place: str) -> dict[str, Any]:
    for name in filter(None, place.split(".")):
        whole = whole[name]
    return whole


def parsed(body: bytes, routing_key: str = "volume-created") -> Happening | Unreadable:
    return parse(body, CONTENT_TYPE, routing_key)


def read(whole: dict[str, Any], routing_key: str | None = None) -> Happening | Unreadable:
    key = routing_key if routing_key is not None else str(whole.get("type"))
    return parsed(json.dumps(whole).encode(), key)


def taken(whole: dict[str, Any]) -> Event:
    event = read(whole)
    assert isinstance(event, Event), event
    return event


def refused(
    event: Happening | Unreadable, reason: Reason = Reason.MALFORMED, value: object = None
) -> str:
    """The detail of a refusal; ``value`` is named if there is none."""
    assert isinstance(event, Unreadable), ascii(value or event)
    assert event.reason is reason
    return event.detail
