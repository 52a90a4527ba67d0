"""What an event's schema accepts the worker accepts, and the reverse, but for a written list.

The comparison is on parsed values; what is lost in parsing is on that list as well.
"""

import copy
import json
import re
from calendar import monthrange
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from kmworker.decision import Refuse, decide
from kmworker.errors import Reason
from kmworker.events import Event, Unreadable, parse
from kmworker.schemas.examples import EVENTS
from tests.contract.schemas.drawing import EVENT_TYPES, events, spoilt
from tests.contract.schemas.validating import Schema, is_valid, schema_of, subschemas
from tests.unit.builders import SHIPPED

# The examples, with every optional field filled in.
FULL: dict[str, dict[str, Any]] = copy.deepcopy(EVENTS)
FULL["snapshot-taken"]["time"] = "2026-11-23T16:00:00.5+01:00"
FULL["snapshot-taken"]["data"] |= {"size_bytes": 1, "disposition": "reuse"}
FULL["replica-added"]["time"] = None
FULL["replica-added"]["data"] |= {
    "size_bytes": 1,
    "disposition": "reuse",
    "encryption": {"cipher": "aes-xts-plain64", "key_bits": 256},
}
FULL["replica-added"]["data"]["source"]["project_id"] = "swift-eu1"

# --- the exceptions that values can show, told apart without the worker's help ----------


def is_beyond_the_schema(event_type: str, event: dict[str, Any]) -> bool:
    """Whether the worker refuses a valid event for one of the reasons on the list."""
    read = known(schema_of(event_type), event)
    return (
        not exists(read.get("time"))
        or names_itself(read["data"])
        or is_from_a_foreign_partition(read["data"])
        or any(is_half_a_pair(value) or isinstance(value, float) for value in leaves(read))
    )


def known(schema: Schema, value: Any) -> Any:
    """A value without the fields that its schema does not name."""
    if not isinstance(value, dict):
        return value
    fields = schema["properties"]
    return {name: known(fields[name], inner) for name, inner in value.items() if name in fields}


def leaves(value: Any) -> list[Any]:
    if not isinstance(value, dict):
        return [value]
    return [leaf for inner in value.values() for leaf in leaves(inner)]


def names_itself(data: dict[str, Any]) -> bool:
    source = data.get("source") or {}
    return (
        source.get("kind") == "volume"
        and source["id"] == data.get("volume_id")
        and source.get("project_id") in {None, data["project_id"]}
    )


def is_from_a_foreign_partition(data: dict[str, Any]) -> bool:
    source = data.get("source") or {}
    return source.get("kind") == "partition" and source.get("project_id") not in {
        None,
        data["project_id"],
    }


def exists(time: str | None) -> bool:
    if time is None:
        return True
    year, month, day, hour, minute, second = (int(part) for part in re.findall("[0-9]+", time)[:6])
    offset = re.search("[+-]([0-9]{2}):([0-9]{2})$", time)
    return (
        year > 0
        and 1 <= month <= 12
        and 1 <= day <= monthrange(year, month)[1]
        and hour < 24
        and minute < 60
        and second <= 60
        and (offset is None or (int(offset[1]) < 24 and int(offset[2]) < 60))
    )


def is_half_a_pair(text: object) -> bool:
    return isinstance(text, str) and re.search("[\ud800-\udfff]", text) is not None


def taken(event_type: str, event: object) -> bool:
    result = parse(json.dumps(event).encode(), None, event_type)
    return isinstance(result, Event)


def assert_agreement(event_type: str, event: dict[str, Any]) -> bool:
    valid = is_valid(event_type, event)
    expected = valid and not is_beyond_the_schema(event_type, event)
    assert taken(event_type, event) == expected, event
    return valid


# --- by generation ----------------------------------------------------------------------


@pytest.mark.parametrize("event_type", EVENT_TYPES)
@given(data=st.data())
def test_the_worker_takes_what_is_drawn_from_the_schema(
    event_type: str, data: st.DataObject
) -> None:
    event = data.draw(events(event_type))
    assert assert_agreement(event_type, event)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
@settings(max_examples=500)
@given(data=st.data())
def test_schema_and_worker_agree_about_spoilt_events(event_type: str, data: st.DataObject) -> None:
    assert_agreement(event_type, data.draw(spoilt(FULL[event_type])))


# --- field by field, at the edges -------------------------------------------------------

FIELDS = [
    pytest.param(event_type, path, id=".".join((event_type, *path)))
    for event_type in EVENT_TYPES
    for path, _field in subschemas(schema_of(event_type))
    if path
]
MISSING = object()
ODD_LETTERS = [
    "\0", "\n", "\r", "\x1f", "\x7f", "\x80", "\x9f", "\xa0", "\u2028", "\u2029",
    "\ud800", "\udc00",
    "\ufeff", "\uffff", "😀", "é", "ß", "٣", " ", "~", "!", "/", ":", "@", "+", "_", ".", "-", ",",
    "\\", '"', "{", "T", "Z",
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
    + ["volume-created", "snapshot-taken", "replica-added", "key-assigned"]
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


def changed(event_type: str, path: tuple[str, ...], value: object) -> dict[str, Any]:
    event = copy.deepcopy(FULL[event_type])
    target = event
    for name in path[:-1]:
        target = target[name]
    if value is MISSING:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    return event


@pytest.mark.parametrize(("event_type", "path"), FIELDS)
def test_schema_and_worker_agree_about_every_field(event_type: str, path: tuple[str, ...]) -> None:
    verdicts = {assert_agreement(event_type, changed(event_type, path, value)) for value in VALUES}
    # One of the two alone would be no comparison; but only whole data is data.
    assert verdicts == ({False} if path == ("data",) else {True, False})


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_schema_and_worker_agree_about_names_that_nobody_knows(event_type: str) -> None:
    for path, field in subschemas(schema_of(event_type)):
        if "properties" in field:
            for name in ("", "x", "data2", "\ud800", "__class__", "model_config", "Id"):
                assert assert_agreement(event_type, changed(event_type, (*path, name), "x"))


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_schema_and_worker_agree_that_an_event_is_an_object(event_type: str) -> None:
    for value in (None, True, 1, "a", [], [FULL[event_type]]):
        assert not is_valid(event_type, value)
        assert not taken(event_type, value)


# --- the written list -------------------------------------------------------------------


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
INTEGER_WORDS = "an integer written with a fraction or an exponent (1.0), or of thousands of digits"
LINE_BREAK_WORDS = "a line break at the end of an id or a name, which validators in Python overlook"
UNLISTED_WORDS = "`encryption` without `key_bits` for a cipher that the policy does not list"
OPENED = BODY[:-1] + b', "x": '

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
    "twice": Beyond("the same name twice in one object", OPENED + b'1, "x": 1}'),
    "fraction": Beyond(INTEGER_WORDS, edited("volume-created", "data.size_bytes", 1.0)),
    "exponent": Beyond(INTEGER_WORDS, BODY.replace(b"10737418240", b"1e3")),
    "digits": Beyond(
        INTEGER_WORDS,
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


@pytest.mark.parametrize("event_type", ["volume-created", "replica-added"])
def test_an_unlisted_cipher_without_a_size_is_refused_where_the_policy_is_known(
    event_type: str,
) -> None:
    event = changed(event_type, ("data", "encryption"), {"cipher": "serpent-xts-plain64"})
    assert is_valid(event_type, event)
    read = parse(json.dumps(event).encode(), None, event_type)
    assert isinstance(read, Event)
    refusal = decide(read, None, None, SHIPPED)
    assert isinstance(refusal, Refuse)
    assert refusal.reason is Reason.MALFORMED
    assert UNLISTED_WORDS in listed(schema_of(event_type))


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_validators_in_python_overlook_a_line_break_at_the_end(event_type: str) -> None:
    event = changed(event_type, ("data", "project_id"), "2f1d\n")
    assert Draft7Validator(schema_of(event_type)).is_valid(event)
    assert not is_valid(event_type, event)
    assert not taken(event_type, event)
    assert LINE_BREAK_WORDS in listed(schema_of(event_type))


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_line_of_the_written_list_is_shown_here(event_type: str) -> None:
    shown = {beyond.words for beyond in EXCEPTIONS.values()} | {UNLISTED_WORDS, LINE_BREAK_WORDS}
    assert listed(schema_of(event_type)) <= shown


def listed(schema: Schema) -> set[str]:
    lines = schema["description"].split("\n")
    return {line[2:].rstrip(";.") for line in lines if line.startswith("- ")}
