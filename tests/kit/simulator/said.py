"""What events and announcements say, for whoever compares them."""

import hashlib
import json
from typing import Any

from kmworker.domain.model import Item, Kind
from tests.kit.simulator.chronicle import Life
from tests.kit.simulator.events import Sent


def agrees(sent: Sent, data: dict[str, Any]) -> bool:
    """Return whether an event says nothing else of its item than what it was assigned."""
    said = json.loads(sent.body)
    if (said["id"], said["source"]) == (data["cause"]["id"], data["cause"]["source"]):
        return True
    source = data["source"] and item_of(data["source"]["project_id"], data["source"])
    # Without a size, it says nothing of the size.
    asked = said["data"].get("encryption", data["encryption"])
    asked = asked and {**(data["encryption"] or {}), **asked}
    is_same_node = said["data"].get("node") == data["node"]
    return bool(source == sent.derived_from and asked == data["encryption"] and is_same_node)


def entry_of(sent: Sent) -> bytes:
    """Return the name of an event's entry in the waiting room."""
    digest = hashlib.sha256(sent.item.ref.encode() + b"\0" + sent.body)
    if sent.user is not None:
        digest.update(b"\0" + repr({"user_id": sent.user}).encode())
    return digest.hexdigest()[:32].encode()


def item_in(life: Life) -> Item:
    """Return the item whose life it is."""
    project, ref, _generation = life
    kind, _colon, name = ref.partition(":")
    return Item(project, Kind(kind), name)


def key_id_in(release: bytes) -> str | None:
    """Return the key-id that a release is about."""
    found: str | None = json.loads(release)["data"]["key_id"]
    return found


def kind_and_project(announcement: bytes) -> tuple[str, str]:
    """Return the item's kind and project."""
    data = json.loads(announcement)["data"]
    return data["item"]["kind"], data["project_id"]


def item_of(project: str, named: dict[str, str]) -> Item:
    """Return the item that is named in an announcement."""
    return Item(project, Kind(named["kind"]), named["id"])
