"""Keys under a passphrase: a copy of their file alone opens nothing.

A box is ``version ‖ salt ‖ nonce ‖ ciphertext ‖ tag``, of 1, 16, 12, as many as were put in, and 16
bytes: AES-256-GCM under a key that scrypt (RFC 7914) derives from the passphrase. The version
stands for scrypt's parameters, too.
"""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from kmworker.errors import SetupError
from kmworker.secrecy import Secret

__all__ = ["MIN_PASSPHRASE_BYTES", "Passphrase", "PassphraseBox", "is_box"]

VERSION: Final = 1
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
# 128 MiB and some 0.4 s for each guess (OWASP's advice for stored passwords).
WORK: Final = 2**17
BLOCK: Final = 8
LANES: Final = 1
KEY_BYTES: Final = 32
MIN_PASSPHRASE_BYTES: Final = 16
"""A person's eight letters are guessed in days even so; five words of dice are not."""
MAX_SALTS: Final = 8
"""Derived keys kept: what was put in together has one salt."""

Passphrase = Callable[[], bytes]
"""Returns it when it is needed, so that it has no name in a frame that raises.

Raises:
    SetupError: it is not to be had.
"""


class PassphraseBox(Secret):
    """Puts secrets under a passphrase, and takes them out."""

    def __init__(self, passphrase: Passphrase, name: str) -> None:
        """Use a passphrase, which is asked for when it is needed.

        Args:
            passphrase: returns it.
            name: what errors call it.
        """
        self._passphrase = passphrase
        self._name = name
        # One salt for what is put in together, so that taking it out derives one key.
        self._salt = os.urandom(SALT_BYTES)
        self._cipher = lru_cache(MAX_SALTS)(self._derived)

    def put(self, export: Callable[[], bytes], context: bytes) -> bytes:
        """Return a box with a secret in it, which opens with this context alone.

        Args:
            export: returns the secret.
            context: what it is for.

        Raises:
            SetupError: the passphrase is too short, or not to be had.
        """
        nonce = os.urandom(NONCE_BYTES)
        cipher = self._cipher(self._salt)
        return bytes([VERSION]) + self._salt + nonce + cipher.encrypt(nonce, export(), context)

    def take(self, box: bytes, context: bytes) -> bytes | None:
        """Return what is in a box; None: it is damaged, or under another passphrase or context.

        Raises:
            SetupError: the passphrase is too short, or not to be had.
        """
        salt, rest = box[1 : 1 + SALT_BYTES], box[1 + SALT_BYTES :]
        cipher = self._cipher(salt)
        try:
            return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], context)
        except InvalidTag:
            return None

    def _derived(self, salt: bytes) -> AESGCM:
        # The passphrase never gets a name here, nor does what is derived from it.
        self._check_length()
        scrypt = Scrypt(salt=salt, length=KEY_BYTES, n=WORK, r=BLOCK, p=LANES)
        return AESGCM(scrypt.derive(self._passphrase()))

    def _check_length(self) -> None:
        if len(self._passphrase()) < MIN_PASSPHRASE_BYTES:
            raise SetupError(
                f"{self._name}: has fewer than {MIN_PASSPHRASE_BYTES} bytes",
                "draw one, such as: openssl rand -base64 24",
            )


def is_box(box: bytes, secret_bytes: int) -> bool:
    """Return whether this can be a box with a secret of so many bytes."""
    size_bytes = 1 + SALT_BYTES + NONCE_BYTES + secret_bytes + TAG_BYTES
    return len(box) == size_bytes and box[0] == VERSION
