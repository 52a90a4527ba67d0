"""DEKs under a KEK: what may lie in a store that others can read and write.

A blob opens only where it was made: installation, project, scope-id, dek_id, cipher, key
size and KEK are authenticated with it. Someone who can write to the store can delete a blob or
put back an older one of the same scope, but cannot make a volume use another's DEK.
"""

import os
from collections.abc import Callable, Mapping
from functools import lru_cache, partial

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kmworker.crypto.kek import Kek
from kmworker.domain.model import ScopeRecord
from kmworker.encoding import length_prefixed
from kmworker.errors import PermanentError, Reason, UnknownKek
from kmworker.secrecy import Secret

__all__ = ["MAX_KEY_BITS", "Wrapper", "no_unwrap", "unknown_kek"]

VERSION = 2
VERSION_OF_LAYOUT_1 = 1
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD_BYTES = 1 + NONCE_BYTES + TAG_BYTES
LABEL = "kmworker/wrap/v2"
LABEL_OF_LAYOUT_1 = "kmworker/wrap/v1"

MAX_KEY_BITS = 65_536
"""Far above any cipher's key: an event must not make a worker draw gigabytes."""

MAX_PROJECTS = 10_000
"""Wrapping keys kept ready, some 3 kB each; deriving one again takes some 15 µs."""


class Wrapper(Secret):
    """Makes and opens blobs: ``version ‖ nonce ‖ ciphertext ‖ tag``.

    One byte of version, 12 of nonce, ``key_bits / 8`` of ciphertext, 16 of tag. The
    cipher is AES-256-GCM (NIST SP 800-38D) under a key of the project's own in this
    installation, derived from the KEK. Nonces are random, so a wrapping key is good for 2**32
    blobs (section 8.3): four thousand million key scopes in one project under one KEK.
    """

    __slots__ = ("_project", "_version")

    def __init__(self, keks: Mapping[str, Kek], installation: str | None) -> None:
        """Wrap under these for an installation; None: as layout 1 did, which knew of none."""
        self._version = VERSION_OF_LAYOUT_1 if installation is None else VERSION
        self._project = lru_cache(MAX_PROJECTS)(partial(_of_project, keks, installation))

    def mint(self, project: str, scope: ScopeRecord) -> bytes:
        """Draw a DEK for the scope and return it wrapped under ``scope.kek_id``.

        Raises:
            ValueError: the key size is not a whole number of bytes, or out of bounds.
        """
        dek_bytes = _dek_bytes(scope)
        return self._wrapped(project, scope, lambda: os.urandom(dek_bytes))

    def unwrap(self, project: str, scope: ScopeRecord, blob: bytes) -> bytes | None:
        """Return the DEK, or None if anything at all about the blob is wrong."""
        try:
            return self.opened(project, scope, blob)
        except InvalidTag:
            return None

    def rewrap(
        self,
        former: "Wrapper",
        project: str,
        scope: ScopeRecord,
        blob: bytes,
        after: ScopeRecord | None = None,
    ) -> bytes | None:
        """Return the DEK in ``former``'s blob as `mint` wraps it; None if it does not unwrap.

        Args:
            former: what opens it.
            project: whose.
            scope: as it is.
            blob: the wrapped DEK.
            after: the scope as it is to be, under another KEK; None: as it is.
        """
        try:
            return self._wrapped(
                project, after or scope, lambda: former.opened(project, scope, blob)
            )
        except InvalidTag:
            return None

    def _wrapped(self, project: str, scope: ScopeRecord, dek: Callable[[], bytes]) -> bytes:
        cipher, opening = self._project(scope.kek_id, project)
        nonce = os.urandom(NONCE_BYTES)
        # The DEK never gets a name: no frame's locals show it to a crash reporter, and
        # it is gone with this call.
        sealed = cipher.encrypt(nonce, dek(), opening + _context(scope))
        return bytes([self._version]) + nonce + sealed

    def opened(self, project: str, scope: ScopeRecord, blob: bytes) -> bytes:
        """Return the DEK; raises `InvalidTag` if anything at all about the blob is wrong."""
        if len(blob) != OVERHEAD_BYTES + scope.encryption.key_bits // 8:
            raise InvalidTag
        if blob[0] != self._version:
            raise InvalidTag
        nonce, ciphertext = blob[1 : 1 + NONCE_BYTES], blob[1 + NONCE_BYTES :]
        cipher, opening = self._project(scope.kek_id, project)
        # Not decrypt_into: on a wrong tag that leaves unverified plaintext behind.
        return cipher.decrypt(nonce, ciphertext, opening + _context(scope))


def unknown_kek(scope: ScopeRecord) -> UnknownKek:
    """Return the error for a wrapped DEK under a KEK that is not at hand."""
    said = f"scope {scope.scope_id!r} is under KEK {scope.kek_id!r}, not in the keyring"
    return UnknownKek(said, scope.kek_id)


def no_unwrap(scope: ScopeRecord) -> PermanentError:
    """Return the one error for whatever else is wrong with a wrapped DEK."""
    detail = f"the wrapped DEK of scope {scope.scope_id!r} does not unwrap"
    return PermanentError(Reason.INTEGRITY, detail)


def associated_data(installation: str, project: str, scope: ScopeRecord) -> bytes:
    """Return where a blob belongs, length-prefixed.

    That is: version, installation, project, scope-id, dek_id, cipher, key bits, kek_id; the
    numbers in decimal. Times and states are not in it: they change without a rewrap.
    """
    return _opening(installation, project) + _context(scope)


def _opening(installation: str | None, project: str) -> bytes:
    """Return the beginning of `associated_data`, the same for all scopes of a project."""
    if installation is None:
        return length_prefixed(str(VERSION_OF_LAYOUT_1), project)
    return length_prefixed(str(VERSION), installation, project)


def _context(scope: ScopeRecord) -> bytes:
    cipher, key_bits = scope.encryption
    return length_prefixed(scope.scope_id, scope.dek_id, cipher, str(key_bits), scope.kek_id)


def _dek_bytes(scope: ScopeRecord) -> int:
    key_bits = scope.encryption.key_bits
    # Zero bits would give a blob that unwraps to nothing: data in the clear.
    if key_bits % 8 or not 0 < key_bits <= MAX_KEY_BITS:
        raise ValueError(f"a DEK cannot have {key_bits} bits")
    return key_bits // 8


def _of_project(
    keks: Mapping[str, Kek], installation: str | None, kek_id: str, project: str
) -> tuple[AESGCM, bytes]:
    """Return the project's cipher and the `_opening` of its associated data."""
    kek = keks[kek_id]
    if installation is None:
        key = kek.derive(LABEL_OF_LAYOUT_1, project)
    else:
        key = kek.derive(LABEL, installation, project)
    return AESGCM(key), _opening(installation, project)
