"""Base64 with one way to write each string of bytes, as signatures need it."""

import base64
import binascii

__all__ = ["as_text", "from_text"]


def as_text(raw: bytes) -> str:
    """Return base64 (RFC 4648, section 4)."""
    return base64.b64encode(raw).decode("ascii")


def from_text(text: str, size_bytes: int | None = None) -> bytes | None:
    """Return what `as_text` was given; None: it is not what `as_text` writes, or of another size.

    The bits that are left over at the end have to be zero (RFC 4648, section 3.5): otherwise a
    text could be changed, and be another message, without changing what it means.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    if as_text(raw) != text or (size_bytes is not None and len(raw) != size_bytes):
        return None
    return raw
