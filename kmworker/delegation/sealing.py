"""HPKE (RFC 9180, base mode) with X-Wing, HKDF-SHA256 and AES-256-GCM.

X-Wing (draft-connolly-cfrg-xwing-kem) is ML-KEM-768 and X25519 at once: what is recorded today
stays closed unless both are broken. Base mode says nothing of who sealed: a signature does. `info`
ties what is sealed to its place, so that nothing can be opened as an answer to something else.
"""

from functools import cache, lru_cache
from hashlib import shake_256
from typing import Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from kmworker.delegation.buffer import KeyBuffer
from kmworker.domain.keys import Encryption
from kmworker.domain.values import value
from kmworker.encoding import length_prefixed
from kmworker.errors import SetupError, Untrusted
from kmworker.secrecy import Secret
from kmworker.wire.answers.bodies import Asked

__all__ = [
    "OVERHEAD_BYTES", "SEAL_PUBLIC_BYTES", "SEAL_SEED_BYTES", "SealingKey", "Upload",
    "delivery_info", "is_seal_public", "seal", "upload_info",
]  # fmt: skip

SEAL_SEED_BYTES: Final = 32
MLKEM_SEED_BYTES: Final = 64
MLKEM_PUBLIC_BYTES: Final = 1_184
SEAL_PUBLIC_BYTES: Final = MLKEM_PUBLIC_BYTES + 32
OVERHEAD_BYTES: Final = 1_120 + 16
"""The encapsulated key and the tag: by so much is what is sealed longer."""
MAX_READY: Final = 1_000
"""Public keys kept ready to be sealed to, some 10 kB each; to read one again takes some 15 µs."""

DELIVERY_LABEL: Final = "kmworker/delivered"
UPLOAD_LABEL: Final = "kmworker/upload"
INFO_VERSION: Final = "1"

SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@value
class Upload:
    """What a client stores: where it belongs. It is bound to what is sealed."""

    request_id: str
    client: str
    project: str
    secret_id: str
    object_type: str
    """In Castellan's words: symmetric, public, private, certificate, passphrase, opaque."""
    size_bytes: int


def delivery_info(
    asked: Asked, fingerprint: str, key_id: str, encryption: Encryption, not_after: str
) -> bytes:
    """Return what a delivered key is bound to: which request, which client, what it is for."""
    return length_prefixed(
        DELIVERY_LABEL,
        INFO_VERSION,
        asked.digest,
        fingerprint,
        asked.project,
        asked.item.ref if asked.item is not None else "",
        key_id,
        encryption.cipher,
        str(encryption.key_bits),
        not_after,
    )


def upload_info(upload: Upload) -> bytes:
    """Return what an uploaded object is bound to."""
    return length_prefixed(
        UPLOAD_LABEL,
        INFO_VERSION,
        upload.request_id,
        upload.client,
        upload.project,
        upload.secret_id,
        upload.object_type,
        str(upload.size_bytes),
    )


@lru_cache(MAX_READY)
def is_seal_public(public: bytes) -> bool:
    """Return whether something can be sealed to this (FIPS 203, section 7.2).

    That it has the form of a key does not say so.
    """
    try:
        seal(b"", public, b"")
    except Untrusted:
        return False
    return True


def seal(content: bytes | bytearray | memoryview, public: bytes, info: bytes) -> bytes:
    """Seal to a public key: HPKE's `enc`, and then the ciphertext with its tag.

    Raises:
        Untrusted: it is none, or its X25519 half is a point of low order (RFC 7748, section 6.1).
    """
    try:
        return SUITE.encrypt(content, _public(public), info=info)
    except ValueError:
        raise Untrusted("nothing can be sealed to this key", "enroll that host anew") from None


class SealingKey(Secret):
    """The private half of an X-Wing key pair.

    Attributes:
        public: 1,216 bytes, ML-KEM's and then X25519's.
    """

    __slots__ = ("_key", "_seed", "public")

    def __init__(self, seed: bytes) -> None:
        _check_supported()
        if len(seed) != SEAL_SEED_BYTES:
            raise ValueError(f"an X-Wing key has {SEAL_SEED_BYTES} bytes")
        # expandDecapsulationKey of the draft: other programs read the same 32 bytes.
        halves = shake_256(seed).digest(MLKEM_SEED_BYTES + 32)
        mlkem = MLKEM768PrivateKey.from_seed_bytes(halves[:MLKEM_SEED_BYTES])
        x25519 = X25519PrivateKey.from_private_bytes(halves[MLKEM_SEED_BYTES:])
        self._seed = seed
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return "SealingKey()"

    def open(self, sealed: bytes, info: bytes) -> KeyBuffer | None:
        """Return what was sealed to this key under this `info`; None: nothing was.

        Why not, nobody learns: a wrong key, a wrong place and a changed byte look the same.
        """
        try:
            return KeyBuffer(SUITE.decrypt(sealed, self._key, info=info))
        except (InvalidTag, ValueError):
            return None

    def export(self) -> bytes:
        """Return the seed itself: for its file, and for nothing else."""
        return self._seed


@cache
def _check_supported() -> None:
    """Refuse a build of `cryptography` on an OpenSSL before 3.5, before there is a key in a frame.

    Raises:
        SetupError: it has no ML-KEM.
    """
    try:
        MLKEM768PublicKey.from_public_bytes(b"")
    except ValueError:
        # No key has no bytes: so far only a build that has ML-KEM comes.
        return
    except UnsupportedAlgorithm:
        pass
    raise SetupError(
        "this build of the package cryptography has no ML-KEM",
        "install its wheel from PyPI, 49 or newer, or build it with OpenSSL 3.5",
    )


def _public(public: bytes) -> MLKEM768X25519PublicKey:
    _check_supported()
    return _ready(public)


@lru_cache(MAX_READY)
def _ready(public: bytes) -> MLKEM768X25519PublicKey:
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public[:MLKEM_PUBLIC_BYTES]),
        X25519PublicKey.from_public_bytes(public[MLKEM_PUBLIC_BYTES:]),
    )
