"""What an unknown field was meant to be: misspelt, misplaced, or another system's word for it.

Only refusals come here. The name is a stranger's; it is compared and never passed on.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Final

from kmworker.wire.events.definition import EVENTS, source_of
from kmworker.wire.events.parts import WireEncryption

__all__ = ["suggestion", "type_meant"]

# One letter in four may be wrong. More would take `generation` for `encryption`.
ALIKE: Final = 0.75
MAX_NAME_LETTERS: Final = 64
# Types differ in whole words: at three letters in four, volume-deleted would be volume-created.
TYPES_ALIKE: Final = 0.9
ENCRYPTION: Final = 'encryption: {"cipher": "aes-xts-plain64", "key_bits": 512}'

# Other systems' words, without what separates words in them.
WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "project_id": ("project", "projectname", "tenant", "tenantid", "account", "cluster"),
    "size_bytes": ("size", "bytes", "sizegb", "sizegib", "sizemb", "volumesize", "capacity"),
    "snapshot_id": ("snapshot", "snap", "snapid", "snapshotuuid", "snapname", "snapshotname"),
    "replica_id": ("replicauuid", "replicaname", "backup", "backupid"),
    "volume_id": ("volumeuuid", "volumename", "volname"),
    "volume_type": ("type", "voltype", "volumetypeid", "volumetypename", "storageclass"),
    "node": ("host", "hostname", "server", "device", "target", "location", "nodeid"),
    "source": ("parent", "parentid", "origin", "derivedfrom", "from", "sourceid", "src", "of"),
    "generation": ("version", "epoch", "incarnation", "revision", "createtxg", "ringversion"),
    "disposition": ("wish", "action", "requesteddisposition", "mode"),
    "extra": ("metadata", "meta", "notes", "labels", "tags", "annotations", "comment",
              "description", "custom", "displayname", "name", "userdata"),
    "kind": ("type", "sourcetype", "sourcekind"),
    "id": ("uuid", "ref", "name", "volumeid", "snapshotid", "replicaid", "partitionid", "imageid",
           "sourceid"),
    "cipher": ("algorithm", "name", "mode"),
    "key_bits": ("bits", "size", "keysize", "keylength", "keysizebits"),
    ENCRYPTION: ("cipher", "keybits", "keysize", "keylength", "algorithm", "encrypted"),
}  # fmt: skip
SHORT: Final = {"volume": "vol", "snapshot": "snap"}


def suggestion(event_type: str, place: str, name: str) -> str:
    """Return what to say after "is unknown".

    Args:
        event_type: a known one.
        place: the dotted path within data of the object that it is in; "" is data itself.
        name: the unknown field's.
    """
    squeezed = re.sub("[^a-z0-9]", "", name[:MAX_NAME_LETTERS].lower())
    known = _known(event_type, place)
    meant = next(_meant(event_type, place, squeezed, known), None)
    if meant is not None:
        return f"; did you mean {meant}?"
    elsewhere = [other for other in EVENTS if name in _known(other, place)]
    if elsewhere:
        *all_but_last, last = elsewhere
        said = f"{', '.join(all_but_last)} and {last}" if all_but_last else last
        return f" in {event_type}; it belongs to {said}"
    return "; notes of your own go into data.extra"


def type_meant(name: str) -> str:
    """Return what to say after that an event's type is unknown; empty if nothing is near."""
    spelt = re.sub("[^a-z]+", "-", name[:MAX_NAME_LETTERS].lower())
    near = get_close_matches(spelt, EVENTS, n=1, cutoff=TYPES_ALIKE)
    return f"; did you mean {near[0]}?" if near else ""


def _known(event_type: str, place: str) -> Collection[str]:
    event = EVENTS[event_type]
    source = source_of(event)
    if place == "source" and source is not None:
        return source.written.model_fields
    if place == "encryption":
        return WireEncryption.model_fields
    return [it.name for it in event.data_fields()]


def _meant(event_type: str, place: str, name: str, known: Collection[str]) -> Iterator[str]:
    """Give what it may mean, the likeliest first."""
    spelt = {field.replace("_", ""): field for field in known}
    if name in spelt:
        yield spelt[name]
    if not place:
        yield from _sources_meant(event_type, name, known)
    takes = (*known, ENCRYPTION) if "encryption" in known else known
    yield from (field for field, words in WORDS.items() if field in takes and name in words)
    yield from (spelt[close] for close in get_close_matches(name, spelt, n=1, cutoff=ALIKE))


def _sources_meant(event_type: str, name: str, known: Collection[str]) -> Iterator[str]:
    """Give the item that is named as in `source_snapshot_id`, `src_vol` or `image_ref`."""
    source = source_of(EVENTS[event_type])
    for kind in () if source is None else source.kinds:
        form = rf"(source|src|parent|from)?{kind}(id|ref|uuid)?"
        if kind in SHORT:
            form = form.replace(kind, f"({kind}|{SHORT[kind]})")
        found = re.fullmatch(form, name)
        if found is None:
            continue
        # A volume's own id; what a snapshot was taken of has both ways of being named.
        has_own_field = f"{kind}_id" in known
        if has_own_field and (found[1] is None or event_type == "snapshot-taken"):
            yield f"{kind}_id"
        else:
            yield f'source: {{"kind": "{kind}", "id": "..."}}'
