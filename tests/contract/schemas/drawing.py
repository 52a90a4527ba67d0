"""Messages drawn from their schemas, and messages spoilt in one or a few places.

`from_schema` knows only the keywords that the published schemas use; the library that
does it for any schema was last released in 2024 and warns of its own end.
"""

import copy
from collections.abc import Iterator
from datetime import UTC, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from tests.kit.published_schemas import Schema, schema_of

# Any text that has an encoding; where half a surrogate pair matters it is asked for.
LETTERS = st.characters(codec="utf-8")
NAMES = st.text(LETTERS, max_size=8)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
# Half of them right somewhere, and most of the rest nearly.
PLAUSIBLE: st.SearchStrategy[Any] = st.sampled_from([
    None, True, False, 0, 1, -1, 1.0, 1.5, 512, 2**63 - 1, 2**63, float(2**63), [], {}, [{}],
    "", "a", "a\n", " a", "1.0", "1", "é", "\ud800", "a\x1f", "a\x7f", "a\u2028", "a" * 128,
    "a" * 129, "a" * 255, "a" * 256, "😀" * 255, "volume", "snapshot", "replica", "partition",
    "image", "create", "none", "block", "volume-created", "snapshot-taken", "replica-added",
    "2026-02-28T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-23t16:00:60.5+23:59",
    "2026-11-23T24:00:00Z", "0000-01-01T00:00:00Z", "2026-11-23T16:00:00+24:00",
    {"kind": "volume", "id": "a"}, {"kind": "partition", "id": "a", "project_id": "b"},
    {"cipher": "a"}, {"cipher": "a", "key_bits": 8.0}, {"cipher": "a", "key_bits": None},
])  # fmt: skip


def real_times() -> st.SearchStrategy[str]:
    """Moments that exist, in the ways that RFC 3339 has of writing them."""
    zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
    written = st.datetimes(timezones=zones | st.just(UTC)).map(lambda moment: moment.isoformat())
    return written | written.map(lambda text: text[:17] + "60Z") | written.map(str.lower)


def from_schema(schema: Schema, path: str = "") -> st.SearchStrategy[Any]:
    """Values that a published schema accepts; times exist, as few random ones would."""
    if path == ".time":
        return st.none() | real_times()
    if "volume_id" in schema.get("properties", {}) and "volume_id" not in schema["required"]:
        return _with_one_source(schema, path)
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return st.one_of([_of_type(name, schema, path) for name in types])


def _with_one_source(schema: Schema, path: str) -> st.SearchStrategy[Any]:
    """A snapshot's data: it names its source by `volume_id` or `source`; the other may be null."""

    def forced(name: str, other: str) -> Schema:
        field = schema["properties"][name]
        narrowed = field | {"type": [it for it in field["type"] if it != "null"]}
        properties = schema["properties"] | {name: narrowed, other: {"type": "null"}}
        return schema | {"properties": properties, "required": [*schema["required"], name]}

    named = ("volume_id", "source")
    return st.one_of([_of_type("object", forced(*pair), path) for pair in (named, named[::-1])])


def _of_type(name: str, schema: Schema, path: str) -> st.SearchStrategy[Any]:
    if name == "null":
        return st.none()
    if name == "integer":
        low, high = schema["minimum"], schema["maximum"]
        # JSON Schema, too, takes 1.0 for a whole number.
        floats = st.integers(low, min(high, 2**53)).map(float)
        return st.integers(low, high) | st.sampled_from([low, high]) | floats
    if name == "string":
        return _texts(schema)
    assert name == "object"
    if "properties" not in schema:
        return st.dictionaries(NAMES, JSON_VALUES, max_size=3)
    fields = {
        key: from_schema(field, f"{path}.{key}") for key, field in schema["properties"].items()
    }
    known = st.fixed_dictionaries(
        {key: fields[key] for key in schema["required"]},
        optional={key: fields[key] for key in fields.keys() - set(schema["required"])},
    )
    if schema.get("additionalProperties") is False:
        return known
    unknown = st.dictionaries(NAMES.filter(lambda key: key not in fields), JSON_VALUES, max_size=2)
    return st.tuples(unknown, known).map(lambda both: both[0] | both[1])


def _texts(schema: Schema) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        return st.from_regex(schema["pattern"][:-1] + r"\Z")
    return st.text(LETTERS, min_size=schema["minLength"], max_size=schema["maxLength"])


def events(event_type: str) -> st.SearchStrategy[dict[str, Any]]:
    """Events of a type that its schema accepts."""
    return from_schema(schema_of(event_type))


@st.composite
def spoilt(draw: st.DrawFn, valid: dict[str, Any]) -> dict[str, Any]:
    """An event with one to three fields gone, replaced or added, at any depth."""
    event = copy.deepcopy(valid)
    names = sorted(names_in(schema_of(valid["type"])))
    for _ in range(draw(st.integers(1, 3))):
        target = draw(st.sampled_from(list(objects_in(event))))
        name = draw(st.sampled_from(sorted(target) or names) | st.sampled_from(names) | NAMES)
        if name in target and draw(st.booleans()):
            del target[name]
        else:
            # A copy: what is drawn may be spoilt next.
            target[name] = copy.deepcopy(draw(PLAUSIBLE | JSON_VALUES))
    return event


def names_in(schema: Schema) -> Iterator[str]:
    """The names of all fields in a schema."""
    for name, field in schema.get("properties", {}).items():
        yield name
        yield from names_in(field)


def objects_in(value: object) -> Iterator[dict[str, Any]]:
    """A value's objects, the value itself included."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from objects_in(inner)
