import json
from typing import Any

import pytest

from kmworker.client import (
    UNENCRYPTED,
    Disposition,
    Encryption,
    Item,
    Kind,
    ReplicaAdded,
    RequestedEncryption,
    SnapshotTaken,
    Transport,
    VolumeCreated,
)
from kmworker.domain.event import Event
from kmworker.domain.model import Cause
from kmworker.wire.events.lifecycle import LifecycleEvent
from kmworker.wire.events.parts import Encrypted
from kmworker.wire.events.reading import parse

CONTENT_TYPE = "application/cloudevents+json"


def read(event: LifecycleEvent) -> Event:
    """Read an event as a worker does."""
    parsed = parse(event.body("/cinder/blk01"), CONTENT_TYPE, event.type)
    assert isinstance(parsed, Event), parsed
    return parsed


def data_of(event: LifecycleEvent) -> Any:
    return json.loads(event.body("/cinder/blk01"))["data"]


def test_a_worker_reads_everything_that_a_volume_can_say() -> None:
    event = VolumeCreated(
        project_id="p1",
        volume_id="v1",
        source=Item("p2", Kind.SNAPSHOT, "s1"),
        size_bytes=2**30,
        volume_type="luks-gold",
        encryption=Encryption("aes-xts-plain64", 512),
        disposition=Disposition.CLONE,
    )
    assert read(event) == Event(
        cause=Cause(event.id, "/cinder/blk01", "volume-created"),
        item=Item("p1", Kind.VOLUME, "v1"),
        derived_from=Item("p2", Kind.SNAPSHOT, "s1"),
        encryption=RequestedEncryption("aes-xts-plain64", 512),
        requested=Disposition.CLONE,
        volume_type="luks-gold",
        size_bytes=2**30,
    )


def test_a_worker_reads_everything_that_a_snapshot_can_say() -> None:
    event = SnapshotTaken(
        project_id="p1",
        snapshot_id="s1",
        volume_id="v1",
        size_bytes=2**30,
        disposition=Disposition.REUSE,
    )
    assert read(event) == Event(
        cause=Cause(event.id, "/cinder/blk01", "snapshot-taken"),
        item=Item("p1", Kind.SNAPSHOT, "s1"),
        derived_from=Item("p1", Kind.VOLUME, "v1"),
        encryption=None,
        requested=Disposition.REUSE,
        size_bytes=2**30,
    )


def test_a_worker_reads_everything_that_a_replica_can_say() -> None:
    event = ReplicaAdded(
        project_id="swift-eu1",
        replica_id="policy-0/18/4711@obj-07",
        source=Item("swift-eu1", Kind.PARTITION, "policy-0/18/4711"),
        node="obj-07",
        transport=Transport.FILE,
        size_bytes=2**30,
        encryption=UNENCRYPTED,
        disposition=Disposition.CREATE,
    )
    assert read(event) == Event(
        cause=Cause(event.id, "/cinder/blk01", "replica-added"),
        item=Item("swift-eu1", Kind.REPLICA, "policy-0/18/4711@obj-07"),
        derived_from=Item("swift-eu1", Kind.PARTITION, "policy-0/18/4711"),
        encryption=UNENCRYPTED,
        requested=Disposition.CREATE,
        node="obj-07",
        transport=Transport.FILE,
        size_bytes=2**30,
    )


def test_a_worker_reads_what_a_snapshot_of_a_replica_can_say() -> None:
    replica = Item("p1", Kind.REPLICA, "v1@oslo")
    event = SnapshotTaken(project_id="p1", snapshot_id="s1", source=replica)
    assert read(event).derived_from == replica
    assert data_of(event)["source"] == {"kind": "replica", "id": "v1@oslo"}


def test_notes_go_along_with_an_event() -> None:
    event = VolumeCreated(project_id="p1", volume_id="v1", extra={"ticket": 4711})
    assert data_of(event)["extra"] == {"ticket": 4711}
    assert read(event).item == Item("p1", Kind.VOLUME, "v1")


@pytest.mark.parametrize(
    "event",
    [
        VolumeCreated(project_id="p1", volume_id="v1"),
        SnapshotTaken(project_id="p1", snapshot_id="s1", volume_id="v1"),
        ReplicaAdded(
            project_id="p1", replica_id="r1", source=Item("p1", Kind.VOLUME, "v1"), node="n"
        ),
    ],
    ids=lambda event: event.type,
)
def test_what_an_event_does_not_say_is_not_there(event: LifecycleEvent) -> None:
    assert None not in data_of(event).values()
    assert read(event).requested is None


@pytest.mark.parametrize(
    ("encryption", "said"),
    [
        (None, {}),
        (UNENCRYPTED, {"encryption": None}),
        (
            RequestedEncryption("aes-xts-plain64", None),
            {"encryption": {"cipher": "aes-xts-plain64"}},
        ),
    ],
    ids=["left-open", "unencrypted", "without-a-size"],
)
def test_only_a_word_of_its_own_means_not_encrypted(
    encryption: Encrypted, said: dict[str, object]
) -> None:
    event = VolumeCreated(project_id="p1", volume_id="v1", encryption=encryption)
    assert data_of(event) == {"project_id": "p1", "volume_id": "v1", **said}


def test_a_source_names_its_project_only_where_it_differs() -> None:
    event = VolumeCreated(project_id="p1", volume_id="v2", source=Item("p1", Kind.VOLUME, "v1"))
    assert data_of(event)["source"] == {"kind": "volume", "id": "v1"}


def test_an_event_is_the_same_each_time_it_is_published() -> None:
    event = VolumeCreated(project_id="p1", volume_id="v1")
    assert event.body("/a") == event.body("/a")


def test_two_events_have_different_ids() -> None:
    one, other = (VolumeCreated(project_id="p1", volume_id="v1") for _ in range(2))
    assert one.id != other.id


def test_a_producer_may_give_an_event_its_own_id_and_time() -> None:
    event = VolumeCreated(
        project_id="p1", volume_id="v1", id="mine", time="2026-11-23T16:00:00+01:00"
    )
    document = json.loads(event.body("/a"))
    assert (document["id"], document["time"]) == ("mine", "2026-11-23T16:00:00+01:00")
    assert read(event).cause.id == "mine"
