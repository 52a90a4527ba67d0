"""Values are equal by what they hold, and hold nothing else."""

import pytest

from kmworker.domain.values import value


@value
class Pair:
    first: int
    second: int = 2


def test_values_are_equal_and_hashed_by_their_fields() -> None:
    assert Pair(1) == Pair(1, 2) != Pair(2, 2)
    assert len({Pair(1), Pair(1, 2), Pair(2)}) == 2


def test_a_value_holds_nothing_but_its_fields() -> None:
    with pytest.raises(AttributeError):
        Pair(1).third = 3  # type: ignore[attr-defined]


def test_a_value_is_taken_apart_by_place() -> None:
    match Pair(1):
        case Pair(first, second):
            assert (first, second) == (1, 2)
