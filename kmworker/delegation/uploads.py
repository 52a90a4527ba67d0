"""What a client stores itself: sealed to a key server, for one place."""

from typing import Final

from kmworker.delegation.buffer import KeyBuffer
from kmworker.delegation.encoded import as_text, from_text
from kmworker.delegation.identity import Identity
from kmworker.delegation.sealing import OVERHEAD_BYTES, Upload, seal, upload_info

__all__ = ["MAX_OBJECT_BYTES", "open_upload", "seal_upload"]

MAX_OBJECT_BYTES: Final = 20 * 1024
"""Of any object that is stored: sealed and in base64, it fits into a request."""


def seal_upload(content: bytes | bytearray | memoryview, upload: Upload, public: bytes) -> str:
    """Return an object as a request carries it, in base64.

    Args:
        content: the object.
        upload: where it belongs.
        public: one of the trust list's `seal` keys.

    Raises:
        ValueError: it is not as long as it is said to be, or too long.
    """
    if len(content) != upload.size_bytes:
        raise ValueError("the object's length is not what is said of it")
    if upload.size_bytes > MAX_OBJECT_BYTES:
        raise ValueError(f"an object has at most {MAX_OBJECT_BYTES:,} bytes")
    return as_text(seal(content, public, upload_info(upload)))


def open_upload(sealed: str, upload: Upload, identity: Identity) -> KeyBuffer | None:
    """Return an object that was sealed to this key server for this place; None: none was."""
    if not 0 <= upload.size_bytes <= MAX_OBJECT_BYTES:
        return None
    raw = from_text(sealed, upload.size_bytes + OVERHEAD_BYTES)
    return None if raw is None else identity.open(raw, upload_info(upload))
