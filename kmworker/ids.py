"""UUIDs as text (RFC 9562): drawn at random, or computed from a name.

The standard library makes an object of each and takes it apart again, which takes longer
than the digest or the randomness in it.
"""

import os
import uuid
from hashlib import sha1
from typing import Final

__all__ = ["NAMESPACE", "named_id", "random_id"]

# Of every name-based UUID that kmworker makes. Changing it would give every scope and every
# announcement another id.
NAMESPACE: Final = uuid.UUID("6b6d776f-726b-5572-8000-6b65792d6964")
# RFC 9562, section 4.1: the two highest bits of the ninth byte are 10.
VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_NAMED: Final = sha1(NAMESPACE.bytes, usedforsecurity=False)


def random_id() -> str:
    """Return a random UUID (version 4)."""
    return _text(os.urandom(16).hex(), "4")


def named_id(name: str) -> str:
    """Return the UUID of a name (version 5): always the same."""
    digest = _NAMED.copy()
    digest.update(name.encode())
    return _text(digest.hexdigest(), "5")


def _text(digits: str, version: str) -> str:
    return (
        f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}"
        f"-{VARIANT[digits[16]]}{digits[17:20]}-{digits[20:32]}"
    )
