"""Ed25519 (RFC 8032) over what has only one way to be read.

What is signed begins with a label and a version, so no signature of one use passes for another.
What is long goes in as its SHA-256.
"""

from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from kmworker.delegation.encoded import as_text, from_text
from kmworker.encoding import length_prefixed
from kmworker.secrecy import Secret

__all__ = [
    "PUBLIC_BYTES", "SEED_BYTES", "SIGNATURE_BYTES", "SIGNATURE_HEADER", "VERSION", "SigningKey",
    "digest_of", "holds", "public_in", "signed_bytes",
]  # fmt: skip

SIGNATURE_HEADER: Final = "x-kmworker-signature"
"""The AMQP header, of requests and of answers: base64."""
VERSION: Final = "1"
SEED_BYTES: Final = 32
PUBLIC_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


def digest_of(body: bytes) -> str:
    """Return the SHA-256, as everything here writes it: in lower-case hexadecimal."""
    return sha256(body).hexdigest()


def signed_bytes(label: str, *parts: str) -> bytes:
    """Return what is signed."""
    return length_prefixed(label, VERSION, *parts)


def holds(public: bytes, signature: str, label: str, *parts: str) -> bool:
    """Return whether a signature in base64 is by this key, of just this."""
    raw = from_text(signature, SIGNATURE_BYTES)
    if raw is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(raw, signed_bytes(label, *parts))
    except (InvalidSignature, ValueError):
        return False
    return True


def public_in(text: str) -> bytes | None:
    """Return the public key that is written so; None: it is none."""
    return from_text(text, PUBLIC_BYTES)


class SigningKey(Secret):
    """The private half.

    Attributes:
        public: 32 bytes.
    """

    __slots__ = ("_key", "public")

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"SigningKey(public={digest_of(self.public)[:16]!r})"

    def sign(self, label: str, *parts: str) -> str:
        """Return a signature in base64."""
        return as_text(self._key.sign(signed_bytes(label, *parts)))

    def export(self) -> bytes:
        """Return the seed itself: for its file, and for nothing else."""
        return self._key.private_bytes_raw()
