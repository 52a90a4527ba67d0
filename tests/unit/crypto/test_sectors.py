"""Sectors are encrypted as dm-crypt does, by the standard's own vectors."""

import pytest

from kmworker.crypto.sectors import SECTOR_BYTES, decrypt_sectors, encrypt_sectors

# IEEE 1619-2007, annex B: vectors 4 and 5, which is what vector 4 gave as the data unit after it.
KEY = memoryview(
    bytes.fromhex("27182818284590452353602874713526" + "31415926535897932384626433832795")
)
PLAINTEXT = bytes(range(256)) * 2
VECTOR_4 = "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c"
VECTOR_5 = "264d3ca8512194fec312c8c9891f279f"


def test_a_sector_is_as_the_standards_vector_has_it() -> None:
    assert encrypt_sectors(KEY, PLAINTEXT).hex().startswith(VECTOR_4)


def test_each_sector_has_its_number_for_a_tweak() -> None:
    first = encrypt_sectors(KEY, PLAINTEXT)
    second = encrypt_sectors(KEY, PLAINTEXT + first)[SECTOR_BYTES:]
    assert second.hex().startswith(VECTOR_5)


def test_what_was_encrypted_is_opened_by_its_key_and_by_no_other() -> None:
    ciphertext = encrypt_sectors(KEY, PLAINTEXT * 3)
    assert decrypt_sectors(KEY, ciphertext) == PLAINTEXT * 3
    assert PLAINTEXT[:16] not in decrypt_sectors(memoryview(bytes(range(32))), ciphertext)


def test_half_a_sector_is_none() -> None:
    with pytest.raises(ValueError, match="no whole sectors"):
        encrypt_sectors(KEY, PLAINTEXT[:-1])
