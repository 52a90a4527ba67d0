"""DEKs under a KEK: what may lie in a store that others can read and write.

A blob opens only where it was made: project, scope-id, dek_id, cipher, key size and
KEK are authenticated with it. Someone who can write to the store can delete a blob or
put back an older one of the same scope, but cannot make a volume use another's DEK.
"""

import os
from functools import lru_cache, partial

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kmworker.crypto.encoding import length_prefixed
from kmworker.crypto.kek import Secret
from kmworker.crypto.keyring import Keyring
from kmworker.model import ScopeRecord

__all__ = ["KEY_BITS_MAX", "Wrapper"]

VERSION = 1
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD_BYTES = 1 + NONCE_BYTES + TAG_BYTES
LABEL = "kmworker/wrap/v1"

KEY_BITS_MAX = 65_536
"""Far above any cipher's key: an event must not make a worker draw gigabytes."""

PROJECTS_MAX = 10_000
"""Wrapping keys kept ready, some 3 kB each; deriving one again takes some 15 µs."""


class Wrapper(Secret):
    """Makes and opens blobs: ``version ‖ nonce ‖ ciphertext ‖ tag``.

    One byte of version, 12 of nonce, ``key_bits / 8`` of ciphertext, 16 of tag. The
    cipher is AES-256-GCM (NIST SP 800-38D) under a key of the project's own, derived
    from the KEK. Nonces are random, so a wrapping key is good for 2**32 blobs (section
    8.3): four thousand million key scopes in one project under one KEK.
    """

    __slots__ = ("_cipher",)

    def __init__(self, keyring: Keyring) -> None:
        self._cipher = lru_cache(PROJECTS_MAX)(partial(_project_cipher, keyring))

    def mint(self, project: str, scope: ScopeRecord) -> bytes:
        """Draw a DEK for the scope and return it wrapped under ``scope.kek_id``.

        Raises:
            ValueError: the key size is not a whole number of bytes, or out of bounds.
        """
        dek_bytes = _dek_bytes(scope)
        cipher = self._cipher(scope.kek_id, project)
        nonce = os.urandom(NONCE_BYTES)
        context = associated_data(project, scope)
        # The DEK never gets a name: no frame's locals show it to a crash reporter, and
        # it is gone with this call.
        return bytes([VERSION]) + nonce + cipher.encrypt(nonce, os.urandom(dek_bytes), context)

    def unwrap(self, project: str, scope: ScopeRecord, blob: bytes) -> bytes | None:
        """Return the DEK, or None if anything at all about the blob is wrong."""
        if len(blob) != OVERHEAD_BYTES + scope.encryption.key_bits // 8 or blob[0] != VERSION:
            return None
        nonce, ciphertext = blob[1 : 1 + NONCE_BYTES], blob[1 + NONCE_BYTES :]
        cipher = self._cipher(scope.kek_id, project)
        try:
            # Not decrypt_into: on a wrong tag that leaves unverified plaintext behind.
            return cipher.decrypt(nonce, ciphertext, associated_data(project, scope))
        except InvalidTag:
            return None


def associated_data(project: str, scope: ScopeRecord) -> bytes:
    """Return where a blob belongs, length-prefixed.

    That is: version, project, scope-id, dek_id, cipher, key bits, kek_id; the numbers in
    decimal. Times and states are not in it: they change without a rewrap.
    """
    cipher, key_bits = scope.encryption
    scope_id, dek_id, kek_id = scope.scope_id, scope.dek_id, scope.kek_id
    return length_prefixed(str(VERSION), project, scope_id, dek_id, cipher, str(key_bits), kek_id)


def _dek_bytes(scope: ScopeRecord) -> int:
    key_bits = scope.encryption.key_bits
    # Zero bits would give a blob that unwraps to nothing: data in the clear.
    if key_bits % 8 or not 0 < key_bits <= KEY_BITS_MAX:
        raise ValueError(f"a DEK cannot have {key_bits} bits")
    return key_bits // 8


def _project_cipher(keyring: Keyring, kek_id: str, project: str) -> AESGCM:
    return AESGCM(keyring.keks[kek_id].derive(LABEL, project))
