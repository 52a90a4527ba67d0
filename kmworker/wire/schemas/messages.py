"""One schema for each type of message; the events' say where the worker is stricter."""

from collections.abc import Container
from typing import Final

from kmworker.docstrings import descriptions
from kmworker.wire.assignments import ASSIGNED_TYPE, KeyAssigned
from kmworker.wire.audit_records import AUDIT_TYPE, AuditRecordedMessage
from kmworker.wire.events.definition import EVENTS, Envelope, data_of
from kmworker.wire.events.lifecycle import LifecycleEvent
from kmworker.wire.key_changes import SAID, KeyChangedMessage
from kmworker.wire.releases import RELEASED_TYPE, KeyReleasedMessage
from kmworker.wire.requests.definition import REQUESTS
from kmworker.wire.schemas.delegation import (
    ANSWERS,
    DOCUMENTS,
    answer_schemas,
    document_schemas,
    request_schemas,
)
from kmworker.wire.schemas.dialect import DIALECT, Schema, schema_of
from kmworker.wire.schemas.examples import ASSIGNED, CHANGED, RECORDED, RELEASED

__all__ = ["json_schemas", "schemas_by_type"]

VERSION: Final = "v1"

OPEN: Final = (
    "Unknown attributes beside `data` are ignored, unknown fields within it refused, and null "
    "counts as absent"
)
BEYOND: Final = "Beyond this schema, the worker refuses:"
# Most are lost when a body becomes a value; the others compare two places.
ALWAYS_REFUSED: Final = (
    "a body of more than 64 KiB, not in UTF-8, or nested too deeply to be read",
    "the same name twice in one object",
    "an integer of thousands of digits",
    "`extra` of more than 4 KiB as compact JSON in UTF-8",
    "half a surrogate pair in a text",
    "a time that does not exist, such as the 30th of February",
    "a line break at the end of an id or a name, which validators in Python overlook",
    "a routing key that differs from `type`",
)


def json_schemas() -> dict[str, Schema]:
    """Return each message's and each document's schema by the name of its file."""
    examples = {name: it.example for name, it in EVENTS.items()} | {
        ASSIGNED_TYPE: ASSIGNED,
        RELEASED_TYPE: RELEASED,
        AUDIT_TYPE: RECORDED,
        **CHANGED,
        **{name: it.example for name, it in REQUESTS.items()},
        **ANSWERS,
        **{name: example for name, (_document, example) in DOCUMENTS.items()},
    }
    documents = {name: {"title": name, **it} for name, it in document_schemas().items()}
    return {
        f"{name}.{VERSION}.json": {
            "$schema": DIALECT,
            "$id": f"urn:kmworker:schemas:{name}.{VERSION}",
            **schema,
            "examples": [examples[name]],
        }
        for name, schema in (schemas_by_type() | documents).items()
    }


def schemas_by_type() -> dict[str, Schema]:
    """Return what the files and the AsyncAPI document have in common, by the type's name."""
    schemas = {name: _event(event) for name, event in EVENTS.items()}
    schemas[ASSIGNED_TYPE] = schema_of(KeyAssigned)
    schemas[RELEASED_TYPE] = schema_of(KeyReleasedMessage)
    schemas |= {name: _key_event(name) for name in SAID}
    schemas |= request_schemas() | answer_schemas()
    schemas[AUDIT_TYPE] = schema_of(AuditRecordedMessage)
    return {name: {"title": name, **schema} for name, schema in schemas.items()}


def _event(event: type[LifecycleEvent]) -> Schema:
    """Put one type's data into the envelope."""
    envelope = schema_of(Envelope)
    data = schema_of(data_of(event))
    said = descriptions(event)
    data["properties"] = {
        name: _saying(said[name], field) for name, field in data["properties"].items()
    }
    properties = envelope["properties"] | {
        "data": _saying("The fields of this type of event.", data)
    }
    return {
        "description": _described(event, data["properties"]),
        "type": "object",
        "required": [*envelope["required"], "data"],
        "properties": _typed(properties, event.type),
    }


def _key_event(name: str) -> Schema:
    """Return the schema of one type of what is said of key-ids."""
    schema = schema_of(KeyChangedMessage)
    description = f"{SAID[name]}\n\n{schema['description'].partition(chr(10) * 2)[2]}"
    return {**schema, "description": description, "properties": _typed(schema["properties"], name)}


def _typed(properties: Schema, name: str) -> Schema:
    """Fix the type of a message."""
    kept = properties["type"]["description"]
    return properties | {"type": {"description": kept, "type": "string", "const": name}}


def _saying(description: str, schema: Schema) -> Schema:
    """Put a description first, in place of its own."""
    return {"description": description} | schema | {"description": description}


def _described(event: type[LifecycleEvent], fields: Container[str]) -> str:
    # Null and absence differ in one place only, and only where that field is.
    exception = ", except in `encryption`" if "encryption" in fields else ""
    refusals = (*ALWAYS_REFUSED, *event.also_refused)
    items = ";\n".join(f"- {refusal}" for refusal in refusals)
    return f"{event.__doc__}\n\n{OPEN}{exception}. {BEYOND}\n\n{items}."
