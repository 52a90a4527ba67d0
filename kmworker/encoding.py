"""One byte string from several texts, with only one way to read it.

Text that is merely joined can be cut in two ways: the project ``ab`` with the item
``c`` looks like the project ``a`` with the item ``bc``. Whoever may choose a name could
then make one project's key or record pass for another's. A length before each part
leaves one reading.
"""

import struct

__all__ = ["length_of", "length_prefixed", "text_bytes"]

_LENGTH = struct.Struct(">I")
length_of = _LENGTH.pack
"""The length field: four bytes, big-endian, counting bytes."""


def text_bytes(text: str) -> bytes:
    """Return ``text`` in UTF-8; defined for every Python string, and one-to-one.

    Names read back from a store that others can write to may hold lone surrogates.
    They must fail authentication like any other wrong name, not end in an encoding error.
    """
    return text.encode("utf-8", "surrogatepass")


def length_prefixed(*parts: str) -> bytes:
    """Return, for each part in turn, its `length_of` and its `text_bytes`."""
    pieces: list[bytes] = []
    for raw in map(text_bytes, parts):
        pieces += (length_of(len(raw)), raw)
    return b"".join(pieces)
