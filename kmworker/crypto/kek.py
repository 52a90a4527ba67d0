"""The one secret noun: everything else under this package is derived from a `Kek`.

A KEK is never used as a key itself. It only feeds HKDF, under a label for each use, so
that what one use publishes (a fingerprint, a check value) says nothing about another.
"""

import os

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kmworker.encoding import length_prefixed
from kmworker.secrecy import Secret

__all__ = ["KEK_BYTES", "KEK_ID_LENGTH", "Kek"]

KEK_BYTES = 32
FINGERPRINT_BYTES = 8
KEK_ID_LENGTH = 2 * FINGERPRINT_BYTES
FINGERPRINT_LABEL = "kmworker/kek-id/v1"


class Kek(Secret):
    """A key-encryption key of 256 bits.

    Attributes:
        kek_id: its fingerprint, 16 lower-case hex digits; public.
        created_at: RFC 3339, UTC.
    """

    __slots__ = ("_key", "created_at", "kek_id")

    def __init__(self, key: bytes, created_at: str) -> None:
        if len(key) != KEK_BYTES:
            raise ValueError(f"a KEK has {KEK_BYTES} bytes")
        self._key = key
        self.created_at = created_at
        self.kek_id = self.derive(FINGERPRINT_LABEL, length_bytes=FINGERPRINT_BYTES).hex()

    @classmethod
    def generate(cls, created_at: str) -> "Kek":
        """Draw a KEK from the operating system's generator."""
        return cls(os.urandom(KEK_BYTES), created_at)

    def __repr__(self) -> str:
        return f"Kek(kek_id={self.kek_id!r})"

    def derive(self, label: str, *context: str, length_bytes: int = 32) -> bytes:
        """Return a key for one use: HKDF-SHA256 without salt (RFC 5869).

        No salt is needed: a KEK is uniformly random already (RFC 5869, section 3.1).
        ``info`` is the length-prefixed label and context, which keeps uses and projects
        apart (section 3.2). Labels end in a version; a changed meaning gets a new one.
        """
        info = length_prefixed(label, *context)
        return HKDF(algorithm=SHA256(), length=length_bytes, salt=None, info=info).derive(self._key)

    def export(self) -> bytes:
        """Return the key itself: for the keyring file, and for nothing else."""
        return self._key
