"""The installation's root key: kept offline, it signs trust lists and nothing else.

Its file may be under a passphrase: on a medium that is lost or copied it is then none.
"""

import os
from functools import partial
from pathlib import Path
from typing import Final

from kmworker.delegation.encoded import as_text, from_text
from kmworker.delegation.key_files import Fields, KeyFile
from kmworker.delegation.passphrase import Passphrase, PassphraseBox, is_box
from kmworker.delegation.signing import SEED_BYTES, SigningKey
from kmworker.encoding import length_prefixed
from kmworker.errors import SetupError
from kmworker.files.keyfile import Purpose
from kmworker.secrecy import Secret

__all__ = ["RootKey"]

ROOT_KEY: Final = "kmworker/root-key"
PLAIN: Final = frozenset({"created_at", "sign", "public"})
WRAPPED: Final = frozenset({"created_at", "wrapped", "public"})
ROOT_KEY_FILE: Final = Purpose(
    "root key",
    "the root key's path",
    "it is kept offline: bring it here, or make the installation's first one",
    "make another and enrol all clients anew",
    "this program",
)
PASSPHRASE: Final = "the root key's passphrase"  # noqa: S105  # what it is called


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
    def load(cls, path: Path, passphrase: Passphrase | None = None) -> "RootKey":
        """Read and check a root key's file.

        Args:
            path: of the file.
            passphrase: asked for where the file is under one.

        Raises:
            SetupError: it is not there, not what it should be, or open to others; or under a
                passphrase that is another, or that nobody says.
        """
        return _file(passphrase).load(path)

    def write(self, path: Path, passphrase: Passphrase | None = None) -> None:
        """Write it to a new file with mode 0600, on disk with its name when this returns.

        Args:
            path: of the file.
            passphrase: what it is put under, if it is.

        Raises:
            SetupError: something is there already, or it cannot be written; the passphrase is too
                short.
        """
        _file(passphrase).write(path, partial(self._export, passphrase))

    def _export(self, passphrase: Passphrase | None) -> Fields:
        public, created_at = as_text(self.public), self.created_at
        if passphrase is None:
            sign = {"sign": as_text(self._sign.export())}
        else:
            box = PassphraseBox(passphrase, PASSPHRASE)
            sign = {"wrapped": as_text(box.put(self._sign.export, _context(public)))}
        return {"created_at": created_at, **sign, "public": public}

    def sign(self, label: str, *parts: str) -> str:
        """Return a signature in base64."""
        return self._sign.sign(label, *parts)


def _file(passphrase: Passphrase | None) -> KeyFile[RootKey]:
    shapes, hint = (PLAIN, WRAPPED), "restore it from its backup"
    return KeyFile(ROOT_KEY_FILE, ROOT_KEY, shapes, partial(_parsed, passphrase), hint)


def _context(public: str) -> bytes:
    """Return what a wrapped key is bound to: beside another public half it does not open."""
    return length_prefixed(ROOT_KEY, public)


def _parsed(passphrase: Passphrase | None, fields: Fields) -> RootKey | str:
    if "wrapped" in fields:
        return _unwrapped(passphrase, fields)
    seed = from_text(fields["sign"], SEED_BYTES)
    if seed is None:
        return "the key in it is not one"
    return _checked(seed, fields)


def _unwrapped(passphrase: Passphrase | None, fields: Fields) -> RootKey | str:
    wrapped = from_text(fields["wrapped"])
    if wrapped is None or not is_box(wrapped, SEED_BYTES):
        return "the key in it is not one"
    if passphrase is None:
        hint = "say it with --passphrase-file, or type it where this is asked"
        raise SetupError("the root key is under a passphrase", hint)
    seed = PassphraseBox(passphrase, PASSPHRASE).take(wrapped, _context(fields["public"]))
    if seed is None:
        return "the passphrase is another one, or it is damaged"
    return _checked(seed, fields)


def _checked(seed: bytes, fields: Fields) -> RootKey | str:
    root = RootKey(seed, fields["created_at"])
    if as_text(root.public) != fields["public"]:
        return "damaged: the key in it is not the one that it names"
    return root
