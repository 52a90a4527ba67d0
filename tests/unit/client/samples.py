"""Announcements as a worker makes them, for subscribers to read."""

from dataclasses import replace

from kmworker.announcement import announce, encode_data
from kmworker.message import Outgoing
from kmworker.model import (
    Assignment,
    Cause,
    DataAction,
    Disposition,
    Encryption,
    Held,
    Item,
    Kind,
)

SOURCE = "/kmworker"
XTS = Encryption("aes-xts-plain64", 512)

REENCRYPTED = Assignment(
    item=Item("p1", Kind.REPLICA, "r1"),
    disposition=Disposition.CREATE,
    key_id="key-1",
    scope_id="scope-1",
    source=Item("p2", Kind.VOLUME, "v1"),
    node="blk-oslo",
    encryption=XTS,
    data_action=DataAction.REENCRYPT,
    reencrypt_from="key-0",
    rule="guard:cross-project",
    cause=Cause("event-1", "/cinder/blk01", "replica-added"),
    assigned_at="2026-11-23T16:00:00.000Z",
)


def blank_volume(name: str, project: str = "p1") -> Assignment:
    """The assignment of a volume that was made from nothing."""
    return replace(
        REENCRYPTED,
        item=Item(project, Kind.VOLUME, name),
        key_id=f"key of {name}",
        source=None,
        node=None,
        data_action=DataAction.NONE,
        reencrypt_from=None,
    )


def announced(assignment: Assignment, exchange: str = "kmworker.assignments") -> Outgoing:
    """The assignment as it is published."""
    return announce(Held(assignment, None, None, encode_data(assignment)), SOURCE, exchange)
