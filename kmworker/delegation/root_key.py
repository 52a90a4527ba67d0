"""The installation's root key: kept offline, it signs trust lists and nothing else."""

import os
from pathlib import Path
from typing import Final

from kmworker.delegation.encoded import as_text, from_text
from kmworker.delegation.key_files import check_written, content_of, fields_in, read_file
from kmworker.delegation.signing import SEED_BYTES, SigningKey
from kmworker.errors import SetupError
from kmworker.files import keyfile
from kmworker.files.keyfile import Purpose
from kmworker.secrecy import Secret

__all__ = ["RootKey"]

ROOT_KEY: Final = "kmworker/root-key"
FIELDS: Final = frozenset({"created_at", "sign", "public"})
ROOT_KEY_FILE: Final = Purpose(
    "root key",
    "the root key's path",
    "it is kept offline: bring it here, or make the installation's first one",
    "make another and enrol all clients anew",
    "this program",
)


class RootKey(Secret):
    """An Ed25519 key pair.

    Attributes:
        public: what clients pin, 32 bytes.
        created_at: RFC 3339, UTC.
    """

    __slots__ = ("_sign", "created_at", "public")

    def __init__(self, seed: bytes, created_at: str) -> None:
        self._sign = SigningKey(seed)
        self.public = self._sign.public
        self.created_at = created_at

    def __repr__(self) -> str:
        return f"RootKey({as_text(self.public)!r})"

    @classmethod
    def generate(cls, created_at: str) -> "RootKey":
        """Draw a root key from the operating system's generator."""
        return cls(os.urandom(SEED_BYTES), created_at)

    @classmethod
    def load(cls, path: Path) -> "RootKey":
        """Read and check a root key's file.

        Raises:
            SetupError: it is not there, not what it should be, or open to others.
        """
        found = _parsed(read_file(path, ROOT_KEY_FILE))
        if isinstance(found, str):
            raise SetupError(f"root key {path}: {found}", "restore it from its backup")
        return found

    def write(self, path: Path) -> None:
        """Write it to a new file with mode 0600, on disk with its name when this returns.

        Raises:
            SetupError: something is there already, or it cannot be written.
        """
        # Made in a frame of its own, which is gone when something is raised.
        check_written(keyfile.create(path, self._content()), path, ROOT_KEY_FILE)

    def _content(self) -> bytes:
        return content_of(
            {
                "document": ROOT_KEY,
                "version": 1,
                "created_at": self.created_at,
                "sign": as_text(self._sign.export()),
                "public": as_text(self.public),
            }
        )

    def sign(self, label: str, *parts: str) -> str:
        """Return a signature in base64."""
        return self._sign.sign(label, *parts)


def _parsed(content: bytes) -> RootKey | str:
    fields = fields_in(content, ROOT_KEY, FIELDS)
    if isinstance(fields, str):
        return fields
    seed = from_text(fields["sign"], SEED_BYTES)
    if seed is None:
        return "the key in it is not one"
    root = RootKey(seed, fields["created_at"])
    if as_text(root.public) != fields["public"]:
        return "damaged: the key in it is not the one that it names"
    return root
