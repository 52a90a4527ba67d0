"""What the worker sends is what its schemas say, to the last field."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kmworker.clock import rfc3339
from kmworker.domain.message import LEFT_OFF, Digest, Original
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
from kmworker.domain.policy import MAX_DEK_BITS
from kmworker.errors import Reason
from kmworker.wire.assignments import announce, encode_data
from kmworker.wire.events.definition import EVENT_TYPES
from kmworker.wire.schemas import asyncapi
from kmworker.wire.schemas.examples import ASSIGNED
from tests.contract.schemas.drawing import LETTERS, from_schema
from tests.kit.dead_letters import dead_letter_of
from tests.kit.published_schemas import Schema, complaints, schema_of

INCOMING = schema_of("replica-added")["properties"]
DATA = INCOMING["data"]["properties"]

# As wide as what the worker takes in: see tests/contract/schemas/test_agreement.py.
IDS = from_schema(DATA["replica_id"])
PROJECTS = from_schema(DATA["project_id"])
UUIDS = st.uuids().map(str)
MOMENTS = st.floats(0, 4e9).map(rfc3339)
SOURCES = from_schema(INCOMING["source"])
TEXTS = st.text(LETTERS, max_size=40) | st.sampled_from(["", "a" * 255, "a" * 256, "é" * 256])


def items(kinds: list[Kind]) -> st.SearchStrategy[Item]:
    return st.builds(Item, PROJECTS, st.sampled_from(kinds), IDS)


ASSIGNMENTS = st.builds(
    Assignment,
    item=items([kind for kind in Kind if kind is not Kind.IMAGE]),
    disposition=st.sampled_from(Disposition),
    key_id=st.none() | UUIDS,
    scope_id=st.none() | UUIDS,
    source=st.none() | items(list(Kind)),
    node=st.none() | from_schema(DATA["node"]),
    encryption=st.none()
    | st.builds(
        Encryption,
        from_schema(DATA["encryption"]["properties"]["cipher"]),
        st.integers(1, MAX_DEK_BITS // 8).map(lambda size_bytes: 8 * size_bytes),
    ),
    data_action=st.sampled_from(DataAction),
    reencrypt_from=st.none() | UUIDS,
    rule=st.from_regex(r"^(guard:)?[a-z0-9][a-z0-9-]{0,63}\Z"),
    cause=st.builds(Cause, from_schema(INCOMING["id"]), SOURCES, st.sampled_from(EVENT_TYPES)),
    assigned_at=MOMENTS,
)


LONGEST = Assignment(
    item=Item("p" * 128, Kind.PARTITION, "i" * 255),
    disposition=Disposition.CREATE,
    key_id="0f8e5c52-1d27-4c55-9b1e-6a1d7c1e9f01",
    scope_id="e2f411bc-ba5e-54c1-93fc-95111b808bab",
    source=Item("p" * 128, Kind.PARTITION, "i" * 255),
    node="é" * 255,
    encryption=Encryption("c" * 128, MAX_DEK_BITS),
    data_action=DataAction.REENCRYPT,
    reencrypt_from="0f8e5c52-1d27-4c55-9b1e-6a1d7c1e9f00",
    rule="r" * 64,
    cause=Cause("e" * 255, "😀" * 255, "snapshot-taken"),
    assigned_at=rfc3339(0),
)


def sent(assignment: Assignment, source: str) -> dict[str, Any]:
    held = Stored(assignment, encode_data(assignment))
    message: dict[str, Any] = json.loads(announce(held, source, "kmworker.assignments").body)
    return message


@given(ASSIGNMENTS, SOURCES)
@example(LONGEST, "😀" * 255)
def test_an_announcement_is_valid(assignment: Assignment, source: str) -> None:
    assert complaints(schema_of("key-assigned"), sent(assignment, source)) == []


@given(ASSIGNMENTS)
def test_an_announcement_has_the_fields_of_its_schema_and_no_others(assignment: Assignment) -> None:
    assert_same_fields(schema_of("key-assigned"), sent(assignment, "/kmworker"))


def assert_same_fields(schema: Schema, value: Any) -> None:
    """Every field is there, so every field is required: a reader need not ask."""
    if "properties" not in schema or value is None:
        return
    assert schema["properties"].keys() == value.keys() == set(schema["required"])
    for name, field in schema["properties"].items():
        assert_same_fields(field, value[name])


WRONG = [
    ("key_id", ""), ("key_id", "id-1"), ("scope_id", "id-1"), ("disposition", "merge"),
    ("data_action", "copy"), ("encryption", []), ("project_id", ""), ("rule", ""),
    ("item", {"kind": "image", "id": "a"}), ("assigned_at", "2026-11-23T16:00:00+01:00"),
    ("reencrypt_from", ""), ("source", {"kind": "volume", "id": "a"}), ("node", ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG, ids=str)
def test_what_the_worker_never_sends_is_not_valid(name: str, value: object) -> None:
    wrong = ASSIGNED | {"data": ASSIGNED["data"] | {name: value}}
    assert len(complaints(schema_of("key-assigned"), wrong)) == 1


# --- dead letters -----------------------------------------------------------------------


def headers_schema() -> Schema:
    schema: Schema = asyncapi()["components"]["schemas"]["dead-letter-headers"]
    return schema


def test_a_dead_letter_of_what_is_too_large_has_valid_headers() -> None:
    large = {"application_headers": {"x": "a" * 20_000}}
    original = Original(b"", "volume-created", large, Digest("ab" * 32, 5_000_000))
    dead = dead_letter_of(original, reason=Reason.MALFORMED, event_id="", event_type="unknown")
    headers = dead.properties["application_headers"]
    assert headers.keys() == headers_schema()["properties"].keys()
    assert complaints(headers_schema(), headers) == []


@given(st.sampled_from(Reason), TEXTS, TEXTS, TEXTS, st.integers(1, 100))
def test_a_dead_letters_headers_are_valid(
    reason: Reason, detail: str, event_id: str, routing_key: str, attempts: int
) -> None:
    message = dead_letter_of(
        Original(b"{}", routing_key, {}),
        reason=reason, detail=detail, event_id=event_id, attempts=attempts,
    )  # fmt: skip
    headers = message.properties["application_headers"]
    assert complaints(headers_schema(), headers) == []


def test_a_dead_letter_has_the_headers_of_its_schema_and_the_originals() -> None:
    original = Original(b"{}", "volume-created", {"application_headers": {"tenant": "2f1d"}})
    headers = dead_letter_of(original).properties["application_headers"]
    schema = headers_schema()
    assert headers.keys() - {"tenant"} == set(schema["required"])
    assert schema["properties"].keys() - set(schema["required"]) == {
        LEFT_OFF,
        "x-kmworker-body-sha256",
        "x-kmworker-body-bytes",
    }
    assert all("description" in field for field in schema["properties"].values())
