"""A volume is attached, and its node gets the key, which opens what was encrypted with it.

The clone's key opens the same. Another node gets nothing, nor does the first after the detachment.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from kmworker.audit.files import lines_of, segments_of
from kmworker.audit.lines import read_line
from kmworker.audit.records import data_of_record
from kmworker.cli.demo.nodes import Node, enroll
from kmworker.cli.terminal.output import line
from kmworker.crypto import KeyringCustody
from kmworker.crypto.sectors import SECTOR_BYTES, decrypt_sectors, encrypt_sectors
from kmworker.domain.audit import Act
from kmworker.domain.model import Item, Kind
from kmworker.embedded.sample import PROJECT
from kmworker.errors import BrokerUnavailable, PermanentError, Reason
from kmworker.settings import BrokerSettings
from kmworker.store.inspection import Views
from kmworker.store.views.key_servers import read_key_servers

__all__ = ["show_delegation", "show_trail"]

DEADLINE_S: Final = 30.0
POLL_S: Final = 0.02
NODE, STRANGER = "blk-1", "blk-2"
VOLUME: Final = Item(PROJECT, Kind.VOLUME, "db")
CLONE: Final = Item(PROJECT, Kind.VOLUME, "db-copy")
TEXT: Final = b"a tenant's own data "
PLAINTEXT: Final = (TEXT * SECTOR_BYTES)[: 8 * SECTOR_BYTES]

Publish = Callable[[str, dict[str, Any]], None]
"""Publishes an event of a type, with its data."""


def show_delegation(
    folder: Path, broker: BrokerSettings, views: Views, custody: KeyringCustody, publish: Publish
) -> None:
    """Show it, each step as it has happened.

    Raises:
        PermanentError: somebody got a key that he may not have, or another one.
        BrokerUnavailable: something was not done in time.
    """
    line("")
    line("delegation: the node that a volume is attached to gets its key, sealed to it:")
    nodes = [enroll(name, folder / name, broker, views, custody) for name in (NODE, STRANGER)]
    _tell("enrolled", f"{NODE} and {STRANGER}, each with an identity that stays on it")
    with closing(nodes[0]) as node, closing(nodes[1]) as stranger:
        for volume in (VOLUME, CLONE):
            publish("volume-attached", {**_attachment(volume), "node": NODE})
            _until_attached(views, volume, lambda it: "grant" in it)
        _tell("attached", f"{VOLUME.ref} and its clone {CLONE.ref}, to {NODE}")
        _until(lambda: _is_served(views), "no key server has begun in time")
        with node.get(VOLUME) as delivered:
            sectors = encrypt_sectors(delivered.key.view, PLAINTEXT)
            _tell_of(
                "delivered",
                VOLUME,
                delivered.key_id,
                f"{NODE} encrypts with it: {sectors[:4].hex()}…",
            )
        _open(node, VOLUME, sectors, f"{NODE} opens that")
        _open(node, CLONE, sectors, "opens the same")
        _tell_of("refused", VOLUME, "", f"{STRANGER}: {stranger.refused(VOLUME)}")
        publish("volume-detached", _attachment(VOLUME))
        _until_attached(views, VOLUME, lambda it: "over" in it)
        _tell("detached", f"{VOLUME.ref}, from {NODE}")
        _tell_of("refused", VOLUME, "", f"{NODE}: {node.refused(VOLUME)}")


def show_trail(directory: Path) -> None:
    """Say what the audit trail has of it."""
    found = (read_line(text) for path in segments_of(directory) for text in lines_of(path))
    told = [str((data_of_record(it.body) or {}).get("what")) for it in found if it.kind == "record"]
    # The rest comes there some time after it was done.
    acts = [what for what in told if what in {Act.KEY_DELIVERED, Act.KEY_REFUSED}]
    counted = ", ".join(f"{acts.count(what)} {what}" for what in sorted(set(acts)))
    _tell("recorded", f"{counted}: each before its answer")


def _open(node: Node, volume: Item, sectors: bytes, says: str) -> None:
    with node.get(volume) as delivered:
        read = decrypt_sectors(delivered.key.view, sectors)
        if read != PLAINTEXT:
            raise PermanentError(Reason.INTEGRITY, f"{volume.ref}: its key opens something else")
        text = read[: len(TEXT)].decode().strip()
        _tell_of("delivered", volume, delivered.key_id, f'{says}: "{text} …"')


def _attachment(volume: Item) -> dict[str, Any]:
    return {
        "project_id": volume.project,
        "volume_id": volume.id,
        "attachment_id": f"{volume.id}-on-{NODE}",
    }


def _until(is_so: Callable[[], bool], otherwise: str) -> None:
    """Wait until something is so.

    Raises:
        BrokerUnavailable: it was not in time.
    """
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise BrokerUnavailable(otherwise)
        time.sleep(POLL_S)


def _until_attached(views: Views, volume: Item, is_so: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until the store says so of the volume's one attachment; raises as `_until` does."""
    _until(
        lambda: any(map(is_so, _attachments(views, volume))),
        "an attachment was not handled in time",
    )


def _is_served(views: Views) -> bool:
    """Return whether a key server runs: it begins once there are projects."""
    return any(it.is_live for it in read_key_servers(views, views.clock_s()))


def _attachments(views: Views, volume: Item) -> Sequence[dict[str, Any]]:
    for page in views.all_records(volume.project, "grants"):
        for ref, raw in page:
            if ref == volume.ref:
                found: Sequence[dict[str, Any]] = json.loads(raw)["attachments"]
                return found
    return ()


def _tell_of(what: str, volume: Item, key_id: str, says: str) -> None:
    _tell(what, f"{volume.ref:14}  {key_id[:8]:8}  {says}")


def _tell(what: str, says: str) -> None:
    line(f"  {what:9}  {says}")
