"""Events with one field at the edge of what is allowed, or over it."""

import copy
from typing import Any

from kmworker.wire.events.definition import EVENT_TYPES, EVENTS
from tests.kit.published_schemas import schema_of

# The examples, with every optional field filled in.
FULL: dict[str, dict[str, Any]] = {name: copy.deepcopy(it.example) for name, it in EVENTS.items()}
FILLED_IN: dict[str, Any] = {
    "size_bytes": 1, "disposition": "reuse", "copy": "shared", "source": None,
    "generation": 1, "source_generation": 0, "mode": "ro", "expires_at": "2026-11-24T16:00:00Z",
    "encryption": {"cipher": "aes-xts-plain64", "key_bits": 256},
    "extra": {"ticket": 4711, "sorce": None},
}  # fmt: skip
for event_type, event in FULL.items():
    event.setdefault("time", "2026-11-23T16:00:00.5+01:00")
    absent = schema_of(event_type)["properties"]["data"]["properties"].keys() - event["data"].keys()
    event["data"] |= {field: FILLED_IN[field] for field in absent}
FULL["replica-added"]["time"] = None
FULL["replica-added"]["data"]["source"]["project_id"] = "swift-eu1"
# The same, of a replica.
FULL_SNAPSHOT_OF_A_REPLICA = copy.deepcopy(FULL["snapshot-taken"])
FULL_SNAPSHOT_OF_A_REPLICA["data"] |= {
    "volume_id": None,
    "source": {"kind": "replica", "id": "db@oslo", "project_id": None},
}

MISSING = object()
ODD_LETTERS = [
    "\0", "\n", "\r", "\x1f", "\x7f", "\x80", "\x9f", "\xa0", "\u2028", "\u2029",
    "\ud800", "\udc00",
    "\ufeff", "\uffff", "😀", "é", "ß", "٣", " ", "~", "!", "/", ":", "@", "+", "_", ".", "-", ",",
    "\\", '"', "{", "}", "|", "[", "]", "#", "%", "$", "*", "=", "<", "^", "`", "'", "T", "Z",
]  # fmt: skip
TEXTS = (
    ["", "0", "a", "A", "Z9", "1.0", "1.00", "01", "true", "null", "-a", ".a", "_a"]
    + ODD_LETTERS
    + [f"a{letter}" for letter in ODD_LETTERS]
    + [f"{letter}a" for letter in ODD_LETTERS]
    + [f"a{letter}a" for letter in ODD_LETTERS]
    + ["a" * length for length in (63, 64, 65, 127, 128, 129, 254, 255, 256, 257, 1000)]
    + [letter * length for letter in "é😀 " for length in (127, 128, 129, 255, 256)]
    + ["volume", "snapshot", "replica", "partition", "image", "Volume", " volume", "volume "]
    + ["create", "clone", "reuse", "none", "deny", "block", "file", "reencrypt"]
    + [*EVENT_TYPES, "key-assigned"]
)
TIMES = [
    "2026-11-23T16:00:00Z", "2026-11-23t16:00:00z", "2026-11-23 16:00:00Z", "2026-11-23T16:00:00",
    "2026-11-23", "2026-11-23T16:00Z", "2026-11-23T16:00:00+0100", "2026-11-23T16:00:00+01",
    "2026-11-23T16:00:00.Z", "2026-11-23T16:00:00,5Z", "2026-11-23T16:00:60Z",
    "2026-11-23T16:00:61Z", "2026-11-23T23:60:00Z", "2026-11-23T24:00:00Z", "2026-02-29T00:00:00Z",
    "2024-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-00-01T00:00:00Z", "2026-13-01T00:00:00Z",
    "2026-01-00T00:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:60Z",
    "12026-01-01T00:00:00Z", "2026-11-23T16:00:00-00:00", "2026-11-23T16:00:00+23:59",
    "2026-11-23T16:00:00+24:00", "2026-11-23T16:00:00+00:60", "2026-11-23T16:00:00Z\n",
    "٢٠٢٦-11-23T16:00:00Z", f"2026-11-23T16:00:00.{'1' * 43}Z", f"2026-11-23T16:00:00.{'1' * 44}Z",
]  # fmt: skip
NUMBERS: list[object] = [
    -(2**63), -1, -1.0, -0.0, 0, 0.0, 0.5, 1, 1.0, 1e3, 7, 8, 65_535, 65_536, 65_537, 65_536.0,
    2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, 1e30, 1e300,
]  # fmt: skip
OTHERS: list[object] = [
    None, True, False, [], {}, [[]], [{}], ["a"], {"a": 1}, [None], {"kind": "volume"}, {"id": "a"},
    {"kind": "volume", "id": "a"}, {"kind": "image", "id": "a"}, {"kind": "replica", "id": "a"},
    {"kind": "partition", "id": "a"}, {"kind": "snapshot", "id": "a", "project_id": None},
    {"kind": "snapshot", "id": "a", "project_id": "p", "x": []}, {"cipher": "a"}, {"key_bits": 8},
    {"cipher": "a", "key_bits": 8}, {"cipher": None, "key_bits": 8}, {"cipher": "a", "more": None},
]  # fmt: skip
VALUES: list[object] = [MISSING, *TEXTS, *TIMES, *NUMBERS, *OTHERS]


def is_of_a_replica(event_type: str, path: tuple[str, ...]) -> bool:
    """Whether a field is one that only a snapshot with a `source` has."""
    return event_type == "snapshot-taken" and path[1:2] == ("source",) and len(path) > 2


def changed(event_type: str, path: tuple[str, ...], value: object) -> dict[str, Any]:
    whole = FULL_SNAPSHOT_OF_A_REPLICA if is_of_a_replica(event_type, path) else FULL[event_type]
    event = copy.deepcopy(whole)
    target = event
    for name in path[:-1]:
        target = target[name]
    if value is MISSING:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return event
