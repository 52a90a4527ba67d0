"""Schemas as a program of another language would apply them."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from jsonschema import Draft7Validator, ValidationError
from jsonschema.validators import extend

from kmworker.domain.event import Unreadable
from kmworker.wire.events.reading import parse
from kmworker.wire.schemas import json_schemas

Schema = dict[str, Any]

PYTHONS_END = r"\Z"


def _pattern(
    validator: Any, pattern: str, instance: object, schema: object
) -> Iterator[ValidationError]:
    """Match as ECMA 262 does: to Python, `$` is also before a line break at the end."""
    assert pattern.endswith("$")
    if isinstance(instance, str) and not re.search(pattern[:-1] + PYTHONS_END, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


EcmaValidator = extend(Draft7Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


@cache
def schema_of(message: str) -> Schema:
    """The published schema of a message."""
    return json_schemas()[f"{message}.v1.json"]


def is_valid(message: str, value: object) -> bool:
    """Whether the published schema accepts a message."""
    return bool(_validator(message).is_valid(value))


def is_taken(event_type: str, event: object) -> bool:
    """Whether the worker takes an event, once it is written as JSON; or else can say why not."""
    found = parse(json.dumps(event).encode(), None, event_type)
    if not isinstance(found, Unreadable):
        return True
    assert re.fullmatch(r"[ -~]{1,255}", found.detail), found
    return False


def complaints(schema: Schema, value: object) -> list[str]:
    """What a schema has against a value, with the places."""
    found = EcmaValidator(schema).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in found]


@cache
def _validator(message: str) -> Any:
    return EcmaValidator(schema_of(message))


def subschemas(
    schema: Schema, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Schema]]:
    """A schema and, with their places in a message, all schemas in it."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from subschemas(field, (*path, name))
