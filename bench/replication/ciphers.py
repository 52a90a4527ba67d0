"""Ways to encrypt a file, and what its replica is brought up to date from.

AES by IEEE 1619 (XTS) and NIST SP 800-38A (CBC, CTR). Where sectors have an IV of their own, it is
the sector's number, as with dm-crypt's plain64.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

__all__ = ["SEED", "WAYS", "Encrypt", "Way"]

Encrypt = Callable[[bytes], bytes]
Mode = modes.XTS | modes.CBC | modes.CTR
SECTOR_BYTES: Final = 4096
SEED: Final = 18  # the same bytes in each run: what is counted must not be by chance
_drawn = Random(SEED)
KEY, OTHER_KEY = _drawn.randbytes(64), _drawn.randbytes(64)
IV, FRESH_IV = _drawn.randbytes(16), _drawn.randbytes(16)


@dataclass(frozen=True, slots=True)
class Way:
    """How the replica was encrypted, and how what it is to become is."""

    id: str
    text: str
    before: Encrypt
    after: Encrypt


def _whole(mode: Mode, key: bytes) -> Encrypt:
    def encrypt(data: bytes) -> bytes:
        encryptor = Cipher(algorithms.AES(key[:32]), mode).encryptor()
        return encryptor.update(_padded(data)) + encryptor.finalize()

    return encrypt


def _by_sector(mode: Callable[[bytes], Mode], key: bytes, sector_bytes: int) -> Encrypt:
    algorithm = algorithms.AES(key)

    def encrypt(data: bytes) -> bytes:
        padded, sectors = memoryview(_padded(data)), []
        for begin in range(0, len(padded), sector_bytes):
            number = (begin // sector_bytes).to_bytes(16, "little")
            encryptor = Cipher(algorithm, mode(number)).encryptor()
            sectors.append(encryptor.update(padded[begin : begin + sector_bytes]))
        return b"".join(sectors)

    return encrypt


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % SECTOR_BYTES)


def _same(encrypt: Encrypt) -> tuple[Encrypt, Encrypt]:
    return encrypt, encrypt


XTS: Final = _by_sector(modes.XTS, KEY, SECTOR_BYTES)
WAYS: Final = (
    Way("none", "not encrypted", *_same(lambda data: data)),
    Way("xts-512", "same key, XTS, sectors of 512 B", *_same(_by_sector(modes.XTS, KEY, 512))),
    Way("xts", "same key, XTS, sectors of 4 KiB", *_same(XTS)),
    Way(
        "cbc-sector",
        "same key, CBC, an IV for each sector",
        *_same(_by_sector(modes.CBC, KEY[:32], SECTOR_BYTES)),
    ),
    Way("cbc-file", "same key, CBC, one IV for the file", *_same(_whole(modes.CBC(IV), KEY))),
    Way("ctr", "same key, CTR, same IV: gives away the XOR", *_same(_whole(modes.CTR(IV), KEY))),
    Way(
        "ctr-fresh",
        "same key, CTR, a fresh IV",
        _whole(modes.CTR(IV), KEY),
        _whole(modes.CTR(FRESH_IV), KEY),
    ),
    Way("other-key", "another key, XTS", XTS, _by_sector(modes.XTS, OTHER_KEY, SECTOR_BYTES)),
)
