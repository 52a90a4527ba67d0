"""The bodies of answers: written by key servers, read by clients before anything is believed."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import TypeAdapter
from pydantic_core import to_json
from typing_extensions import TypedDict

from kmworker.domain.ids import named_id
from kmworker.domain.keys import Encryption, KeyState
from kmworker.domain.message import MAX_BODY_BYTES
from kmworker.domain.model import Item
from kmworker.domain.values import value
from kmworker.wire.answers.messages import (
    DELIVERED,
    REFUSED,
    REVOKED,
    SUITE,
    KeyDeliveredMessage,
    KeyRefusedMessage,
    KeyRevokedMessage,
    Refusal,
    Revoking,
)
from kmworker.wire.envelope import read_so
from kmworker.wire.fields import OneOf
from kmworker.wire.trust_documents import document_in

__all__ = [
    "Asked", "Delivered", "Revoked", "Signing", "answer_id", "answer_in", "delivered_body",
    "refused_body", "revoked_body",
]  # fmt: skip


@value
class Asked:
    """What an answer repeats of its request, and nothing else of it."""

    id: str
    digest: str
    """The SHA-256 of its body, in hexadecimal."""
    project: str
    item: Item | None
    key_id: str | None


@value
class Delivered:
    """A key that is delivered: all but the key."""

    key_id: str
    encryption: Encryption
    state: KeyState
    not_after: str
    """RFC 3339, UTC."""


@value
class Revoked:
    """A key that a client has to give up."""

    project: str
    item: Item | None
    """None: it was asked for by key-id."""
    attachment_id: str | None
    """None: all of this item's at this client."""
    key_id: str
    cause: Revoking


@value
class Signing:
    """By whom an answer is signed, and when."""

    source: str
    """The setting `broker.source`."""
    at: str
    """The key server's time, in RFC 3339, UTC."""
    signed_by: str
    trust: Mapping[str, str]
    """The trust list: its text and signature."""


def delivered_body(asked: Asked, delivered: Delivered, sealed: str, signing: Signing) -> bytes:
    """Return the body of a `key-delivered`."""
    named = asked.item.ref if asked.item else asked.key_id
    data = {
        "request_id": asked.id,
        "request": asked.digest,
        "item": None if asked.item is None else _item_fields(asked.item),
        "project_id": asked.project,
        "key_id": delivered.key_id,
        "encryption": delivered.encryption._asdict(),
        "state": delivered.state.value,
        "not_after": delivered.not_after,
        "suite": SUITE,
        "sealed": sealed,
    }
    return _body(DELIVERED, answer_id(asked), signing, data, f"{asked.project}/{named}")


def refused_body(asked: Asked, reason: Refusal, signing: Signing, detail: str = "") -> bytes:
    """Return the body of a `key-refused`.

    Of what was asked for there is nothing in it, and nothing of why, but for the reason's word.
    """
    data = {"request_id": asked.id, "request": asked.digest, "reason": reason.value}
    if reason is Refusal.MALFORMED:
        data["detail"] = detail
    return _body(REFUSED, answer_id(asked), signing, data)


def revoked_body(message_id: str, revoked: Revoked, signing: Signing) -> bytes:
    """Return the body of a `key-revoked`."""
    item = revoked.item
    named = item.ref if item else revoked.key_id
    attachment = {"attachment_id": revoked.attachment_id} if revoked.attachment_id else {}
    data = {
        "item": None if item is None else _item_fields(item),
        "project_id": revoked.project,
        **attachment,
        "key_id": revoked.key_id,
        "cause": revoked.cause.value,
    }
    return _body(REVOKED, message_id, signing, data, f"{revoked.project}/{named}")


def answer_in(body: bytes) -> Mapping[str, Any]:
    """Read what a key server sent, before anything of it is believed.

    Raises:
        ValueError: it is none, or says something that this version does not know.
    """
    return document_in(_kinds(), body, MAX_BODY_BYTES, _messages())


def _body(
    kind: str, message_id: str, signing: Signing, data: Mapping[str, Any], subject: str = ""
) -> bytes:
    return to_json(
        {
            "specversion": "1.0",
            "id": message_id,
            "source": signing.source,
            "type": kind,
            **({"subject": subject} if subject else {}),
            "time": signing.at,
            "data": {**data, "signed_by": signing.signed_by, "trust": signing.trust},
        }
    )


def answer_id(asked: Asked) -> str:
    """Return the CloudEvents id of every answer to a request."""
    return named_id(f"answer\0{asked.digest}")


def _item_fields(item: Item) -> dict[str, str]:
    return {"kind": item.kind.value, "id": item.id}


@read_so
class _AnyAnswer(TypedDict):
    type: Annotated[str, OneOf((DELIVERED, REFUSED, REVOKED))]


@cache
def _kinds() -> TypeAdapter[Any]:
    return TypeAdapter(_AnyAnswer)


@cache
def _messages() -> dict[str, TypeAdapter[Any]]:
    return {
        DELIVERED: TypeAdapter(KeyDeliveredMessage),
        REFUSED: TypeAdapter(KeyRefusedMessage),
        REVOKED: TypeAdapter(KeyRevokedMessage),
    }
