"""Events to load a worker with: collections of a volume, its snapshots and their volumes."""

import json
import uuid
from collections.abc import Iterator

from kmworker.bus.topology import Topology
from kmworker.message import Outgoing

__all__ = ["PERSISTENT", "collections", "outgoing"]

PERSISTENT = {"content_type": "application/cloudevents+json", "delivery_mode": 2}


def collections(number: int, projects: int, run: str) -> Iterator[tuple[str, bytes]]:
    """Give events by type and body, a third each of which create, reuse and clone a key.

    Args:
        number: of events.
        projects: over how many tenants they are spread.
        run: part of every id, so that no two runs have an item in common.
    """
    for index in range(number):
        of, step = divmod(index, 3)
        project = f"project-{of % projects}"
        volume = f"{run}-{of}"
        if step == 0:
            yield _event("volume-created", project, volume_id=volume)
        elif step == 1:
            yield _event("snapshot-taken", project, snapshot_id=f"{volume}-s", volume_id=volume)
        else:
            source = {"kind": "snapshot", "id": f"{volume}-s"}
            yield _event("volume-created", project, volume_id=f"{volume}-c", source=source)


def outgoing(topology: Topology, event_type: str, body: bytes) -> Outgoing:
    """Return the message that a producer would publish."""
    return Outgoing(topology.events, event_type, body, PERSISTENT)


def _event(event_type: str, project: str, **data: object) -> tuple[str, bytes]:
    event = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/cinder/blk01",
        "type": event_type,
        "time": "2026-11-23T16:00:00Z",
        "data": {"project_id": project, "size_bytes": 10737418240, **data},
    }
    return event_type, json.dumps(event).encode()
