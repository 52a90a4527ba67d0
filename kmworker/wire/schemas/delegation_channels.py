"""The part of the AsyncAPI document that is between clients and key servers.

AMQP's bindings have no place for most properties of a message: which there have to be, the
descriptions of the messages say.
"""

from base64 import b64encode
from typing import Final

from kmworker.settings import BrokerSettings
from kmworker.wire.answers.messages import DELIVERED, REFUSED, REVOKED
from kmworker.wire.fields import BASE64
from kmworker.wire.properties import TRANSIENT
from kmworker.wire.requests.definition import REQUEST_TYPES, REQUESTS
from kmworker.wire.schemas.delegation import ANSWERS
from kmworker.wire.schemas.dialect import Schema
from kmworker.wire.schemas.parts import (
    amqp,
    at,
    cloud_event,
    exchange,
    in_channel,
    named,
    of_connection,
)
from kmworker.wire.topology import OWN_QUEUES, Topology

__all__ = [
    "SIGNED_HEADERS", "delegation_channels", "delegation_headers", "delegation_messages",
    "delegation_operations",
]  # fmt: skip

TOPOLOGY: Final = Topology(BrokerSettings().namespace)
ANSWER_TYPES: Final = (DELIVERED, REFUSED, REVOKED)

SIGNATURE: Final = "x-kmworker-signature"
SIGNATURE_LENGTH: Final = 88
SIGNED_HEADERS: Final = "signed-headers"
EXAMPLE_HEADERS: Final[Schema] = {SIGNATURE: b64encode(bytes(range(64))).decode()}
ASKED_WITH: Final = """\
Three AMQP properties are looked at, and what lacks one of them is not answered: `user_id`, the
client's name; the header `x-kmworker-signature`; and `reply_to`, which is
`amq.rabbitmq.reply-to` where `data.reply_to` says so. The others are for whoever looks at the
broker: `content_type`, `type`, `message_id` (the `id`), `delivery_mode` 1, and an `expiration`
of 30,000 ms, for nobody waits for longer."""
ANSWERED_WITH: Final = """\
AMQP properties: `correlation_id` (the request's `id`), `message_id` (this message's), `type`,
`content_type`, `app_id` (`kmworker`), `delivery_mode` 1, `expiration` 30,000 ms, and the header
`x-kmworker-signature`. Believe none of them but by the signature, which is of the body."""
REVOKED_WITH: Final = """\
AMQP properties: `message_id` (this message's), `type`, `content_type`, `app_id` (`kmworker`),
`delivery_mode` 1, and the header `x-kmworker-signature`; no `correlation_id`, for it answers
nothing, and no `expiration`. Believe none of them but by the signature, which is of the body."""
SAID_OF: Final = {DELIVERED: ANSWERED_WITH, REFUSED: ANSWERED_WITH, REVOKED: REVOKED_WITH}


def delegation_channels() -> Schema:
    """Return where clients ask, and where they are answered."""
    own_queue = f"{TOPOLOGY.namespace}.clients.{{client}}/{{place}}"
    return {
        "requests": {
            "address": "{type}",
            "title": "Where clients ask for keys",
            "description": (
                "Publish with the client's own user in `user_id`, the header"
                " `x-kmworker-signature`, and `mandatory`. The quorum queue"
                f" `{TOPOLOGY.requests}` is bound with each type."
            ),
            "messages": named(list(REQUEST_TYPES)),
            "parameters": {
                "type": {
                    "description": "The request's type.",
                    "enum": list(REQUEST_TYPES),
                    "location": at("type"),
                }
            },
            "bindings": exchange(TOPOLOGY.requests, "direct"),
        },
        "answers": {
            "address": own_queue,
            "title": "Where clients are answered",
            "description": (
                "A client's own queues, of which each of its processes may declare one, for its"
                " connection alone. Answers to a request go where it says: to one of them, or to"
                " the broker's direct reply-to. `key-revoked` comes to all."
            ),
            "messages": named(list(ANSWER_TYPES)),
            "parameters": {
                "client": {"description": "The client's name."},
                "place": {
                    "description": "Which of its queues.",
                    "enum": [str(place) for place in range(OWN_QUEUES)],
                },
            },
            "bindings": amqp({"is": "queue", "queue": of_connection(own_queue)}),
        },
    }


def delegation_operations() -> Schema:
    """Return what key servers do."""
    return {
        "receiveRequests": {
            "action": "receive",
            "channel": {"$ref": "#/channels/requests"},
            "summary": "Take requests; nothing is answered before the signature holds.",
            "messages": in_channel("requests", list(REQUEST_TYPES)),
            "bindings": amqp({"ack": True}),
        },
        "sendAnswers": {
            "action": "send",
            "channel": {"$ref": "#/channels/answers"},
            "summary": "Answer a client, signed by a key of the trust list that goes with it.",
            "messages": in_channel("answers", list(ANSWER_TYPES)),
            "bindings": amqp({"deliveryMode": TRANSIENT}),
        },
    }


def delegation_headers() -> dict[str, Schema]:
    """Return the schema of the headers of all that is signed, by its name."""
    signature = {
        "description": "Ed25519, 64 bytes in base64 with padding, over what it is for and the"
        " SHA-256 of the body: docs/delegation-protocol.md.",
        "type": "string",
        "pattern": BASE64,
        "minLength": SIGNATURE_LENGTH,
        "maxLength": SIGNATURE_LENGTH,
    }
    described = {
        "description": "Whose message it is; what it says is in the body alone.",
        "type": "object",
        "required": [SIGNATURE],
        "properties": {SIGNATURE: signature},
    }
    return {SIGNED_HEADERS: described}


def delegation_messages(schemas: Schema) -> Schema:
    """Return the messages of both."""
    asked = {
        name: _signed(
            cloud_event(schemas[name], it.example, "id", "The request's `id`."), ASKED_WITH
        )
        for name, it in REQUESTS.items()
    }
    about = {
        DELIVERED: ("data/request_id", "The request's `id`."),
        REFUSED: ("data/request_id", "The request's `id`."),
        REVOKED: ("data/key_id", "The key-id."),
    }
    answered = {
        name: _signed(cloud_event(schemas[name], ANSWERS[name], where, means), SAID_OF[name])
        for name, (where, means) in about.items()
    }
    return asked | answered


def _signed(message: Schema, properties: str) -> Schema:
    """Add what stands beside the body."""
    return message | {
        "description": properties,
        "headers": {"$ref": f"#/components/schemas/{SIGNED_HEADERS}"},
        "examples": [it | {"headers": EXAMPLE_HEADERS} for it in message["examples"]],
    }
