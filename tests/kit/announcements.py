"""Announcements as a worker makes them, for subscribers to read."""

from dataclasses import replace

from kmworker.domain.ids import named_id
from kmworker.domain.message import Outgoing
from kmworker.domain.model import (
    Assignment,
    Cause,
    DataAction,
    Disposition,
    Encryption,
    Item,
    Kind,
    Stored,
)
from kmworker.wire.assignments import announce, encode_data

SOURCE = "/kmworker"
XTS = Encryption("aes-xts-plain64", 512)

REENCRYPTED = Assignment(
    item=Item("p1", Kind.REPLICA, "r1"),
    disposition=Disposition.CREATE,
    key_id="0f8e5c52-1d27-4c55-9b1e-6a1d7c1e9f01",
    scope_id="e2f411bc-ba5e-54c1-93fc-95111b808bab",
    source=Item("p2", Kind.VOLUME, "v1"),
    node="blk-oslo",
    encryption=XTS,
    data_action=DataAction.REENCRYPT,
    reencrypt_from="0f8e5c52-1d27-4c55-9b1e-6a1d7c1e9f00",
    rule="guard:cross-project",
    cause=Cause("event-1", "/cinder/blk01", "replica-added"),
    assigned_at="2026-11-23T16:00:00.000Z",
)

UNENCRYPTED = replace(
    REENCRYPTED,
    disposition=Disposition.NONE,
    key_id=None,
    scope_id=None,
    encryption=None,
    data_action=DataAction.NONE,
    reencrypt_from=None,
    rule="guard:not-encrypted",
)


def blank_volume(name: str, project: str = "p1") -> Assignment:
    """The assignment of a volume that was made from nothing."""
    return replace(
        REENCRYPTED,
        item=Item(project, Kind.VOLUME, name),
        key_id=named_id(f"key of {name}"),
        source=None,
        node=None,
        data_action=DataAction.NONE,
        reencrypt_from=None,
    )


def announced(assignment: Assignment, exchange: str = "kmworker.assignments") -> Outgoing:
    """The assignment as it is published."""
    return announce(Stored(assignment, encode_data(assignment)), SOURCE, exchange)
