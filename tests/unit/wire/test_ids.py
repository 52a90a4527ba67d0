"""Ids are the UUIDs that RFC 9562 describes, as the standard library makes them."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from kmworker.domain.ids import NAMESPACE, named_id
from kmworker.wire.ids import random_id

# What UTF-8 has no bytes for is in no name: item ids and sources are checked before.
NAMES = st.text(st.characters(exclude_categories=["Cs"]))


@given(NAMES)
def test_a_name_has_the_id_that_version_5_gives_it(name: str) -> None:
    assert named_id(name) == str(uuid.uuid5(NAMESPACE, name))


def test_random_ids_are_of_version_4_and_all_different() -> None:
    drawn = [random_id() for _ in range(2_000)]
    assert len(set(drawn)) == len(drawn)
    for text in drawn:
        read = uuid.UUID(text)
        assert (str(read), read.version, read.variant) == (text, 4, uuid.RFC_4122)


def test_random_ids_are_random_in_every_digit_that_may_be() -> None:
    drawn = [random_id() for _ in range(2_000)]
    digits = [len({text[at] for text in drawn}) for at in range(36)]
    assert (
        digits
        == [16] * 8 + [1] + [16] * 4 + [1, 1] + [16] * 3 + [1, 4] + [16] * 3 + [1] + [16] * 12
    )
