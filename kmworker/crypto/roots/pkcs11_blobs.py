"""How a KEK is wrapped inside a token: the better way, and one for tokens that lack it.

Both authenticate the context. The key material of the KEK is an argument, never a name.
"""

import hashlib
import hmac
import os
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass, Session

from kmworker.crypto.kek import KEK_BYTES, Kek

__all__ = ["SUITES", "Suite", "suite_of"]

NONCE_BYTES: Final = 12
TAG_BITS: Final = 128
DIGEST_BYTES: Final = 32


class Suite(NamedTuple):
    """One way to wrap; `version` is the blob's first byte."""

    version: int
    mechanism: Mechanism
    size_bytes: int
    """Of a blob without its first byte."""
    verbs: tuple[str, str]
    """What the key must be allowed to do."""
    seal: Callable[[Session, Any, Kek, bytes], bytes]
    open: Callable[[Session, Any, bytes, bytes], bytes | None]


def _seal_gcm(_session: Session, key: Any, kek: Kek, context: bytes) -> bytes:  # noqa: ANN401
    nonce = os.urandom(NONCE_BYTES)
    parameters = GCMParams(nonce, context, TAG_BITS)
    return nonce + bytes(
        key.encrypt(kek.export(), mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
    )


def _open_gcm(_session: Session, key: Any, blob: bytes, context: bytes) -> bytes:  # noqa: ANN401
    parameters = GCMParams(blob[:NONCE_BYTES], context, TAG_BITS)
    return bytes(
        key.decrypt(blob[NONCE_BYTES:], mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
    )


# RFC 3394 takes no associated data, so the context's digest is wrapped with the KEK, and
# wraps only what is an object of the session: one that ends with it.
_FOR_THE_SESSION: Final = {
    Attribute.TOKEN: False,
    Attribute.SENSITIVE: False,
    Attribute.EXTRACTABLE: True,
}


def _seal_key_wrap(session: Session, key: Any, kek: Kek, context: bytes) -> bytes:  # noqa: ANN401
    carried = session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
            Attribute.VALUE: hashlib.sha256(context).digest() + kek.export(),
            **_FOR_THE_SESSION,
        }
    )
    try:
        return bytes(key.wrap_key(carried, mechanism=Mechanism.AES_KEY_WRAP))
    finally:
        carried.destroy()


def _open_key_wrap(
    _session: Session,
    key: Any,  # noqa: ANN401
    blob: bytes,
    context: bytes,
) -> bytes | None:
    carried = key.unwrap_key(
        ObjectClass.SECRET_KEY,
        KeyType.GENERIC_SECRET,
        blob,
        mechanism=Mechanism.AES_KEY_WRAP,
        template=_FOR_THE_SESSION,
    )
    try:
        return _of_context(bytes(carried[Attribute.VALUE]), context)
    finally:
        carried.destroy()


def _of_context(value: bytes, context: bytes) -> bytes | None:
    is_meant = hmac.compare_digest(value[:DIGEST_BYTES], hashlib.sha256(context).digest())
    return value[DIGEST_BYTES:] if is_meant else None


SUITES: Final = (
    Suite(
        version=1,
        mechanism=Mechanism.AES_GCM,
        size_bytes=NONCE_BYTES + KEK_BYTES + TAG_BITS // 8,
        verbs=("encrypt", "decrypt"),
        seal=_seal_gcm,
        open=_open_gcm,
    ),
    Suite(
        version=2,
        mechanism=Mechanism.AES_KEY_WRAP,
        size_bytes=8 + DIGEST_BYTES + KEK_BYTES,
        verbs=("wrap_key", "unwrap_key"),
        seal=_seal_key_wrap,
        open=_open_key_wrap,
    ),
)
"""The first that a token has is used; a blob says by which it was made."""


def suite_of(blob: bytes) -> Suite | None:
    """Return how a blob was made; None where its first byte or its length is no blob's."""
    for suite in SUITES:
        if blob[:1] == bytes([suite.version]) and len(blob) == 1 + suite.size_bytes:
            return suite
    return None
