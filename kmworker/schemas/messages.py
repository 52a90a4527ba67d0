"""One schema for each type of message; the events' say where the worker is stricter."""

from typing import Any, Final

from kmworker.events.wire import EVENT_TYPES, Envelope
from kmworker.schemas.dialect import DIALECT, Schema, schema_of
from kmworker.schemas.examples import ASSIGNED, EVENTS
from kmworker.schemas.outgoing import KeyAssigned

__all__ = ["json_schemas", "schemas_by_type"]

VERSION: Final = "v1"

OPEN: Final = "Unknown fields are ignored, and null counts as absent"
BEYOND: Final = "Beyond this schema, the worker refuses:"
# Most are lost when a body becomes a value; the others compare two places.
ALWAYS_REFUSED: Final = (
    "a body of more than 64 KiB, not in UTF-8, or nested too deeply to be read",
    "the same name twice in one object",
    "an integer written with a fraction or an exponent (1.0), or of thousands of digits",
    "half a surrogate pair in a text",
    "a time that does not exist, such as the 30th of February",
    "a line break at the end of an id or a name, which validators in Python overlook",
    "a routing key that differs from `type`",
)
ALSO_REFUSED: Final = {
    "volume-created": (
        "a volume that names itself as its source",
        "`encryption` without `key_bits` for a cipher that the policy does not list",
    ),
    "snapshot-taken": (),
    "replica-added": (
        "a source that is a partition of another project",
        "`encryption` without `key_bits` for a cipher that the policy does not list",
    ),
}


def json_schemas() -> dict[str, Schema]:
    """Return each message's schema by the name of its file."""
    examples = EVENTS | {"key-assigned": ASSIGNED}
    return {
        f"{name}.{VERSION}.json": {
            "$schema": DIALECT,
            "$id": f"urn:kmworker:schemas:{name}.{VERSION}",
            **schema,
            "examples": [examples[name]],
        }
        for name, schema in schemas_by_type().items()
    }


def schemas_by_type() -> dict[str, Schema]:
    """Return what the files and the AsyncAPI document have in common, by the type's name."""
    schemas = {event_type: _event(event_type) for event_type in EVENT_TYPES}
    schemas["key-assigned"] = schema_of(KeyAssigned)
    return {name: {"title": name, **schema} for name, schema in schemas.items()}


def _event(event_type: str) -> Schema:
    """Put one type's data into the envelope."""
    envelope = schema_of(Envelope)
    data = schema_of(EVENT_TYPES[event_type])
    properties: dict[str, Any] = envelope["properties"]
    properties["type"] = {
        "description": properties["type"]["description"],
        "type": "string",
        "const": event_type,
    }
    return {
        "description": _described(event_type, data["description"]),
        "type": "object",
        "required": [*envelope["required"], "data"],
        "properties": properties
        | {"data": data | {"description": "The fields of this type of event."}},
    }


def _described(event_type: str, meaning: str) -> str:
    # Null and absence differ in one place only, and only where that field is.
    exception = ", except in `encryption`" if ALSO_REFUSED[event_type] else ""
    refusals = ALWAYS_REFUSED + ALSO_REFUSED[event_type]
    items = ";\n".join(f"- {refusal}" for refusal in refusals)
    return f"{meaning}\n\n{OPEN}{exception}. {BEYOND}\n\n{items}."
