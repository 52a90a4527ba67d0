"""The messages that key servers send: the key, sealed; a refusal; that a key is to be given up.

Each carries the trust list by which its signature is to be believed.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from kmworker.domain.keys import KeyState
from kmworker.wire.envelope import read_so
from kmworker.wire.fields import (
    MAX_KEY_BITS,
    Base64,
    Cipher,
    ItemId,
    ListedId,
    Moment,
    OneOf,
    ProjectId,
    Sha256,
    ShortText,
    Uuid,
)
from kmworker.wire.requests.request import ASKED_FOR
from kmworker.wire.trust_documents import SignedListDocument

__all__ = [
    "DELIVERED", "REFUSED", "REVOKED", "SUITE", "DelegatedItem", "KeyDeliveredMessage",
    "KeyRefusedMessage", "KeyRevokedMessage", "Refusal", "Revoking",
]  # fmt: skip

DELIVERED: Final = "key-delivered"
REFUSED: Final = "key-refused"
REVOKED: Final = "key-revoked"
SUITE: Final = "MLKEM768-X25519/HKDF-SHA256/AES-256-GCM"
"""HPKE's algorithms (RFC 9180, base mode): identifiers 0x647a, 0x0001, 0x0002."""


class Refusal(StrEnum):
    """Why a client does not get what it asked for."""

    UNKNOWN_CLIENT = "unknown-client"
    """Its signature holds, but it was revoked."""
    NOT_GRANTED = "not-granted"
    """It has no right to it, or no grant; whatever else is the case."""
    SUSPENDED = "suspended"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"
    STALE_REQUEST = "stale-request"
    """The request's time and the server's, which is the answer's, differ too much."""
    REUSED_ID = "reused-id"
    """The request's id was used for other bytes."""
    TRY_LATER = "try-later"
    """Something that it takes is away, or too many requests wait for their grants. Not that a
    client asks too often: who does gets no answer at all."""
    MALFORMED = "malformed"
    """The request cannot be understood; `detail` says what is wrong with it."""


class Revoking(StrEnum):
    """Why a client has to give up a key."""

    DETACHED = "detached"
    """Its attachment is over, or it has lost the right to the key in another way."""
    RELEASED = "released"
    """The item is gone."""
    SUSPENDED = "suspended"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"
    CLIENT_REVOKED = "client-revoked"
    EXPIRED = "expired"
    """A client's own word, of a copy that is over by itself: no key server needs to say so."""


SAID: Final = tuple(it for it in Revoking if it is not Revoking.EXPIRED)
"""By key servers. A copy lasts no longer than its grant, so of that end nobody has to be told."""


@read_so
class DelegatedItem(TypedDict):
    """The item whose key it is."""

    kind: Annotated[str, OneOf(ASKED_FOR)]
    """What it is."""
    id: ItemId
    """Its id within its project and kind."""


@read_so
class DeliveredEncryption(TypedDict):
    """What the key is for."""

    cipher: Cipher
    """As dm-crypt writes it, e.g. `aes-xts-plain64`."""
    key_bits: Annotated[int, Field(ge=8, le=MAX_KEY_BITS)]
    """The key's length."""


@read_so
class DeliveredData(TypedDict):
    """The key, sealed to the identity that signed the request."""

    request_id: Uuid
    """The request's `id`."""
    request: Sha256
    """The SHA-256 of the request's body."""
    item: DelegatedItem | None
    """The item that was asked for; null: it was asked for by key-id."""
    project_id: ProjectId
    """The project that was asked for."""
    key_id: Uuid
    """Whose key it is."""
    encryption: DeliveredEncryption
    state: Annotated[str, OneOf(KeyState)]
    """The key-id's state."""
    not_after: Moment
    """Until when a copy may be kept, in RFC 3339, UTC; an open device may stay open."""
    suite: Literal["MLKEM768-X25519/HKDF-SHA256/AES-256-GCM"]
    """The algorithms of HPKE, in base mode."""
    sealed: Base64
    """HPKE's output: 1,120 bytes of encapsulated key, then the ciphertext with its tag."""
    signed_by: ListedId
    """The id, in the trust list, of the key that signed this message."""
    trust: SignedListDocument


@read_so
class RefusedData(TypedDict):
    """Why not."""

    request_id: Uuid
    """The request's `id`."""
    request: Sha256
    """The SHA-256 of the request's body."""
    reason: Annotated[str, OneOf(Refusal)]
    """Why; `not-granted` says nothing of whether what was asked for is there."""
    detail: NotRequired[ShortText]
    """Of `malformed` alone: what is wrong with the request."""
    signed_by: ListedId
    """The id, in the trust list, of the key that signed this message."""
    trust: SignedListDocument


@read_so
class RevokedData(TypedDict):
    """What is to be given up."""

    item: DelegatedItem | None
    """The item; null: the copy was asked for by key-id."""
    project_id: ProjectId
    """The item's project."""
    attachment_id: NotRequired[ShortText]
    """The attachment that has ended; absent: all of this item's at this client."""
    key_id: Uuid
    """Whose key it is."""
    cause: Annotated[str, OneOf(SAID)]
    """Why; a suspended key may be had again, a detached one by another attachment."""
    signed_by: ListedId
    """The id, in the trust list, of the key that signed this message."""
    trust: SignedListDocument


@read_so
class KeyDeliveredMessage(TypedDict):
    """A client gets a key that it asked for.

    The signature is in the header `x-kmworker-signature`. Check it before anything else.
    """

    specversion: Literal["1.0"]
    """The version of CloudEvents."""
    id: Uuid
    """The same for every answer to a request; also the AMQP `message_id`."""
    source: ShortText
    """The setting `broker.source`."""
    type: Literal["key-delivered"]
    """What happened; also the AMQP property `type`."""
    subject: Annotated[str, Field(min_length=1)]
    """The project, a slash, and the item ref or the key-id that was asked for."""
    time: Moment
    """The key server's time, in RFC 3339, UTC."""
    data: DeliveredData


@read_so
class KeyRefusedMessage(TypedDict):
    """A client does not get what it asked for.

    The signature is in the header `x-kmworker-signature`. Check it before anything else.
    """

    specversion: Literal["1.0"]
    """The version of CloudEvents."""
    id: Uuid
    """The same for every answer to a request; also the AMQP `message_id`."""
    source: ShortText
    """The setting `broker.source`."""
    type: Literal["key-refused"]
    """What happened; also the AMQP property `type`."""
    time: Moment
    """The key server's time, in RFC 3339, UTC."""
    data: RefusedData


@read_so
class KeyRevokedMessage(TypedDict):
    """A client has to give up a key that was delivered to it.

    It answers no request, and comes on the client's own queues. The signature is in the header
    `x-kmworker-signature`. Of a copy that was delivered later, by `time`, it says nothing for sure:
    ask anew with `held`. Of one that was delivered more than 300 s later it says nothing.
    """

    specversion: Literal["1.0"]
    """The version of CloudEvents."""
    id: Uuid
    """Drop repeats by it; also the AMQP `message_id`."""
    source: ShortText
    """The setting `broker.source`."""
    type: Literal["key-revoked"]
    """What happened; also the AMQP property `type`."""
    subject: Annotated[str, Field(min_length=1)]
    """The project, a slash, and the item ref (`kind:id`) or the key-id that was asked for."""
    time: Moment
    """The key server's time, in RFC 3339, UTC."""
    data: RevokedData
