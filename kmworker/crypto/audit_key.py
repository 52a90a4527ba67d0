"""The auditor's own key: Ed25519 (RFC 8032), which signs checkpoints and nothing else.

Whoever has it and can write the trail's files can write another trail; so it belongs to the
auditor's user alone, and what it signs is kept elsewhere, too.
"""

import json
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from kmworker.errors import SetupError
from kmworker.files import keyfile

__all__ = ["AuditKey", "signature_holds"]

FORMAT: Final = 1
PURPOSE: Final = keyfile.Purpose(
    "audit key",
    "audit.key",
    "make one: kmworker auditor --init",
    "make a new one (kmworker auditor --init), and say so to whoever checks signatures",
    "the auditor",
)
HINT: Final = "restore it from its backup, or make a new one: kmworker auditor --init"


class AuditKey:
    """The key of one auditor.

    Attributes:
        public: the public half, in hexadecimal: what whoever verifies has to know.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw().hex()

    @classmethod
    def generate(cls, path: Path) -> "AuditKey":
        """Make a key in a new file, which only this user can read.

        Raises:
            SetupError: there is one, or it cannot be written.
        """
        key = cls(Ed25519PrivateKey.generate())
        problem = keyfile.create(path, key._content())
        if problem is not None:
            hint = "an auditor goes on with the key that it has" if path.exists() else ""
            raise SetupError(f"audit key {path}: {problem}", hint or "check audit.key")
        return key

    @classmethod
    def load(cls, path: Path) -> "AuditKey":
        """Read a key.

        Raises:
            SetupError: it is missing, damaged, or open to others.
        """
        private = _parsed(keyfile.read(path, PURPOSE))
        if private is None:
            # Out here, where no frame holds what was read.
            raise SetupError(f"audit key {path}: damaged, or no audit key", HINT)
        return cls(private)

    def sign(self, data: bytes) -> str:
        """Return the signature over it, in hexadecimal."""
        return self._private.sign(data).hex()

    def _content(self) -> bytes:
        fields = {
            "version": FORMAT,
            "algorithm": "ed25519",
            "private": self._private.private_bytes_raw().hex(),
            "public": self.public,
        }
        return json.dumps(fields, indent=2).encode() + b"\n"


def signature_holds(public: str, data: bytes, signature: str) -> bool:
    """Return whether a signature is that of a public key; both in hexadecimal."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(signature), data)
    except (InvalidSignature, ValueError):
        return False
    return True


def _parsed(content: bytes) -> Ed25519PrivateKey | None:
    """Return the key in a file's content; None: there is none, or its halves do not agree."""
    try:
        fields = json.loads(content)
        if fields["version"] != FORMAT:
            return None
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(fields["private"]))
        public = private.public_key().public_bytes_raw().hex()
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return private if public == fields.get("public") else None
