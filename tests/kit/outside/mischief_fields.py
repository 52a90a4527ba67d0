"""The fields of an event, each with values that it must not have."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tests.kit.outside.specimens import REPLICA, SNAPSHOT, VOLUME
from tests.kit.outside.words import CANARY

Path = tuple[str, ...]

ID_256: Final = "i" * 256
BAD_IDS: Final = {
    "number": 7,
    "null": None,
    "list": ["a"],
    "empty": "",
    "too-long": ID_256,
    "brace": "a{b}c",
    "opening-brace": "{a",
    "nul": "a\0b",
    "line-break": "a\nb",
    "trailing-line-break": "a\n",
    "space": "a b",
    "del": "a\x7f",
    "not-ascii": "caf\u00e9",
    "lone-surrogate": "a\ud800b",
    "backslash": "a\\b",
    "quote": 'a"b',
}
BAD_PROJECTS: Final = {
    **BAD_IDS,
    "too-long": "p" * 129,
    "slash": "a/b",
    "percent": "a%20b",
    "asterisk": "a*",
    "hash": "a#",
}
BAD_WORDS: Final = {
    "number": 7,
    "list": [CANARY],
    "empty": "",
    "too-long": CANARY + "n" * 256,
    "nul": f"{CANARY}\0",
    "line-break": f"{CANARY}\n",
}
BAD_SIZES: Final = {
    "text": CANARY,
    "digits-in-a-string": "1024",
    "negative": -1,
    "fraction": 1.5,
    "boolean": True,
    "object": {"bytes": 1},
}
BAD_REQUESTS: Final = {
    "none": "none",
    "deny": "deny",
    "capitals": "Clone",
    "unknown": CANARY,
    "number": 1,
    "list": ["clone"],
}
BAD_ENCRYPTIONS: Final = {
    "text": "aes-xts-plain64",
    "list": [],
    "boolean": False,
    "empty": {},
    "no-cipher": {"key_bits": 512},
    "cipher-number": {"cipher": 7, "key_bits": 512},
    "cipher-null": {"cipher": None, "key_bits": 512},
    "bits-text": {"cipher": "aes-xts-plain64", "key_bits": CANARY},
    "bits-fraction": {"cipher": "aes-xts-plain64", "key_bits": 512.5},
    "bits-boolean": {"cipher": "aes-xts-plain64", "key_bits": True},
    "unknown-field": {"cipher": "aes-xts-plain64", "bits": 512},
}
BAD_SOURCES: Final = {
    "text": CANARY,
    "list": [{"kind": "volume", "id": "a"}],
    "empty": {},
    "no-id": {"kind": "volume"},
    "no-kind": {"id": "a"},
    "unknown-kind": {"kind": CANARY, "id": "a"},
    "kind-number": {"kind": 7, "id": "a"},
    "id-number": {"kind": "volume", "id": 7},
    "id-with-brace": {"kind": "volume", "id": "a{b"},
    "id-too-long": {"kind": "volume", "id": ID_256},
    "project-number": {"kind": "volume", "id": "a", "project_id": 7},
    "project-with-brace": {"kind": "volume", "id": "a", "project_id": "a}b"},
    "unknown-field": {"kind": "volume", "id": "a", "note": "b"},
}


@dataclass(frozen=True, slots=True)
class Edit:
    """One field of one event, given a value it must not have."""

    type: str
    name: str
    path: Path
    value: object


def _edits(type_: str, path: Path, values: Mapping[str, object]) -> Iterator[Edit]:
    for name, value in values.items():
        yield Edit(type_, f"{'-'.join(path)}-{name}", path, value)


def _data(type_: str, field: str, values: Mapping[str, object]) -> Iterator[Edit]:
    return _edits(type_, ("data", field), values)


ENVELOPE: Final[Mapping[str, Mapping[str, object]]] = {
    "specversion": {"old": "0.3", "newer": "1.1", "number": 1.0, "null": None},
    "id": {
        "number": 7,
        "null": None,
        "empty": "",
        "too-long": ID_256,
        "not-ascii": "\u00e9",
        "line-break": "a\nb",
        "nul": "a\0b",
    },
    "source": {"number": 7, "null": None, "empty": "", "too-long": "/" * 256, "list": ["/a"]},
    "time": {
        "word": "yesterday",
        "number": 7,
        "date-only": "2026-11-23",
        "no-zone": "2026-11-23T16:00:00",
        "thirteenth-month": "2026-13-23T16:00:00Z",
    },
    "data": {"list": [], "text": CANARY, "null": None, "number": 7},
}

ENVELOPE_EDITS: Final = tuple(
    edit for field, values in ENVELOPE.items() for edit in _edits(VOLUME, (field,), values)
)
FIELD_EDITS: Final = (
    *_data(VOLUME, "project_id", BAD_PROJECTS),
    *_data(VOLUME, "volume_id", BAD_IDS),
    *_data(VOLUME, "source", BAD_SOURCES),
    *_data(VOLUME, "source", {"partition": {"kind": "partition", "id": "a"}}),
    *_data(VOLUME, "size_bytes", BAD_SIZES),
    *_data(VOLUME, "volume_type", BAD_WORDS),
    *_data(VOLUME, "encryption", BAD_ENCRYPTIONS),
    *_data(VOLUME, "disposition", BAD_REQUESTS),
    *_data(SNAPSHOT, "project_id", BAD_PROJECTS),
    *_data(SNAPSHOT, "snapshot_id", BAD_IDS),
    *_data(SNAPSHOT, "volume_id", BAD_IDS),
    *_data(SNAPSHOT, "size_bytes", BAD_SIZES),
    *_data(SNAPSHOT, "disposition", BAD_REQUESTS),
    *_data(REPLICA, "replica_id", BAD_IDS),
    *_data(REPLICA, "source", BAD_SOURCES),
    *_data(REPLICA, "source", {"image": {"kind": "image", "id": "a"}}),
    *_data(SNAPSHOT, "source", {"beside-the-volume": {"kind": "volume", "id": "a"}}),
    *_data(VOLUME, "snapshot_id", {"unknown": "a", "unknown-null": None}),
    *_data(VOLUME, "sorce", {"unknown": {"kind": "volume", "id": "a"}}),
    *_data(SNAPSHOT, "encryption", {"unknown": None}),
    *_data(REPLICA, "host", {"unknown": "obj-07"}),
    *_data(VOLUME, "extra", {"text": "a", "list": [], "large": {"a": "x" * 4096}}),
    *_data(REPLICA, "node", BAD_WORDS),
    *_data(REPLICA, "node", {"null": None}),
    *_data(REPLICA, "transport", {"unknown": CANARY, "number": 7, "empty": ""}),
    *_data(REPLICA, "encryption", BAD_ENCRYPTIONS),
    *_data(REPLICA, "disposition", BAD_REQUESTS),
)
REMOVALS: Final[tuple[tuple[str, Path], ...]] = (
    *((VOLUME, (name,)) for name in ("specversion", "id", "source", "type", "data")),
    (VOLUME, ("data", "project_id")),
    (VOLUME, ("data", "volume_id")),
    (SNAPSHOT, ("data", "project_id")),
    (SNAPSHOT, ("data", "snapshot_id")),
    (SNAPSHOT, ("data", "volume_id")),
    (REPLICA, ("data", "project_id")),
    (REPLICA, ("data", "replica_id")),
    (REPLICA, ("data", "source")),
    (REPLICA, ("data", "node")),
)
