"""Small parts of the AsyncAPI document."""

from typing import Final

from kmworker.wire.properties import CLOUD_EVENT
from kmworker.wire.schemas.dialect import Schema

__all__ = [
    "amqp", "at", "cloud_event", "durable", "exchange", "in_channel", "named", "of_connection",
]  # fmt: skip

BINDING_VERSION: Final = "0.3.0"
CAUSE_ID: Final = "The `id` of the event that everything follows from."


def cloud_event(schema: Schema, example: Schema, correlation: str, means: str = CAUSE_ID) -> Schema:
    """Return the description of a message whose body is a CloudEvent."""
    name = schema["title"]
    return {
        "name": name,
        "title": name,
        "summary": schema["description"].partition("\n")[0],
        "contentType": CLOUD_EVENT,
        "correlationId": {
            "description": means,
            "location": at(correlation),
        },
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "bindings": amqp({"messageType": name}),
        "examples": [{"name": name, "payload": example}],
    }


def named(messages: list[str]) -> Schema:
    """Return references to the messages of a channel."""
    return {name: {"$ref": f"#/components/messages/{name}"} for name in messages}


def in_channel(channel: str, messages: list[str]) -> list[Schema]:
    """Return references to the messages of an operation."""
    return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages]


def at(path: str) -> str:
    """Return the runtime expression of a place in a payload."""
    return f"$message.payload#/{path}"


def exchange(name: str, kind: str = "topic") -> Schema:
    """Return the binding of a channel that is an exchange."""
    return amqp({"is": "routingKey", "exchange": {**durable(name), "type": kind}})


def durable(name: str) -> Schema:
    """Return the binding of what outlives a restart of the broker."""
    return {"name": name, "durable": True, "autoDelete": False}


def of_connection(name: str) -> Schema:
    """Return the binding of a queue that is its connection's alone, and ends with it."""
    return {"name": name, "durable": False, "exclusive": True, "autoDelete": False}


def amqp(binding: Schema) -> Schema:
    """Return a binding of AMQP 0-9-1."""
    return {"amqp": {**binding, "bindingVersion": BINDING_VERSION}}
