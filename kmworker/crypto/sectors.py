"""Sectors under a DEK, as dm-crypt has them: `aes-xts-plain64`, of 512 bytes each.

For the demonstration alone: it shows that a key which was delivered is the one, by what it opens.
XTS (IEEE 1619, NIST SP 800-38E) hides and does not authenticate, so who opens something with
another key gets other bytes, and no error.
"""

from collections.abc import Iterator
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

__all__ = ["SECTOR_BYTES", "decrypt_sectors", "encrypt_sectors"]

SECTOR_BYTES: Final = 512
TWEAK_BYTES: Final = 16


def encrypt_sectors(key: memoryview, plaintext: bytes) -> bytes:
    """Encrypt whole sectors, from the first of a volume on.

    Raises:
        ValueError: they are none, or the key has neither 256 nor 512 bits.
    """
    return b"".join(
        Cipher(AES(key), XTS(tweak)).encryptor().update(sector)
        for tweak, sector in _sectors(plaintext)
    )


def decrypt_sectors(key: memoryview, ciphertext: bytes) -> bytes:
    """Undo `encrypt_sectors`; raises as that does."""
    return b"".join(
        Cipher(AES(key), XTS(tweak)).decryptor().update(sector)
        for tweak, sector in _sectors(ciphertext)
    )


def _sectors(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give sectors, each with what `plain64` makes of its number: little-endian, zeros behind."""
    if len(content) % SECTOR_BYTES:
        raise ValueError("no whole sectors")
    for number, at in enumerate(range(0, len(content), SECTOR_BYTES)):
        yield number.to_bytes(TWEAK_BYTES, "little"), content[at : at + SECTOR_BYTES]
