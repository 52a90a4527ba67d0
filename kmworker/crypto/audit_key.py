"""The auditor's own key: Ed25519 (RFC 8032), which signs checkpoints and nothing else.

Whoever has it and can write the trail's files can write another trail; so it belongs to the
auditor's user alone, and what it signs is kept elsewhere, too.
"""

from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from kmworker.delegation.encoded import as_text, from_text
from kmworker.delegation.key_files import Fields, KeyFile
from kmworker.delegation.signing import SEED_BYTES
from kmworker.files.keyfile import Purpose
from kmworker.secrecy import Secret

__all__ = ["AuditKey", "signature_holds"]

AUDIT_KEY: Final = "kmworker/audit-key"
FIELDS: Final = frozenset({"sign", "public"})
AUDIT_KEY_FILE: Final = Purpose(
    "audit key",
    "audit.key",
    "make one: kmworker auditor --init",
    "make a new one (kmworker auditor --init), and say so to whoever checks signatures",
    "the auditor",
)
HINT: Final = "restore it from its backup, or make a new one: kmworker auditor --init"


class AuditKey(Secret):
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
        _file().write(path, key._export)
        return key

    @classmethod
    def load(cls, path: Path) -> "AuditKey":
        """Read a key.

        Raises:
            SetupError: it is missing, damaged, or open to others.
        """
        return _file().load(path)

    def sign(self, data: bytes) -> str:
        """Return the signature over it, in hexadecimal."""
        return self._private.sign(data).hex()

    def _export(self) -> Fields:
        return {"sign": as_text(self._private.private_bytes_raw()), "public": self.public}


def signature_holds(public: str, data: bytes, signature: str) -> bool:
    """Return whether a signature is that of a public key; both in hexadecimal."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(signature), data)
    except (InvalidSignature, ValueError):
        return False
    return True


def _file() -> KeyFile[AuditKey]:
    return KeyFile(AUDIT_KEY_FILE, AUDIT_KEY, (FIELDS,), _parsed, HINT)


def _parsed(fields: Fields) -> AuditKey | str:
    seed = from_text(fields["sign"], SEED_BYTES)
    if seed is None:
        return "the key in it is not one"
    key = AuditKey(Ed25519PrivateKey.from_private_bytes(seed))
    if key.public != fields["public"]:
        return "damaged: the key in it is not the one that it names"
    return key
