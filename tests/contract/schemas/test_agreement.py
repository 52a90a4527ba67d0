"""What an event's schema accepts the worker accepts, and the reverse, but for a written list.

The comparison is on parsed values. The list is in the schemas; `test_exceptions.py` shows it.
"""

import re
from calendar import monthrange
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmworker.wire.events.definition import EVENT_TYPES
from tests.contract.schemas.drawing import events, spoilt
from tests.contract.schemas.edges import FULL, VALUES, changed
from tests.kit.published_schemas import Schema, is_taken, is_valid, schema_of, subschemas

# --- the exceptions that values can show, told apart without the worker's help ----------


def is_beyond_the_schema(event_type: str, event: dict[str, Any]) -> bool:
    """Whether the worker refuses a valid event for one of the reasons on the list."""
    read = known(schema_of(event_type), event)
    return (
        not exists(read.get("time"))
        or not exists(read["data"].get("expires_at"))
        or names_itself(read["data"])
        or is_of_a_foreign_source(read["data"])
        or shares_nothing(read["data"])
        or names_a_life_of_nothing(event_type, read["data"])
        or (event_type == "snapshot-taken" and not names_one_source(read["data"]))
        or any(is_half_a_pair(value) for value in leaves(read))
    )


def known(schema: Schema, value: Any) -> Any:
    """A value without the fields that its schema does not name."""
    if not isinstance(value, dict):
        return value
    # What is in the notes is nobody's concern.
    fields = schema.get("properties", {})
    return {name: known(fields[name], inner) for name, inner in value.items() if name in fields}


def leaves(value: Any) -> list[Any]:
    if not isinstance(value, dict):
        return [value]
    return [leaf for inner in value.values() for leaf in leaves(inner)]


def names_itself(data: dict[str, Any]) -> bool:
    source = data.get("source") or {}
    return (
        source.get("kind") in {"volume", "replica"}
        and source["id"] == data.get(f"{source['kind']}_id")
        and source.get("project_id") in {None, data["project_id"]}
    )


def is_of_a_foreign_source(data: dict[str, Any]) -> bool:
    """Whether a partition's replica or a snapshot names another project's source."""
    source = data.get("source") or {}
    is_own = source.get("project_id") in {None, data["project_id"]}
    return not is_own and (source["kind"] == "partition" or "snapshot_id" in data)


def shares_nothing(data: dict[str, Any]) -> bool:
    return data.get("copy") is not None and data.get("source") is None


def names_a_life_of_nothing(event_type: str, data: dict[str, Any]) -> bool:
    """Whether it says which life of a source is meant that it does not name, or has one life."""
    generation, source = data.get("source_generation"), data.get("source")
    if event_type == "volume-created" and source is None:
        return generation is not None
    is_of_a_partition = source is not None and source["kind"] == "partition"
    return is_of_a_partition and bool(generation)


def names_one_source(data: dict[str, Any]) -> bool:
    return (data.get("volume_id") is None) != (data.get("source") is None)


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


def assert_agreement(event_type: str, event: dict[str, Any]) -> bool:
    valid = is_valid(event_type, event)
    expected = valid and not is_beyond_the_schema(event_type, event)
    assert is_taken(event_type, event) == expected, event
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
@settings(max_examples=250)
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


@pytest.mark.parametrize(("event_type", "path"), FIELDS)
def test_schema_and_worker_agree_about_every_field(event_type: str, path: tuple[str, ...]) -> None:
    verdicts = {assert_agreement(event_type, changed(event_type, path, value)) for value in VALUES}
    # One of the two alone would be no comparison; but only whole data is data.
    assert verdicts == ({False} if path == ("data",) else {True, False})


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_schema_and_worker_agree_about_names_that_nobody_knows(event_type: str) -> None:
    for path, field in subschemas(schema_of(event_type)):
        if "properties" in field and path[-1:] != ("source",):
            for name in ("", "x", "data2", "\ud800", "__class__", "model_config", "Id"):
                is_taken_there = assert_agreement(
                    event_type, changed(event_type, (*path, name), "x")
                )
                assert is_taken_there == (path == ())


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_schema_and_worker_agree_that_an_event_is_an_object(event_type: str) -> None:
    for value in (None, True, 1, "a", [], [FULL[event_type]]):
        assert not is_valid(event_type, value)
        assert not is_taken(event_type, value)
