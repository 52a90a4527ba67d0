"""The documents by which a client and an installation come to trust each other: their fields.

Each names what it is and its version, which are also the label of what is signed of it. None holds
a secret. They are made, signed and checked in `kmworker.delegation`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from kmworker.wire.envelope import read_so
from kmworker.wire.events.wording import in_words
from kmworker.wire.fields import Base64, ClientName, ListedId, Moment, Sha256, Uuid
from kmworker.wire.strict_json import TOO_DEEP, NotTakenAsJson, load

__all__ = [
    "ENROLMENT", "ENROLMENT_REQUEST", "MAX_LISTED", "MAX_LIST_BYTES", "MAX_NUMBER", "TRUST_LIST",
    "EnrolmentDocument", "EnrolmentRequestDocument", "ListedKey",
    "SignedListDocument", "TrustListDocument", "document_in",
]  # fmt: skip

ENROLMENT_REQUEST: Final = "kmworker/enrolment-request"
ENROLMENT: Final = "kmworker/enrolment"
TRUST_LIST: Final = "kmworker/trust-list"

MAX_LISTED: Final = 8
"""Keys of a list for one use. Each answer carries the list: eight of both are some 15 KiB."""
MAX_LIST_BYTES: Final = 24 * 1024
# What programs in any language read exactly (RFC 8259, section 6).
MAX_NUMBER: Final = 2**53

Version = Literal[1]


@read_so
class EnrolmentRequestDocument(TypedDict):
    """What a host asks with to be made a client; `kmworker client init` prints it."""

    document: Literal["kmworker/enrolment-request"]
    """What this is."""
    version: Version
    """Of this document's format."""
    created_at: Moment
    """When the identity was made, in RFC 3339, UTC."""
    sign: Base64
    """The host's Ed25519 public key: 32 bytes (RFC 8032)."""
    seal: Base64
    """The host's X-Wing public key: 1,216 bytes, of ML-KEM-768 and then of X25519."""
    fingerprint: Sha256
    """The identity's, by which a person compares what arrived with what the host shows."""
    signature: Base64
    """By the host's own Ed25519 key: whoever made this document has its private half."""


@read_so
class EnrolmentDocument(TypedDict):
    """What a client pins: whom it belongs to, and whose signature it believes."""

    document: Literal["kmworker/enrolment"]
    """What this is."""
    version: Version
    """Of this document's format."""
    installation: Uuid
    """The installation's id."""
    client: ClientName
    """The name under which the host is known there, which is its user of the broker."""
    fingerprint: Sha256
    """Of the host's identity that was enrolled."""
    root: Base64
    """The installation's root public key, Ed25519: it signs trust lists and nothing else."""
    enrolled_at: Moment
    """When, in RFC 3339, UTC."""


@read_so
class ListedKey(TypedDict):
    """A public key of a key server's."""

    id: ListedId
    """The first 16 hexadecimal digits of the SHA-256 of the key."""
    public: Base64
    """The key: 32 bytes of Ed25519, or 1,216 of X-Wing."""


@read_so
class TrustListDocument(TypedDict):
    """Which keys of key servers hold, from when until when."""

    document: Literal["kmworker/trust-list"]
    """What this is."""
    version: Version
    """Of this document's format."""
    installation: Uuid
    """Whose list it is."""
    number: Annotated[int, Field(ge=1, le=MAX_NUMBER)]
    """Grows with each list: the highest that a client has seen is the one that it goes by."""
    not_before: Moment
    """From when on it holds, in RFC 3339, UTC."""
    not_after: Moment
    """From when on it holds no more, in RFC 3339, UTC."""
    sign: Annotated[list[ListedKey], Field(max_length=MAX_LISTED)]
    """Ed25519 keys that sign answers."""
    seal: Annotated[list[ListedKey], Field(max_length=MAX_LISTED)]
    """X-Wing keys that uploads are sealed to."""


@read_so
class SignedListDocument(TypedDict):
    """A trust list, as the text that was signed, and the root key's signature."""

    text: Annotated[str, Field(min_length=2, max_length=MAX_LIST_BYTES)]
    """The list's JSON, exactly as it was signed."""
    signature: Base64
    """By the root key, of the text's digest."""


def document_in(
    adapter: TypeAdapter[Any],
    body: bytes,
    max_bytes: int,
    kinds: Mapping[str, TypeAdapter[Any]] | None = None,
) -> Mapping[str, Any]:
    """Return what a document of these fields says.

    Args:
        adapter: of the fields.
        body: as it came.
        max_bytes: of a body that is read at all.
        kinds: where there are several, those of each: `adapter` reads no more then than the
            document's `type`.

    Raises:
        ValueError: it is none; the text says why, and repeats nothing of it.
    """
    try:
        found = load(body, max_bytes)
        said: Mapping[str, Any] = adapter.validate_python(found)
        return said if kinds is None else kinds[said["type"]].validate_python(found)
    except NotTakenAsJson as wrong:
        complaint = str(wrong)
    except RecursionError:
        complaint = TOO_DEEP
    except ValidationError as invalid:
        complaint = in_words(invalid.errors(include_url=False)[0], "", "")
    # Out here, where no traceback shows pydantic's error and with it what was sent.
    raise ValueError(complaint.removeprefix(": ")) from None
