"""UUIDs that are computed from a name (RFC 9562, version 5), as text.

The standard library makes an object of each and takes it apart again, which takes longer
than the digest in it.
"""

import uuid
from hashlib import sha1
from typing import Final

__all__ = ["NAMESPACE", "named_id", "uuid_text"]

# Of every name-based UUID that kmworker makes. Changing it would give every scope and every
# announcement another id.
NAMESPACE: Final = uuid.UUID("6b6d776f-726b-5572-8000-6b65792d6964")
# RFC 9562, section 4.1: the two highest bits of the ninth byte are 10.
VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_NAMED: Final = sha1(NAMESPACE.bytes, usedforsecurity=False)


def named_id(name: str) -> str:
    """Return the UUID of a name (version 5): always the same."""
    digest = _NAMED.copy()
    digest.update(name.encode())
    return uuid_text(digest.hexdigest(), "5")


def uuid_text(digits: str, version: str) -> str:
    """Return a UUID of 32 hexadecimal digits or more, with its version and variant set."""
    return (
        f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}"
        f"-{VARIANT[digits[16]]}{digits[17:20]}-{digits[20:32]}"
    )
