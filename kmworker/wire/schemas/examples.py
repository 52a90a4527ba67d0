"""What the worker's own code makes of an example of an event, for the published schemas."""

import json
from typing import Any, Final

from kmworker.domain.audit import Act, Actor, ActorKind, ActOutcome, AuditRecord
from kmworker.domain.decision import Refuse
from kmworker.domain.keys import JANITOR, By, KeyEvent, LastChange, Operator
from kmworker.domain.message import Original, Outgoing
from kmworker.domain.model import (
    Assignment,
    Cause,
    DataAction,
    Disposition,
    Encryption,
    Item,
    KeyChanged,
    KeyRecord,
    KeyReleased,
    KeyState,
    Kind,
    Stored,
    scope_id_for,
)
from kmworker.errors import Reason
from kmworker.wire.assignments import announce, encode_data
from kmworker.wire.audit_records import audit_message
from kmworker.wire.dead_letters.writing import dead_letter
from kmworker.wire.events.definition import EVENTS
from kmworker.wire.key_changes import announce_key
from kmworker.wire.releases import announce_release

__all__ = ["ANNOUNCED", "ASSIGNED", "CHANGED", "DEAD", "RECORDED", "RELEASED"]

SOURCE: Final = "/kmworker"
KEY_ID: Final = "c0b7e0a4-6f0c-4b1e-9f57-2d3f8f0a9b61"
NOW: Final = "2026-11-23T16:00:00.000Z"
LATER: Final = "2026-12-23T16:00:00.000Z"

SNAPSHOT_TAKEN: Final = EVENTS["snapshot-taken"].example
DATA: Final[dict[str, str]] = SNAPSHOT_TAKEN["data"]


def _announced() -> Outgoing:
    """Announce the snapshot of the example, whose volume is the master of its scope."""
    event, project = SNAPSHOT_TAKEN, DATA["project_id"]
    volume = Item(project, Kind.VOLUME, DATA["volume_id"])
    assignment = Assignment(
        item=Item(project, Kind.SNAPSHOT, DATA["snapshot_id"]),
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
    held = Stored(assignment, encode_data(assignment))
    return announce(held, SOURCE, exchange="")


def _released() -> Outgoing:
    """Release that snapshot."""
    event, project = EVENTS["snapshot-deleted"].example, DATA["project_id"]
    released = KeyReleased(
        item=Item(project, Kind.SNAPSHOT, DATA["snapshot_id"]),
        key_id=KEY_ID,
        generation=0,
        cause=Cause(event["id"], event["source"], event["type"]),
        at=NOW,
    )
    return announce_release(released, SOURCE, exchange="")


def _changed() -> dict[str, dict[str, Any]]:
    """Return one message of each type of what is said of key-ids."""
    event, project = EVENTS["volume-deleted"].example, DATA["project_id"]
    scope_id = scope_id_for(Item(project, Kind.VOLUME, DATA["volume_id"]))
    deleted = Cause(event["id"], event["source"], event["type"])
    operator = Operator("alice", "leak in rack 7")
    bys: dict[KeyEvent, By] = {KeyEvent.DEACTIVATED: deleted, KeyEvent.DESTROYED: JANITOR}
    states = {
        KeyEvent.DEACTIVATED: KeyState.DEACTIVATED,
        KeyEvent.RESTORED: KeyState.ACTIVE,
        KeyEvent.SUSPENDED: KeyState.SUSPENDED,
        KeyEvent.RESUMED: KeyState.ACTIVE,
        KeyEvent.COMPROMISED: KeyState.COMPROMISED,
        KeyEvent.DESTROYED: KeyState.DESTROYED,
    }
    found = {}
    for version, (type_, state) in enumerate(states.items(), start=2):
        is_end = state is KeyState.DESTROYED
        change = LastChange(type_, NOW, bys.get(type_, operator), state, True if is_end else None)
        key = KeyRecord(
            KEY_ID, scope_id, "", state, None, NOW, version,
            destroy_at=LATER if state is KeyState.DEACTIVATED else None, changed=change,
        )  # fmt: skip
        message = announce_key(KeyChanged(project, key), SOURCE, exchange="")
        found[type_.value] = json.loads(message.body)
    return found


def _recorded() -> Outgoing:
    """Record that the key of that snapshot was delivered."""
    record = AuditRecord(
        Act.KEY_DELIVERED,
        Actor(ActorKind.CLIENT, "compute-17"),
        NOW,
        ActOutcome.DONE,
        request="0b6f3c52-8a0e-4d0b-9d0e-3f1c5b7a9e21",
        project=DATA["project_id"],
        item=f"snapshot:{DATA['snapshot_id']}",
        key_id=KEY_ID,
    )
    return audit_message(record, "key-server@keys01/4711-9f1c2b3a4d5e6f70", 42, SOURCE, "")


def _dead() -> Outgoing:
    """Refuse the snapshot of the example, whose volume never came."""
    event = SNAPSHOT_TAKEN
    original = Original(json.dumps(event).encode(), event["type"], {})
    refusal = Refuse(Reason.SOURCE_MISSING, f"volume:{DATA['volume_id']} did not appear in time")
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
RELEASED: Final[dict[str, Any]] = json.loads(_released().body)
CHANGED: Final = _changed()
RECORDED: Final[dict[str, Any]] = json.loads(_recorded().body)
DEAD: Final = _dead()
