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


@pytest.mark.parametrize(
    "event",
    [
        VolumeCreated(
            project_id="p1",
            volume_id="v1",
            source=Item("p2", Kind.SNAPSHOT, "s1"),
            size_bytes=2**30,
            volume_type="luks-gold",
            encryption=Encryption("aes-xts-plain64", 512),
            disposition=Disposition.CLONE,
        ),
        SnapshotTaken(
            project_id="p1",
            snapshot_id="s1",
            volume_id="v1",
            size_bytes=2**30,
            disposition=Disposition.REUSE,
        ),
        SnapshotTaken(
            project_id="p1", snapshot_id="s1", source=Item("p1", Kind.REPLICA, "v1@oslo")
        ),
        ReplicaAdded(
            project_id="swift-eu1",
            replica_id="policy-0/18/4711@obj-07",
            source=Item("swift-eu1", Kind.PARTITION, "policy-0/18/4711"),
            node="obj-07",
            transport=Transport.FILE,
            size_bytes=2**30,
            encryption=UNENCRYPTED,
            disposition=Disposition.CREATE,
        ),
    ],
    ids=lambda event: event.type,
)
def test_a_worker_reads_everything_that_an_event_can_say(event: LifecycleEvent) -> None:
    assert read(event) == event.to_event(Cause(event.id, "/cinder/blk01", event.type))


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
