"""The part of the AsyncAPI document that is between clients and key servers."""

from typing import Final

from kmworker.settings import BrokerSettings
from kmworker.wire.answers.messages import DELIVERED, REFUSED, REVOKED
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

__all__ = ["delegation_channels", "delegation_messages", "delegation_operations"]

TOPOLOGY: Final = Topology(BrokerSettings().namespace)
ANSWER_TYPES: Final = (DELIVERED, REFUSED, REVOKED)


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
        },
    }


def delegation_messages(schemas: Schema) -> Schema:
    """Return the messages of both."""
    asked = {
        name: cloud_event(schemas[name], it.example, "id", "The request's `id`.")
        for name, it in REQUESTS.items()
    }
    about = {
        DELIVERED: ("data/request_id", "The request's `id`."),
        REFUSED: ("data/request_id", "The request's `id`."),
        REVOKED: ("data/key_id", "The key-id."),
    }
    answered = {
        name: cloud_event(schemas[name], ANSWERS[name], where, means)
        for name, (where, means) in about.items()
    }
    return asked | answered
