"""UUIDs that are drawn at random (RFC 9562, version 4), as text: see `kmworker.domain.ids`."""

import os

from kmworker.domain.ids import uuid_text

__all__ = ["random_id"]


def random_id() -> str:
    """Return a random UUID."""
    return uuid_text(os.urandom(16).hex(), "4")
