"""The AsyncAPI document: the broker's names and messages, from the worker's side.

`receive` and `send` are what the worker does; a producer sends what it receives. AMQP's
binding makes a channel either an exchange or a queue, so the events have one of each.
"""

from typing import Any, Final

from kmworker.errors import Reason
from kmworker.settings import BrokerSettings
from kmworker.wire.assignments import ASSIGNED_TYPE
from kmworker.wire.audit_records import AUDIT_TYPE
from kmworker.wire.dead_letters.headers import DeadLetterHeaders
from kmworker.wire.events.definition import EVENT_TYPES, EVENTS
from kmworker.wire.properties import CLOUD_EVENT, PERSISTENT
from kmworker.wire.releases import RELEASED_TYPE
from kmworker.wire.schemas.delegation_channels import (
    delegation_channels,
    delegation_headers,
    delegation_messages,
    delegation_operations,
)
from kmworker.wire.schemas.dialect import Schema, schema_of
from kmworker.wire.schemas.examples import ASSIGNED, CHANGED, DEAD, RECORDED, RELEASED
from kmworker.wire.schemas.messages import schemas_by_type
from kmworker.wire.schemas.parts import amqp, at, cloud_event, durable, exchange, in_channel, named
from kmworker.wire.topology import Topology

__all__ = ["asyncapi"]

ASYNCAPI_VERSION: Final = "3.0.0"

ABOUT: Final = """\
Gives every encrypted volume, snapshot and replica its key. Storage services publish an event
when an item comes to be, and when it is gone; the worker answers with the key-id that the item
is to use, or uses no more. Hosts that need a key ask key servers for it. Key material is in none
of the messages, but sealed to such a host.

Bodies are CloudEvents 1.0 in structured JSON mode, UTF-8, at most 64 KiB. `id` and `source`
identify an event. Delivery is at least once and in any order; the effect is exactly once for
each item. Publish when the item's record exists and before the first byte is written, and
write nothing until `key-assigned` arrives.

All names start with the setting `broker.namespace`; shown is its default."""

ANNOUNCED: Final = {ASSIGNED_TYPE: ASSIGNED, RELEASED_TYPE: RELEASED}
TOPOLOGY: Final = Topology(BrokerSettings().namespace)


def asyncapi() -> dict[str, Any]:
    """Return the document, in the order that it is read in."""
    schemas = schemas_by_type()
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "id": "urn:kmworker",
        "info": {
            "title": "kmworker",
            "version": "1",
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": CLOUD_EVENT,
        "servers": _servers(),
        "channels": _channels(schemas),
        "operations": _operations(),
        "components": {
            "messages": _messages(schemas),
            "schemas": {
                **schemas,
                "dead-letter-headers": schema_of(DeadLetterHeaders),
                **delegation_headers(),
            },
            "securitySchemes": {"user": {"type": "userPassword"}},
        },
    }


def _servers() -> Schema:
    return {
        "broker": {
            "host": "localhost:5672",
            "protocol": "amqp",
            "protocolVersion": "0.9.1",
            "description": "RabbitMQ, at the setting `broker.url`; `amqps` with TLS.",
            "security": [{"$ref": "#/components/securitySchemes/user"}],
        }
    }


# --- channels and operations ----------------------------------------------------------


def _channels(schemas: Schema) -> Schema:
    types = list(EVENT_TYPES)
    kind = schemas["key-assigned"]["properties"]["data"]["properties"]["item"]["properties"]["kind"]
    return {
        "events": {
            "address": "{type}",
            "title": "Where producers publish",
            "description": "Publish persistent, with confirms and `mandatory`.",
            "messages": named(types),
            "parameters": {
                "type": {"description": "The event's type.", "enum": types, "location": at("type")}
            },
            "bindings": exchange(TOPOLOGY.events),
        },
        "work": {
            "address": TOPOLOGY.work,
            "title": "What the workers compete on",
            "description": f"A quorum queue, bound to `{TOPOLOGY.events}` with `#`.",
            "messages": named(types),
            "bindings": amqp({"is": "queue", "queue": durable(TOPOLOGY.work)}),
        },
        "assignments": {
            "address": "{type}.{kind}.{project}",
            "title": "What subscribers bind their queues to",
            "description": (
                "Subscribers declare and bind queues of their own, without"
                " `overflow=reject-publish`. The project comes last: it may contain dots."
            ),
            "messages": named(list(ANNOUNCED)),
            "parameters": {
                "type": {
                    "description": "What happened.",
                    "enum": list(ANNOUNCED),
                    "location": at("type"),
                },
                "kind": {
                    "description": "The item's kind.",
                    "enum": kind["enum"],
                    "location": at("data/item/kind"),
                },
                "project": {
                    "description": "The item's project.",
                    "location": at("data/project_id"),
                },
            },
            "bindings": exchange(TOPOLOGY.assignments),
        },
        "keys": {
            "address": "{type}.{project}",
            "title": "What becomes of key-ids",
            "description": (
                "Subscribers bind queues of their own, as for assignments."
                " The project comes last: it may contain dots."
            ),
            "messages": named(list(CHANGED)),
            "parameters": {
                "type": {
                    "description": "What happened.",
                    "enum": list(CHANGED),
                    "location": at("type"),
                },
                "project": {
                    "description": "The key-id's project.",
                    "location": at("data/project_id"),
                },
            },
            "bindings": exchange(TOPOLOGY.keys),
        },
        "dead": {
            "address": "{reason}.{type}",
            "title": "What could not be processed",
            "description": (
                f"The quorum queue `{TOPOLOGY.dead}` is bound with `#`. A producer that wants to"
                " know of refusals binds a queue of its own."
            ),
            "messages": named(["dead-letter"]),
            "parameters": {
                "reason": {
                    "description": "Why.",
                    "enum": [reason.value for reason in Reason],
                    "location": "$message.header#/x-kmworker-reason",
                },
                "type": {
                    "description": "The event's type, or `unknown`.",
                    "location": "$message.header#/x-kmworker-event-type",
                },
            },
            "bindings": exchange(TOPOLOGY.dead),
        },
        **delegation_channels(),
        "audit": {
            "address": "record.{what}.{project}",
            "title": "What goes into the audit trail",
            "description": (
                f"The quorum queue `{TOPOLOGY.audit}` is bound with `record.#`, and read by the"
                " auditor alone; its checkpoints have the routing key `checkpoint`. Without a"
                " project, the key ends before it."
            ),
            "messages": named([AUDIT_TYPE]),
            "parameters": {
                "what": {"description": "What was done, or refused.", "location": at("data/what")},
                "project": {"description": "Whose.", "location": at("data/project_id")},
            },
            "bindings": exchange(TOPOLOGY.audit),
        },
    }


def _operations() -> Schema:
    sent = amqp({"deliveryMode": PERSISTENT, "mandatory": True})
    return {
        "receiveEvents": {
            "action": "receive",
            "channel": {"$ref": "#/channels/work"},
            "summary": "Take events; acknowledge them when their outcome is on disk and confirmed.",
            "messages": in_channel("work", list(EVENT_TYPES)),
            "bindings": amqp({"ack": True}),
        },
        "sendAssignments": {
            "action": "send",
            "channel": {"$ref": "#/channels/assignments"},
            "summary": "Announce an item's key-id, or its end, once the record of it is on disk.",
            "messages": in_channel("assignments", list(ANNOUNCED)),
            "bindings": sent,
        },
        "sendKeyChanges": {
            "action": "send",
            "channel": {"$ref": "#/channels/keys"},
            "summary": "Say what has become of a key-id, once the record of it is on disk.",
            "messages": in_channel("keys", list(CHANGED)),
            "bindings": sent,
        },
        "sendDeadLetters": {
            "action": "send",
            "channel": {"$ref": "#/channels/dead"},
            "summary": "Put aside an event that cannot be processed, at least once.",
            "messages": in_channel("dead", ["dead-letter"]),
            "bindings": sent,
        },
        **delegation_operations(),
        "sendAuditRecords": {
            "action": "send",
            "channel": {"$ref": "#/channels/audit"},
            "summary": "Record an act, before what it is about leaves.",
            "messages": in_channel("audit", [AUDIT_TYPE]),
            "bindings": sent,
        },
    }


# --- messages and schemas -------------------------------------------------------------


def _messages(schemas: Schema) -> Schema:
    events = {
        name: cloud_event(schemas[name], event.example, correlation="id")
        for name, event in EVENTS.items()
    }
    announced = {
        name: cloud_event(schemas[name], example, correlation="data/cause/id")
        for name, example in ANNOUNCED.items()
    }
    announced |= {
        name: cloud_event(schemas[name], example, "data/key_id", "The key-id.")
        for name, example in CHANGED.items()
    }
    announced[AUDIT_TYPE] = cloud_event(
        schemas[AUDIT_TYPE], RECORDED, "data/request", "The request that it answers."
    )
    return events | {
        **announced,
        "dead-letter": _dead_letter(),
        **delegation_messages(schemas),
    }


def _dead_letter() -> Schema:
    return {
        "name": "dead-letter",
        "title": "dead-letter",
        "summary": "An event that could not be processed, with the reason in its headers.",
        "description": (
            "Body and properties are the original's, whatever they were. `message_id` is a digest"
            " of the body, so that repeats can be told."
        ),
        "correlationId": {
            "description": "The event's `id`.",
            "location": "$message.header#/x-kmworker-event-id",
        },
        "headers": {"$ref": "#/components/schemas/dead-letter-headers"},
        "payload": {"description": "The original's body: any bytes, perhaps not JSON."},
        "examples": [
            {
                "name": "source-missing",
                "headers": DEAD.properties["application_headers"],
                "payload": EVENTS["snapshot-taken"].example,
            }
        ],
    }
