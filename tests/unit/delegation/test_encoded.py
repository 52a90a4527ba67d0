"""Base64 has one spelling: a signed text cannot be changed and still mean the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.delegation.encoded import as_text, from_text

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@given(st.binary(max_size=80))
def test_what_is_written_is_read(raw: bytes) -> None:
    assert from_text(as_text(raw)) == raw


def test_of_all_spellings_of_a_signature_one_is_taken() -> None:
    text = as_text(bytes(range(64)))
    spelt = [f"{text[:85]}{last}==" for last in ALPHABET]
    assert [it for it in spelt if from_text(it) == bytes(range(64))] == [text]


@pytest.mark.parametrize(
    "text", ["AA", "AA=", "AA==\n", " AA==", "A-==", "AA===", "AAAA====", "é", "AA==AA==", "=", "A"]
)
def test_other_ways_to_write_base64_are_refused(text: str) -> None:
    assert from_text(text) is None


def test_another_size_than_is_expected_is_refused() -> None:
    assert from_text(as_text(b"abc"), 3) == b"abc"
    assert from_text(as_text(b"abc"), 4) is None
