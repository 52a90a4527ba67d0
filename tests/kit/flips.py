"""The same bytes with one bit changed, at each place in turn."""

from collections.abc import Iterator


def flipped(content: bytes) -> Iterator[bytes]:
    """Give the content with another bit changed in each of its bytes."""
    for at, byte in enumerate(content):
        yield content[:at] + bytes([byte ^ 1 << at % 8]) + content[at + 1 :]


def flipped_text(text: str) -> Iterator[str]:
    """Give the text with another letter in each of its places."""
    for changed in flipped(text.encode()):
        yield changed.decode("latin-1")
