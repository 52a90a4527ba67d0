"""``file:`` and a passphrase: a copy of the keyring alone opens nothing.

For backups, and for keyrings that lie on a disk which others get to see. On the machine itself
the passphrase lies in a file, too, so this keeps nobody out who may read the worker's files.
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from kmworker.crypto.kek import KEK_BYTES, Kek
from kmworker.crypto.roots.root import no_unwrap, read_secret
from kmworker.crypto.roots.root_url import HINT, RootUrl
from kmworker.errors import SetupError
from kmworker.secrecy import Secret

__all__ = ["PassphraseRoot", "opened"]

OPTION: Final = "passphrase-file"
VERSION: Final = 1
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
BLOB_BYTES: Final = 1 + SALT_BYTES + NONCE_BYTES + KEK_BYTES + TAG_BYTES
# 128 MiB and some 0.4 s for each guess (RFC 7914; OWASP's advice for stored passwords).
WORK: Final = 2**17
BLOCK: Final = 8
LANES: Final = 1
MIN_PASSPHRASE_BYTES: Final = 16
"""A person's eight letters are guessed in days even so; five words of dice are not."""

MAX_SALTS: Final = 8
"""Derived keys kept: KEKs that were wrapped together have one salt."""


class PassphraseRoot(Secret):
    """Wraps by AES-256-GCM under a key that scrypt derives from the passphrase.

    A blob is ``version ‖ salt ‖ nonce ‖ ciphertext ‖ tag``, of 1, 16, 12, 32 and 16 bytes. The
    version stands for scrypt's parameters, too.
    """

    url = "file:?passphrase-file"

    def __init__(self, path: Path) -> None:
        """Use the passphrase in this file; it is read when it is needed."""
        self._path = path
        # One salt for what is wrapped together, so that opening a keyring derives one key.
        self._salt = os.urandom(SALT_BYTES)
        self._cipher = lru_cache(MAX_SALTS)(self._derived)

    def wrap(self, kek: Kek, context: bytes) -> bytes:
        """Wrap; raises as `kmworker.crypto.roots.Root.wrap` does, but is never away."""
        nonce = os.urandom(NONCE_BYTES)
        cipher = self._cipher(self._salt)
        return bytes([VERSION]) + self._salt + nonce + cipher.encrypt(nonce, kek.export(), context)

    def unwrap(self, blob: bytes, context: bytes) -> bytes:
        """Unwrap; raises as `kmworker.crypto.roots.Root.unwrap` does, but is never away."""
        if len(blob) != BLOB_BYTES or blob[0] != VERSION:
            raise no_unwrap(self.url)
        salt, rest = blob[1 : 1 + SALT_BYTES], blob[1 + SALT_BYTES :]
        cipher = self._cipher(salt)
        try:
            return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], context)
        except InvalidTag:
            pass
        said = f"root {self.url}: a wrapped KEK does not unwrap"
        raise SetupError(said, "the passphrase is another one, or the keyring is damaged")

    def _derived(self, salt: bytes) -> AESGCM:
        # The passphrase never gets a name here, nor does what is derived from it.
        self._check_passphrase()
        scrypt = Scrypt(salt=salt, length=32, n=WORK, r=BLOCK, p=LANES)
        return AESGCM(scrypt.derive(read_secret(self._path, "passphrase", OPTION)))

    def _check_passphrase(self) -> None:
        if len(read_secret(self._path, "passphrase", OPTION)) < MIN_PASSPHRASE_BYTES:
            raise SetupError(
                f"passphrase {self._path}: has fewer than {MIN_PASSPHRASE_BYTES} bytes",
                "draw one, such as: openssl rand -base64 24",
            )


def opened(url: RootUrl) -> PassphraseRoot | None:
    """Return the root; None where the KEKs are in the file as they are.

    Raises:
        SetupError: the URL is not ``file:`` or ``file:?passphrase-file=PATH``.
    """
    url.check_options(OPTION)
    if url.place:
        said = "keyring.root: file: names no file; keyring.path does"
        raise SetupError(said, HINT)
    return PassphraseRoot(url.file(OPTION)) if url.options else None
