"""How a host becomes a client: what it asks with, and what it pins when it is enrolled.

Both are carried by people: nothing has been agreed yet that could protect them on a network.
So there is a fingerprint to compare, and the request is signed by its own key: who sends another's
public key as his own is refused.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from kmworker.delegation.encoded import as_text
from kmworker.delegation.identity import Identity, PublicIdentity, public_identity, shown
from kmworker.delegation.key_files import check_written, content_of
from kmworker.delegation.signing import holds, public_in
from kmworker.domain.values import value
from kmworker.errors import SetupError, Untrusted
from kmworker.files import keyfile
from kmworker.files.keyfile import Purpose
from kmworker.wire.trust_documents import (
    ENROLMENT,
    ENROLMENT_REQUEST,
    EnrolmentDocument,
    EnrolmentRequestDocument,
    document_in,
)

__all__ = ["Enrolment", "EnrolmentRequest", "read_enrolment_request", "request_enrolment"]

MAX_DOCUMENT_BYTES: Final = 16 * 1024
ENROLMENT_FILE: Final = Purpose(
    "enrolment",
    "the enrolment's path",
    "have this host enrolled: kmworker client init, then client enroll by an operator",
    "nothing is lost, as long as nobody else could write to it",
    "this program",
)


@value
class EnrolmentRequest:
    """A host that wants to be a client, and has the private half of the key that signs."""

    identity: PublicIdentity
    created_at: str
    """RFC 3339, UTC."""


@value
class Enrolment:
    """What a client pins."""

    installation: str
    client: str
    fingerprint: str
    """Of the host's identity that was enrolled."""
    root: bytes
    """The installation's root public key."""
    enrolled_at: str
    """RFC 3339, UTC."""

    @property
    def document(self) -> dict[str, object]:
        """Return it as it is written."""
        return {
            "document": ENROLMENT,
            "version": 1,
            "installation": self.installation,
            "client": self.client,
            "fingerprint": self.fingerprint,
            "root": as_text(self.root),
            "enrolled_at": self.enrolled_at,
        }

    def write(self, path: Path) -> None:
        """Write it to a new file. It is no secret, but who may replace it chooses whom to believe.

        Raises:
            SetupError: something is there already, or it cannot be written.
        """
        check_written(keyfile.create(path, content_of(self.document)), path, ENROLMENT_FILE)

    @classmethod
    def load(cls, path: Path, identity: PublicIdentity) -> "Enrolment":
        """Read and check an enrolment's file.

        Raises:
            SetupError: it is not there, not what it should be, open to others, or of another
                identity.
        """
        try:
            return cls.read(keyfile.read(path, ENROLMENT_FILE), identity)
        except Untrusted as wrong:
            raise SetupError(f"{path}: {wrong}", wrong.hint) from None

    @classmethod
    def read(cls, content: bytes, identity: PublicIdentity) -> "Enrolment":
        """Return what an enrolment says.

        Raises:
            Untrusted: it is none, or of another identity.
        """
        said = _document(_enrolments(), content, "enrolment")
        root = public_in(said["root"])
        if root is None:
            raise Untrusted("enrolment: root: not an Ed25519 public key", "have it given anew")
        if said["fingerprint"] != identity.fingerprint:
            raise Untrusted(
                f"enrolment: of the identity {shown(said['fingerprint'])}; "
                f"this host's is {shown(identity.fingerprint)}",
                "enrol this host's, or take the identity that belongs to it",
            )
        return cls(said["installation"], said["client"], said["fingerprint"], root,
                   said["enrolled_at"])  # fmt: skip


def request_enrolment(identity: Identity) -> bytes:
    """Return what a host asks with: JSON, to be shown and carried."""
    public = identity.public
    signature = identity.sign(*_signed(identity.created_at, public))
    document = {
        "document": ENROLMENT_REQUEST,
        "version": 1,
        "created_at": identity.created_at,
        "sign": as_text(public.sign),
        "seal": as_text(public.seal),
        "fingerprint": public.fingerprint,
        "signature": signature,
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def read_enrolment_request(content: bytes) -> EnrolmentRequest:
    """Return whom a request is from.

    Raises:
        Untrusted: it is none, or not signed by its own key.
    """
    said = _document(_requests(), content, "enrolment request")
    public = public_identity(said["sign"], said["seal"])
    if public is None or public.fingerprint != said["fingerprint"]:
        raise Untrusted("enrolment request: its keys are not what it says", AS_IT_IS)
    if not holds(public.sign, said["signature"], *_signed(said["created_at"], public)):
        raise Untrusted("enrolment request: not signed by its own key", AS_IT_IS)
    return EnrolmentRequest(public, said["created_at"])


AS_IT_IS: Final = "take what kmworker client init has printed on that host, as it is"


def _signed(created_at: str, public: PublicIdentity) -> tuple[str, str, str, str]:
    return ENROLMENT_REQUEST, created_at, public.sign.hex(), public.seal.hex()


def _document(adapter: TypeAdapter[Any], content: bytes, name: str) -> Mapping[str, Any]:
    try:
        return document_in(adapter, content, MAX_DOCUMENT_BYTES)
    except ValueError as wrong:
        complaint = str(wrong)
    raise Untrusted(f"{name}: {complaint}", AS_IT_IS)


@cache
def _enrolments() -> TypeAdapter[Any]:
    return TypeAdapter(EnrolmentDocument)


@cache
def _requests() -> TypeAdapter[Any]:
    return TypeAdapter(EnrolmentRequestDocument)
