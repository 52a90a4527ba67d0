"""A host's identity: one key pair that signs, one that is sealed to. Key servers have the like.

It is made on the host and never leaves it. Any number of the host's processes read the one file.
"""

import os
import re
from base64 import b32encode
from hashlib import sha256
from pathlib import Path
from typing import Final

from kmworker.delegation.buffer import KeyBuffer
from kmworker.delegation.encoded import as_text, from_text
from kmworker.delegation.key_files import Fields, KeyFile
from kmworker.delegation.sealing import (
    SEAL_PUBLIC_BYTES,
    SEAL_SEED_BYTES,
    SealingKey,
    is_seal_public,
)
from kmworker.delegation.signing import SEED_BYTES, SigningKey, digest_of, public_in, signed_bytes
from kmworker.domain.values import value
from kmworker.files.keyfile import Purpose
from kmworker.secrecy import Secret
from kmworker.wire.fields import UTC_TIME

__all__ = [
    "IDENTITY_FILE", "KEY_SERVER_FILE", "Identity", "PublicIdentity", "key_id_of",
    "public_identity", "shown",
]  # fmt: skip

IDENTITY: Final = "kmworker/identity"
FIELDS: Final = frozenset({"created_at", "sign", "seal", "fingerprint"})
# 160 bits: nobody finds another identity with the same ones.
SHOWN_BYTES: Final = 20
GROUP: Final = 4

IDENTITY_FILE: Final = Purpose(
    "identity",
    "the identity's path",
    "make one on this host: kmworker client init",
    "make another and enrol that",
    "this program",
)


KEY_SERVER_FILE: Final = Purpose(
    "key server's keys",
    "keyserver.identity",
    "make them on this host: kmworker trust key",
    "make others, and have a list signed without these",
    "the key server",
)


@value
class PublicIdentity:
    """What others know of an identity."""

    sign: bytes
    """Ed25519's public key, 32 bytes."""
    seal: bytes
    """X-Wing's public key, 1,216 bytes."""

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of both, in hexadecimal: the identity's name among programs."""
        return sha256(signed_bytes(IDENTITY, self.sign.hex(), self.seal.hex())).hexdigest()


def public_identity(sign: str, seal: str) -> PublicIdentity | None:
    """Return the identity that is written so in base64; None: it is none."""
    sign_key, seal_key = public_in(sign), from_text(seal, SEAL_PUBLIC_BYTES)
    if sign_key is None or seal_key is None or not is_seal_public(seal_key):
        return None
    return PublicIdentity(sign_key, seal_key)


def shown(fingerprint: str) -> str:
    """Return a fingerprint as a person compares it: 160 bits, in eight groups of four letters."""
    letters = b32encode(bytes.fromhex(fingerprint)[:SHOWN_BYTES]).decode("ascii").lower()
    return "-".join(letters[at : at + GROUP] for at in range(0, len(letters), GROUP))


class Identity(Secret):
    """Both private keys.

    Attributes:
        public: what others know of it.
        created_at: RFC 3339, UTC.
    """

    __slots__ = ("_seal", "_sign", "created_at", "public")

    def __init__(self, sign_seed: bytes, seal_seed: bytes, created_at: str) -> None:
        self._sign = SigningKey(sign_seed)
        self._seal = SealingKey(seal_seed)
        self.created_at = created_at
        self.public = PublicIdentity(self._sign.public, self._seal.public)

    def __repr__(self) -> str:
        return f"Identity({shown(self.public.fingerprint)!r})"

    @classmethod
    def generate(cls, created_at: str) -> "Identity":
        """Draw an identity from the operating system's generator."""
        return cls(os.urandom(SEED_BYTES), os.urandom(SEAL_SEED_BYTES), created_at)

    @classmethod
    def load(cls, path: Path, purpose: Purpose = IDENTITY_FILE) -> "Identity":
        """Read and check an identity's file.

        Args:
            path: of the file.
            purpose: a client's, or a key server's: what errors say.

        Raises:
            SetupError: it is not there, not what it should be, or open to others.
        """
        return _file(purpose).load(path)

    def write(self, path: Path) -> None:
        """Write it to a new file with mode 0600, on disk with its name when this returns.

        Of several processes that do this at once, one does, and the others are told.

        Raises:
            SetupError: something is there already, or it cannot be written.
        """
        _file(IDENTITY_FILE).write(path, self._export)

    def _export(self) -> Fields:
        return {
            "created_at": self.created_at,
            "sign": as_text(self._sign.export()),
            "seal": as_text(self._seal.export()),
            "fingerprint": self.public.fingerprint,
        }

    def sign(self, label: str, *parts: str) -> str:
        """Return a signature in base64."""
        return self._sign.sign(label, *parts)

    def open(self, sealed: bytes, info: bytes) -> KeyBuffer | None:
        """Return what was sealed to it under this `info`; None: nothing was."""
        return self._seal.open(sealed, info)


def key_id_of(public: bytes) -> str:
    """Return the id of a public key in a trust list."""
    return digest_of(public)[:16]


def _file(purpose: Purpose) -> KeyFile[Identity]:
    hint = f"restore it from where it was made, or {purpose.if_missing}"
    return KeyFile(purpose, IDENTITY, (FIELDS,), _parsed, hint)


def _parsed(fields: Fields) -> Identity | str:
    sign, seal = from_text(fields["sign"], SEED_BYTES), from_text(fields["seal"], SEAL_SEED_BYTES)
    if sign is None or seal is None:
        return "a key in it is not one"
    if re.fullmatch(UTC_TIME[1:-1], fields["created_at"]) is None:
        return "created_at: no time"
    identity = Identity(sign, seal, fields["created_at"])
    if identity.public.fingerprint != fields["fingerprint"]:
        return "damaged: the keys in it are not those that it names"
    return identity
