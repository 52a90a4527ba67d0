from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.crypto import KeyringCustody
from kmworker.crypto.wrapping import MAX_KEY_BITS
from kmworker.domain.model import Encryption, ScopeRecord
from kmworker.errors import PermanentError, Reason, UnknownKek
from tests.unit.crypto.samples import (
    BOTH,
    FIRST,
    FIRST_KEY,
    INSTALLATION,
    SCOPE,
    SECOND,
    SECOND_KEY,
    keyring_of,
)

BLOB = FIRST.mint("p1", SCOPE)
REFUSAL = "integrity: the wrapped DEK of scope 'scope-1' does not unwrap"

NAMES = st.text(st.characters(), max_size=40)
SIZES = st.integers(1, 128).map(lambda size_bytes: 8 * size_bytes)


def refusal_of(blob: bytes, scope: ScopeRecord = SCOPE, project: str = "p1") -> PermanentError:
    """How unwrapping fails; the test fails if it does not."""
    with pytest.raises(PermanentError) as caught:
        BOTH.unwrap(project, scope, blob)
    assert caught.value.reason is Reason.INTEGRITY
    return caught.value


@given(project=NAMES, scope_id=NAMES, dek_id=NAMES, cipher=NAMES, key_bits=SIZES)
def test_a_minted_dek_unwraps_in_its_place(
    project: str, scope_id: str, dek_id: str, cipher: str, key_bits: int
) -> None:
    encryption = Encryption(cipher, key_bits)
    scope = replace(SCOPE, scope_id=scope_id, dek_id=dek_id, encryption=encryption)
    dek = FIRST.unwrap(project, scope, FIRST.mint(project, scope))
    assert len(dek) * 8 == key_bits


def test_every_mint_draws_another_dek_and_another_nonce() -> None:
    blobs = [FIRST.mint("p1", SCOPE) for _ in range(100)]
    assert len({FIRST.unwrap("p1", SCOPE, blob) for blob in blobs}) == len(blobs)
    assert len({blob[1:13] for blob in blobs}) == len(blobs)


def test_a_blob_does_not_hold_its_dek() -> None:
    dek = FIRST.unwrap("p1", SCOPE, BLOB)
    assert dek not in BLOB
    assert dek[:8] not in BLOB


def test_a_dek_wrapped_before_a_rotation_still_unwraps() -> None:
    assert BOTH.kek_id != FIRST.kek_id
    assert BOTH.unwrap("p1", SCOPE, BLOB) == FIRST.unwrap("p1", SCOPE, BLOB)


@pytest.mark.parametrize("position", range(len(BLOB)))
def test_a_blob_with_any_bit_flipped_does_not_unwrap(position: int) -> None:
    for bit in range(8):
        damaged = bytearray(BLOB)
        damaged[position] ^= 1 << bit
        refusal_of(bytes(damaged))


def test_a_truncated_blob_does_not_unwrap() -> None:
    for length in range(len(BLOB)):
        refusal_of(BLOB[:length])
        refusal_of(BLOB[len(BLOB) - length :])


@given(st.binary(min_size=1, max_size=40))
def test_an_extended_blob_does_not_unwrap(more: bytes) -> None:
    refusal_of(BLOB + more)
    refusal_of(more + BLOB)


@given(st.binary(max_size=200))
def test_bytes_made_up_do_not_unwrap(blob: bytes) -> None:
    refusal_of(blob)


@pytest.mark.parametrize(
    "elsewhere",
    [
        pytest.param({"scope_id": "scope-2"}, id="scope-id"),
        pytest.param({"dek_id": "dek-2"}, id="dek_id"),
        pytest.param({"encryption": Encryption("aes-cbc-essiv", 512)}, id="cipher"),
        pytest.param({"encryption": Encryption("aes-xts-plain64", 256)}, id="fewer-key-bits"),
        pytest.param({"encryption": Encryption("aes-xts-plain64", 513)}, id="as-many-bytes"),
        pytest.param({"encryption": Encryption("aes-xts-plain64", -8)}, id="negative-key-bits"),
        pytest.param({"kek_id": SECOND.kek_id}, id="kek"),
        pytest.param({"scope_id": "scope-1d", "dek_id": "ek-1"}, id="a-letter-over-the-edge"),
        pytest.param({"scope_id": "\ud800"}, id="not-even-text"),
    ],
)
def test_a_blob_does_not_unwrap_for_another(elsewhere: dict[str, str]) -> None:
    refusal_of(BLOB, replace(SCOPE, **elsewhere))  # type: ignore[arg-type]


def test_a_blob_does_not_unwrap_for_another_project() -> None:
    refusal_of(BLOB, project="p2")
    refusal_of(BLOB, project="\udfff")


def test_what_may_change_without_a_rewrap_does_not_touch_the_blob() -> None:
    later = replace(SCOPE, root="volume:v2", derived_from="scope-0", created_at="later")
    assert FIRST.unwrap("p1", later, BLOB) == FIRST.unwrap("p1", SCOPE, BLOB)


def test_a_kek_that_the_keyring_lacks_is_not_an_integrity_failure() -> None:
    with pytest.raises(UnknownKek, match=FIRST.kek_id):
        SECOND.unwrap("p1", SCOPE, BLOB)


def test_all_failures_to_unwrap_are_one_error() -> None:
    flipped = [BLOB[:at] + bytes([BLOB[at] ^ 1]) + BLOB[at + 1 :] for at in (0, 1, 13, 92)]
    wrong_kek = replace(SCOPE, kek_id=SECOND.kek_id)
    refusals = [
        *map(refusal_of, [b"", BLOB[:-1], BLOB + b"\0", *flipped]),
        refusal_of(BLOB, wrong_kek),
        refusal_of(BLOB, project="p2"),
        refusal_of(BLOB, replace(SCOPE, dek_id="dek-2")),
    ]
    assert {str(refusal) for refusal in refusals} == {REFUSAL}
    assert {(refusal.__cause__, refusal.__context__) for refusal in refusals} == {(None, None)}


def test_minting_for_a_kek_that_is_not_active_is_refused() -> None:
    with pytest.raises(ValueError, match="the active one is"):
        BOTH.mint("p1", SCOPE)
    with pytest.raises(ValueError, match="the active one is"):
        FIRST.mint("p1", replace(SCOPE, kek_id=""))


@pytest.mark.parametrize("key_bits", [-8, 0, 7, 513, MAX_KEY_BITS + 8])
def test_a_dek_of_an_impossible_size_is_not_minted(key_bits: int) -> None:
    scope = replace(SCOPE, encryption=Encryption("aes-xts-plain64", key_bits))
    with pytest.raises(ValueError, match=f"cannot have {key_bits} bits"):
        FIRST.mint("p1", scope)


def test_two_over_one_keyring_understand_each_other() -> None:
    other = KeyringCustody(keyring_of(FIRST_KEY, SECOND_KEY), INSTALLATION)
    assert other.unwrap("p1", SCOPE, BLOB) == FIRST.unwrap("p1", SCOPE, BLOB)
