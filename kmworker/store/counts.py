"""Numbers that Redis counts up, and whoever may write to it can write over."""

from typing import Final

__all__ = ["MAX_DIGITS", "number_in"]

# Redis counts to 2**63 and refuses then; what is near it was not counted by a worker.
MAX_DIGITS: Final = 15


def number_in(text: bytes | None) -> int | None:
    """Return what a counter says, None if it is no count; absent is 0.

    Redis does not count on from a number that begins with a zero: it is text.
    """
    if text is None or text == b"0":
        return 0
    is_count = text.isdigit() and len(text) <= MAX_DIGITS and not text.startswith(b"0")
    return int(text) if is_count else None
