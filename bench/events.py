"""Events to load a contestant with: a third each of them create, reuse and clone a key."""

import json
import random
import uuid
from collections.abc import Callable, Iterator
from itertools import count, islice
from zlib import crc32

from kmworker.domain.message import Outgoing
from kmworker.wire.topology import Topology

# Sources come this far ahead of what is derived from them: farther than anyone prefetches, so
# that nobody meets an event whose source is still being handled.
BLOCK = 2_000
EVENT_SOURCE = "/cinder/blk01"
ENDED = "-deleted"

LoadEvent = tuple[str, dict[str, object]]
"""Routing key and document."""
Encode = Callable[[Topology, LoadEvent], Outgoing]


def collections(number: int, projects: int, run: str, block: int = BLOCK) -> Iterator[LoadEvent]:
    """Give volumes, a snapshot of each, and a volume from each snapshot.

    Args:
        number: of events.
        projects: over how many tenants they are spread.
        run: part of every id, so that no two runs have an item in common.
        block: so many volumes, then as many snapshots, then as many clones, and again.
    """
    return islice(_endless(projects, run, block), number)


def around(number: int, existing: int, projects: int, there: str, run: str) -> Iterator[LoadEvent]:
    """Give events two thirds of which derive from volumes and snapshots that are there already.

    Args:
        number: of events.
        existing: how many events of `collections` the store has handled.
        projects: of these.
        there: their ``run``.
        run: of the new events.
    """
    draw = random.Random(number)
    for index in range(number):
        old = draw.randrange(existing // 3)
        project = project_id(old % projects)
        if index % 3 == 0:
            yield _event("volume-created", project, volume_id=item_id(run, "volume", index))
        elif index % 3 == 1:
            yield _snapshot(project, item_id(run, "snapshot", index), item_id(there, "volume", old))
        else:
            snapshot = item_id(there, "snapshot", old)
            yield _clone(project, item_id(run, "clone", index), snapshot)


def comings_and_goings(number: int, projects: int, run: str) -> Iterator[LoadEvent]:
    """Give volumes, what derives from each, and the ends of that: a third each.

    Half of what derives is a snapshot, whose end leaves the key-id to its volume; half is a clone,
    with whose end its key-id is deactivated.

    Args:
        number: of events.
        projects: over how many tenants they are spread.
        run: part of every id, so that no two runs have an item in common.
    """
    return islice(_come_and_go(projects, run), number)


def deletions(number: int, there: str) -> Iterator[LoadEvent]:
    """Give the ends of the first clones that `collections` has given to one project.

    Each holds a key-id of its own, and nobody else does.
    """
    for index in range(number):
        yield _event("volume-deleted", project_id(0), volume_id=item_id(there, "clone", index))


def derived(number: int, project: str, volume: str, run: str) -> Iterator[LoadEvent]:
    """Give snapshots of one volume."""
    for index in range(number):
        yield _snapshot(project, item_id(run, "derived", index), volume)


def project_id(index: int) -> str:
    """Return a project's id, as long as OpenStack's are."""
    return f"{0x2F1D << 112 | index:032x}"


def item_id(run: str, role: str, index: int) -> str:
    """Return an item's id, as long as OpenStack's are: a large part of what an item takes."""
    return f"{crc32(f'{run} {role}'.encode()):08x}-0000-4000-8000-{index:012x}"


def cloud_event(topology: Topology, event: LoadEvent) -> Outgoing:
    """Return the message that a producer would publish."""
    event_type, document = event
    body = json.dumps(document).encode()
    properties = {
        "content_type": "application/cloudevents+json",
        "delivery_mode": 2,
        "message_id": document["id"],
    }
    return Outgoing(topology.events, event_type, body, properties)


def celery_message(topology: Topology, event: LoadEvent) -> Outgoing:
    """Return the same as an argument of a task, as a producer with Celery would publish it."""
    event_type, document = event
    nothing = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    body = json.dumps([[document], {}, nothing]).encode()
    task = {"lang": "py", "task": "assign", "id": document["id"], "root_id": document["id"]}
    properties = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "correlation_id": document["id"],
        "application_headers": task | {"retries": 0, "argsrepr": "", "kwargsrepr": ""},
    }
    return Outgoing(topology.events, event_type, body, properties)


def _endless(projects: int, run: str, block: int) -> Iterator[LoadEvent]:
    for first in count(0, block):
        members = [(project_id(at % projects), at) for at in range(first, first + block)]
        for project, at in members:
            yield _event("volume-created", project, volume_id=item_id(run, "volume", at))
        for project, at in members:
            yield _snapshot(project, item_id(run, "snapshot", at), item_id(run, "volume", at))
        for project, at in members:
            yield _clone(project, item_id(run, "clone", at), item_id(run, "snapshot", at))


def _come_and_go(projects: int, run: str) -> Iterator[LoadEvent]:
    for first in count(0, BLOCK):
        members = [(project_id(at % projects), at) for at in range(first, first + BLOCK)]
        for project, at in members:
            yield _event("volume-created", project, volume_id=item_id(run, "volume", at))
        for project, at in members:
            volume = item_id(run, "volume", at)
            if at % 2:
                source = {"kind": "volume", "id": volume}
                clone = item_id(run, "clone", at)
                yield _event("volume-created", project, volume_id=clone, source=source)
            else:
                yield _snapshot(project, item_id(run, "snapshot", at), volume)
        for project, at in members:
            if at % 2:
                yield _event("volume-deleted", project, volume_id=item_id(run, "clone", at))
            else:
                snapshot = item_id(run, "snapshot", at)
                yield _event("snapshot-deleted", project, snapshot_id=snapshot)


def _snapshot(project: str, snapshot: str, volume: str) -> LoadEvent:
    return _event("snapshot-taken", project, snapshot_id=snapshot, volume_id=volume)


def _clone(project: str, volume: str, snapshot: str) -> LoadEvent:
    source = {"kind": "snapshot", "id": snapshot}
    return _event("volume-created", project, volume_id=volume, source=source)


def _event(event_type: str, project: str, **data: object) -> LoadEvent:
    size = {} if event_type.endswith(ENDED) else {"size_bytes": 10737418240}
    document: dict[str, object] = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": EVENT_SOURCE,
        "type": event_type,
        "time": "2026-11-23T16:00:00Z",
        "data": {"project_id": project, **size, **data},
    }
    return event_type, document
