"""Where the worker is stricter than a schema can say: each case is on the schema's own list."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from jsonschema import Draft7Validator

from kmworker.domain.event import Unreadable
from kmworker.errors import Reason
from kmworker.wire.events.definition import EVENT_TYPES
from kmworker.wire.events.reading import parse
from tests.contract.schemas.edges import FULL, changed
from tests.kit.published_schemas import Schema, is_taken, is_valid, schema_of


@dataclass(frozen=True)
class Beyond:
    """An event that its schema accepts and the worker does not, and the words for that."""

    words: str
    body: bytes
    event_type: str = "volume-created"
    routing_key: str = ""
    value: object = None
    """Where Python would not read the body either."""


def edited(event_type: str, path: str, value: object) -> bytes:
    return json.dumps(changed(event_type, tuple(path.split(".")), value)).encode()


def deep() -> Any:
    value: Any = []
    for _ in range(30_000):
        value = [value]
    return value


BODY = json.dumps(FULL["volume-created"]).encode()
SIZE_WORDS = "a body of more than 64 KiB, not in UTF-8, or nested too deeply to be read"
NO_ONE_SOURCE = "neither or both of `volume_id` and `source`"
LINE_BREAK_WORDS = "a line break at the end of an id or a name, which validators in Python overlook"
OPENED = BODY[:-1] + b', "x": '

NOTHING = {"source": None, "copy": None}

EXCEPTIONS = {
    "64 KiB": Beyond(SIZE_WORDS, BODY + b" " * 65_536),
    "Latin-1": Beyond(
        SIZE_WORDS, OPENED + b'"\xe9"}', value=FULL["volume-created"] | {"x": "é"}
    ),
    "deep": Beyond(
        SIZE_WORDS,
        OPENED + b"[" * 30_000 + b"]" * 30_000 + b"}",
        value=FULL["volume-created"] | {"x": deep()},
    ),
    "nothing to share": Beyond(
        "`copy` without `source`", edited("volume-created", "data.source", None)
    ),
    "no life of nothing": Beyond(
        "`source_generation` without `source`",
        edited("volume-created", "data", FULL["volume-created"]["data"] | NOTHING),
    ),
    "lives of a partition": Beyond(
        "`source_generation` of a partition, but for 0",
        edited("replica-added", "data.source_generation", 1),
        event_type="replica-added",
    ),
    "twice": Beyond("the same name twice in one object", OPENED + b'1, "x": 1}'),
    "notes": Beyond(
        "`extra` of more than 4 KiB as compact JSON in UTF-8",
        edited("volume-created", "data.extra", {"a": "x" * 4089}),
    ),
    "digits": Beyond(
        "an integer of thousands of digits",
        OPENED + b"9" * 5000 + b"}",
        value=FULL["volume-created"] | {"x": 10**5000 - 1},
    ),
    "surrogate": Beyond(
        "half a surrogate pair in a text", edited("volume-created", "data.volume_type", "\ud83d")
    ),
    "surrogate in the source": Beyond(
        "half a surrogate pair in a text", edited("volume-created", "source", "\udc00")
    ),
    "time": Beyond(
        "a time that does not exist, such as the 30th of February",
        edited("volume-created", "time", "2026-02-30T16:00:00Z"),
    ),
    "routing key": Beyond(
        "a routing key that differs from `type`", BODY, routing_key="snapshot-taken"
    ),
    "itself": Beyond(
        "a volume that names itself as its source",
        edited(
            "volume-created",
            "data.source",
            {"kind": "volume", "id": FULL["volume-created"]["data"]["volume_id"]},
        ),
    ),
    "replica itself": Beyond(
        "a replica that names itself as its source",
        edited(
            "replica-added",
            "data.source",
            {"kind": "replica", "id": FULL["replica-added"]["data"]["replica_id"]},
        ),
        event_type="replica-added",
    ),
    "no source": Beyond(
        NO_ONE_SOURCE,
        edited("snapshot-taken", "data.volume_id", None),
        event_type="snapshot-taken",
    ),
    "two sources": Beyond(
        NO_ONE_SOURCE,
        edited("snapshot-taken", "data.source", {"kind": "volume", "id": "a"}),
        event_type="snapshot-taken",
    ),
    "foreign source of a snapshot": Beyond(
        "a source of another project",
        edited("snapshot-taken", "data.source.project_id", "swift-eu2"),
        event_type="snapshot-taken",
    ),
    "foreign partition": Beyond(
        "a source that is a partition of another project",
        edited("replica-added", "data.source.project_id", "swift-eu2"),
        event_type="replica-added",
    ),
}  # fmt: skip


@pytest.mark.parametrize("beyond", EXCEPTIONS.values(), ids=EXCEPTIONS)
def test_what_only_the_worker_refuses_is_written_down(beyond: Beyond) -> None:
    value = json.loads(beyond.body) if beyond.value is None else beyond.value
    assert is_valid(beyond.event_type, value)
    refusal = parse(beyond.body, None, beyond.routing_key or beyond.event_type)
    assert isinstance(refusal, Unreadable)
    assert refusal.reason is Reason.MALFORMED
    assert beyond.words in listed(schema_of(beyond.event_type))


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_validators_in_python_overlook_a_line_break_at_the_end(event_type: str) -> None:
    event = changed(event_type, ("data", "project_id"), "2f1d\n")
    assert Draft7Validator(schema_of(event_type)).is_valid(event)
    assert not is_valid(event_type, event)
    assert not is_taken(event_type, event)
    assert LINE_BREAK_WORDS in listed(schema_of(event_type))


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_line_of_the_written_list_is_shown_here(event_type: str) -> None:
    shown = {beyond.words for beyond in EXCEPTIONS.values()} | {LINE_BREAK_WORDS}
    assert listed(schema_of(event_type)) <= shown


def listed(schema: Schema) -> set[str]:
    lines = schema["description"].split("\n")
    return {line[2:].rstrip(";.") for line in lines if line.startswith("- ")}
