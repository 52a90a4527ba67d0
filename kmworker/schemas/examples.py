"""The contract's examples: events, and what the worker's own code makes of one of them."""

import json
from typing import Any, Final

from kmworker.announcement import announce, encode_data
from kmworker.dead_letters import dead_letter
from kmworker.decision import Refuse
from kmworker.errors import Reason
from kmworker.message import Original, Outgoing
from kmworker.model import (
    Assignment,
    Cause,
    DataAction,
    Disposition,
    Encryption,
    Held,
    Item,
    Kind,
    scope_id_for,
)

__all__ = ["ANNOUNCED", "ASSIGNED", "DEAD", "EVENTS"]

SOURCE: Final = "/kmworker"
PROJECT: Final = "2f1d8b04c6e94f0f9d0c5a7d3f6b1e58"
VOLUME: Final = "11111c0e-5a3e-4f43-b7cf-5c3a9d9b7d10"
SNAPSHOT: Final = "54af3e0d-8f6b-4d0e-9a53-0c6a4a1f2b77"
KEY_ID: Final = "c0b7e0a4-6f0c-4b1e-9f57-2d3f8f0a9b61"
NOW: Final = "2026-11-23T16:00:00.000Z"

EVENTS: Final[dict[str, dict[str, Any]]] = {
    "volume-created": {
        "specversion": "1.0",
        "id": "6d1c2a5e-8a0f-4c61-9a44-3c1b6d1f0e92",
        "source": "/cinder/blk01",
        "type": "volume-created",
        "time": "2026-11-23T16:00:00Z",
        "data": {
            "project_id": PROJECT,
            "volume_id": "2222a9c1-7b5d-4f0e-8c36-9e1d4b7a6f05",
            "source": {"kind": "snapshot", "id": SNAPSHOT, "project_id": PROJECT},
            "size_bytes": 10737418240,
            "volume_type": "luks-gold",
            "encryption": {"cipher": "aes-xts-plain64", "key_bits": 512},
            "disposition": "clone",
        },
    },
    "snapshot-taken": {
        "specversion": "1.0",
        "id": "77aa4c1b-0d2e-4a36-8f5b-6e7d8c9b0a13",
        "source": "/cinder/blk01",
        "type": "snapshot-taken",
        "data": {"project_id": PROJECT, "snapshot_id": SNAPSHOT, "volume_id": VOLUME},
    },
    "replica-added": {
        "specversion": "1.0",
        "id": "9c0e5b7d-2f4a-4e68-b1c3-5d6f7a8b9c24",
        "source": "/swift/ring-builder",
        "type": "replica-added",
        "data": {
            "project_id": "swift-eu1",
            "replica_id": "policy-0/4711@obj-07",
            "source": {"kind": "partition", "id": "policy-0/4711"},
            "node": "obj-07",
            "transport": "file",
        },
    },
}


def _announced() -> Outgoing:
    """Announce the snapshot of the example, whose volume is the master of its scope."""
    event = EVENTS["snapshot-taken"]
    volume = Item(PROJECT, Kind.VOLUME, VOLUME)
    assignment = Assignment(
        item=Item(PROJECT, Kind.SNAPSHOT, SNAPSHOT),
        disposition=Disposition.REUSE,
        key_id=KEY_ID,
        scope_id=scope_id_for(volume),
        source=volume,
        node=None,
        encryption=Encryption("aes-xts-plain64", 512),
        data_action=DataAction.NONE,
        reencrypt_from=None,
        rule="snapshots-share-the-key-id",
        cause=Cause(event["id"], event["source"], event["type"]),
        assigned_at=NOW,
    )
    held = Held(assignment, key=None, scope=None, data=encode_data(assignment))
    return announce(held, SOURCE, exchange="")


def _dead() -> Outgoing:
    """Refuse the snapshot of the example, whose volume never came."""
    event = EVENTS["snapshot-taken"]
    original = Original(json.dumps(event).encode(), event["type"], {})
    refusal = Refuse(Reason.SOURCE_MISSING, f"volume:{VOLUME} did not appear in time")
    return dead_letter(
        original,
        refusal,
        exchange="",
        event_id=event["id"],
        event_type=event["type"],
        dead_at=NOW,
        attempts=1,
    )


ANNOUNCED: Final = _announced()
ASSIGNED: Final[dict[str, Any]] = json.loads(ANNOUNCED.body)
DEAD: Final = _dead()
