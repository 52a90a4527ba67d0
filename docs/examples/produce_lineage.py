"""Announce a volume, a snapshot of it and what was made of that: python produce_lineage.py PROJECT.

All confirms are awaited together. The order does not matter: events wait for their sources.
"""

import os
import sys

from kmworker.client import (
    UNENCRYPTED,
    Item,
    Kind,
    Producer,
    ReplicaAdded,
    SnapshotTaken,
    Transport,
    VolumeCreated,
)

URL = os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
NAMESPACE = os.environ.get("NAMESPACE", "kmworker")

project = sys.argv[1]
monday = Item(project, Kind.SNAPSHOT, "monday")
events = [
    VolumeCreated(project_id=project, volume_id="db"),
    SnapshotTaken(project_id=project, snapshot_id="monday", volume_id="db"),
    VolumeCreated(project_id=project, volume_id="db-test", source=monday),
    ReplicaAdded(
        project_id=project,
        replica_id="monday@oslo",
        source=monday,
        node="blk-oslo",
        transport=Transport.BLOCK,
    ),
    VolumeCreated(project_id=project, volume_id="scratch", encryption=UNENCRYPTED),
]
with Producer(URL, event_source="/examples/lineage", namespace=NAMESPACE) as producer:
    producer.publish(*events)
