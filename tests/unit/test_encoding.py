from hypothesis import given
from hypothesis import strategies as st

from kmworker.encoding import length_prefixed

# Lone surrogates included: names out of a store that others can write to may hold them.
TEXTS = st.lists(st.text(st.characters(), max_size=8), max_size=4)


@given(TEXTS, TEXTS)
def test_two_lists_of_texts_never_encode_alike(one: list[str], other: list[str]) -> None:
    assert (length_prefixed(*one) == length_prefixed(*other)) == (one == other)


def test_moving_a_letter_to_the_next_part_changes_the_bytes() -> None:
    assert length_prefixed("ab", "c") != length_prefixed("a", "bc")


def test_the_length_counts_bytes_of_utf_8() -> None:
    assert length_prefixed("é", "") == b"\0\0\0\2\xc3\xa9\0\0\0\0"


def test_what_utf_8_cannot_hold_is_not_mistaken_for_something_else() -> None:
    encoded = {length_prefixed(text) for text in ("\ud800", "\udfff", "?", "\ufffd", "")}
    assert len(encoded) == 5
