"""The schemas of what clients and key servers send each other, and of what makes them trust."""

import json
from collections.abc import Mapping
from typing import Any, Final

from kmworker.docstrings import descriptions
from kmworker.domain.keys import Encryption, KeyState
from kmworker.domain.model import Item, Kind
from kmworker.wire.answers.bodies import (
    Asked,
    Delivered,
    Revoked,
    Signing,
    delivered_body,
    refused_body,
    revoked_body,
)
from kmworker.wire.answers.messages import (
    DELIVERED,
    REFUSED,
    REVOKED,
    KeyDeliveredMessage,
    KeyRefusedMessage,
    KeyRevokedMessage,
    Refusal,
    Revoking,
)
from kmworker.wire.requests.definition import REQUESTS, RequestEnvelope, request_data_of
from kmworker.wire.requests.request import ClientRequest
from kmworker.wire.schemas.dialect import Schema, schema_of
from kmworker.wire.trust_documents import (
    EnrolmentDocument,
    EnrolmentRequestDocument,
    TrustListDocument,
)

__all__ = ["ANSWERS", "DOCUMENTS", "answer_schemas", "document_schemas", "request_schemas"]

# Most are lost when a body becomes a value.
ALWAYS_REFUSED: Final = (
    "a body of more than 64 KiB, not in UTF-8, or nested too deeply to be read",
    "the same name twice in one object",
    "an integer of thousands of digits",
    "half a surrogate pair in a text",
    "a time that does not exist, such as the 30th of February or a leap second",
    "a line break at the end of an id or a name, which validators in Python overlook",
    "a `source` that is not the client whose signature it is",
)
AT: Final = "2026-11-23T16:00:00.000Z"
INSTALLATION: Final = "5a1e1f0c-0d55-4c0e-9a3b-5f6f5b2b7f11"
CLIENT: Final = "blk01"
KEY_ID: Final = "c0b7e0a4-6f0c-4b1e-9f57-2d3f8f0a9b61"
# Real keys and signatures are in schemas/vectors.
SHORT_KEY: Final = "q83vASNFZ4kBI0VniavN7wEjRWeJq83vASNFZ4mrze8="
FINGERPRINT: Final = "ab" * 32


def _listed() -> list[dict[str, str]]:
    return [{"id": "0123456789abcdef", "public": SHORT_KEY}]


LIST: Final[dict[str, Any]] = {
    "document": "kmworker/trust-list",
    "version": 1,
    "installation": INSTALLATION,
    "number": 7,
    "not_before": AT,
    "not_after": "2027-02-23T16:00:00.000Z",
    "sign": _listed(),
    "seal": _listed(),
}
DOCUMENTS: Final[Mapping[str, tuple[Any, dict[str, Any]]]] = {
    "trust-list": (TrustListDocument, LIST),
    "enrolment-request": (
        EnrolmentRequestDocument,
        {
            "document": "kmworker/enrolment-request",
            "version": 1,
            "created_at": AT,
            "sign": SHORT_KEY,
            "seal": SHORT_KEY,
            "fingerprint": FINGERPRINT,
            "signature": SHORT_KEY,
        },
    ),
    "enrolment": (
        EnrolmentDocument,
        {
            "document": "kmworker/enrolment",
            "version": 1,
            "installation": INSTALLATION,
            "client": CLIENT,
            "fingerprint": FINGERPRINT,
            "root": SHORT_KEY,
            "enrolled_at": AT,
        },
    ),
}
"""The class and an example of each document."""


def _answers() -> dict[str, dict[str, Any]]:
    """Answer the example of a request in each way."""
    signing = Signing(
        "/kmworker",
        AT,
        "0123456789abcdef",
        {"text": json.dumps(LIST, separators=(",", ":")), "signature": SHORT_KEY},
    )
    request = REQUESTS["key-requested"].example
    said = request["data"]
    item = Item(said["project_id"], Kind(said["item"]["kind"]), said["item"]["id"])
    asked = Asked(request["id"], FINGERPRINT, item.project, item, None)
    delivered = Delivered(
        KEY_ID, Encryption("aes-xts-plain64", 512), KeyState.ACTIVE, "2026-11-24T16:00:00.000Z"
    )
    revoked = Revoked(
        item.project, item, "9e107d9d-372b-4a82-8d55-0f5d2c1e7a01", KEY_ID, Revoking.DETACHED
    )
    bodies = {
        DELIVERED: delivered_body(asked, delivered, SHORT_KEY, signing),
        REFUSED: refused_body(asked, Refusal.NOT_GRANTED, signing),
        REVOKED: revoked_body("7d793037-a076-4ca6-8f0d-0a1b2c3d4e5f", revoked, signing),
    }
    return {name: json.loads(body) for name, body in bodies.items()}


ANSWERS: Final = _answers()
"""An example of each answer."""


def request_schemas() -> dict[str, Schema]:
    """Return the schema of each type of request."""
    return {name: _request(request) for name, request in REQUESTS.items()}


def answer_schemas() -> dict[str, Schema]:
    """Return the schema of each type of answer."""
    return {
        DELIVERED: schema_of(KeyDeliveredMessage),
        REFUSED: schema_of(KeyRefusedMessage),
        REVOKED: schema_of(KeyRevokedMessage),
    }


def document_schemas() -> dict[str, Schema]:
    """Return the schema of each document, which is not a message."""
    return {name: schema_of(document) for name, (document, _example) in DOCUMENTS.items()}


def _request(request: type[ClientRequest]) -> Schema:
    envelope, data = schema_of(RequestEnvelope), schema_of(request_data_of(request))
    said = descriptions(request)
    data["properties"] = {
        name: field | {"description": said[name]} for name, field in data["properties"].items()
    }
    type_ = envelope["properties"]["type"]["description"]
    refused = ";\n".join(f"- {it}" for it in (*ALWAYS_REFUSED, *request.also_refused))
    return {
        "description": (
            f"{request.__doc__}\n\nThe signature is in the header `x-kmworker-signature`. Unknown"
            " attributes beside `data` are ignored, unknown fields within it refused. Beyond this"
            f" schema, key servers refuse:\n\n{refused}."
        ),
        "type": "object",
        "required": [*envelope["required"], "data"],
        "properties": envelope["properties"]
        | {
            "type": {"description": type_, "type": "string", "const": request.type},
            "data": data | {"description": "The fields of this type of request."},
        },
    }
