"""Text from others, made harmless for a terminal.

Control characters steer it. Format characters (Unicode's Cf: bidirectional overrides, zero-width
joiners, tags) make one text look like another. Line and paragraph separators break lines, and
lone surrogates cannot be written at all.
"""

import re
from typing import Final

__all__ = ["escaped"]

_STEERING: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
    # Cf, and what Unicode keeps for more of them.
    "\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\ufeff\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001345f"
    "\U0001bca0-\U0001bcaf\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
BEYOND_16_BITS: Final = 0x1_0000


def escaped(text: str, but: str = "") -> str:
    """Return a text with each such character as JSON escapes it, so that it means the same."""
    return _STEERING.sub(lambda found: found[0] if found[0] in but else _escape(found[0]), text)


def _escape(character: str) -> str:
    point = ord(character)
    if point < BEYOND_16_BITS:
        return f"\\u{point:04x}"
    high, low = divmod(point - BEYOND_16_BITS, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
