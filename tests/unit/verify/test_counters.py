"""Counters that move while they are counted: what is wrong for certain, and what is right."""

from dataclasses import dataclass

import pytest

from kmworker.store.counts import number_in
from kmworker.verify.rules.counters import Counted, count_finding, is_unsettled
from kmworker.verify.rules.findings import CountRepair


@dataclass(frozen=True)
class Case:
    """A counter before and after, what was counted, and the verdict."""

    before: bytes | None
    after: bytes | None
    items: int
    verdict: str
    """``right``, ``wrong`` (and put right by setting it), or ``moving`` (wrong, but how much?)."""
    doubtful: int = 0
    length: int | None = 9


CASES = {
    "still": Case(b"3", b"3", 3, "right"),
    "absent, of nothing": Case(None, None, 0, "right"),
    "no less than at first, no more than at last": Case(b"3", b"7", 5, "right"),
    "the first": Case(b"3", b"7", 3, "right"),
    "the last": Case(b"3", b"7", 7, "right"),
    "new meanwhile": Case(None, b"2", 1, "right"),
    "too low": Case(b"2", b"2", 3, "wrong"),
    "too high": Case(b"4", b"4", 3, "wrong"),
    "absent": Case(None, None, 3, "wrong"),
    "of nothing": Case(b"4", b"4", 0, "wrong"),
    "too low, and moving": Case(b"2", b"4", 5, "moving"),
    "too high, and moving": Case(b"4", b"6", 3, "moving"),
    "no number": Case(b"x", b"x", 3, "wrong"),
    "no number, while items came": Case(b"x", b"x", 3, "moving", length=None),
    "a number, while other items came": Case(b"4", b"4", 3, "wrong", length=None),
    "a number no more": Case(b"3", b"x", 3, "moving"),
    "no number any more, but right": Case(b"x", b"3", 3, "right"),
    "near where Redis refuses to count": Case(b"9" * 18 + b"0", b"9" * 18 + b"0", 3, "wrong"),
    "beyond it": Case(b"9" * 30, b"9" * 30, 3, "wrong"),
}


@pytest.mark.parametrize("key", ["holders", "stats"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_counter_is_right_wrong_or_still_moving(case: Case, key: str) -> None:
    counted = Counted(
        key, "f", case.before, case.after, case.items, doubtful=case.doubtful, length=case.length
    )
    finding = count_finding("p1", counted)
    if case.verdict == "right":
        assert finding is None
        return
    assert finding is not None
    assert finding.problem.value == f"{key}-wrong"
    assert is_unsettled(counted) == (case.verdict == "moving")
    if case.verdict == "moving":
        assert finding.repair is None
    else:
        assert isinstance(finding.repair, CountRepair)
        assert (finding.repair.before, finding.repair.after) == (case.after, case.items)


def test_a_counter_that_is_no_number_is_set_only_while_no_item_comes() -> None:
    finding = count_finding("p1", Counted("stats", "create", b"x", b"x", 3, 0, 9))
    assert finding is not None
    assert finding.repair == CountRepair("stats", "create", b"x", 3, counted="items", length=9)


@pytest.mark.parametrize(
    ("said", "wrong"), [(b"3", False), (b"5", False), (b"2", True), (b"6", True)]
)
def test_flawed_items_may_belong_or_not_and_nothing_is_concluded_from_them(
    said: bytes, wrong: bool
) -> None:
    counted = Counted("stats", "create", said, said, 3, doubtful=2, length=9)
    finding = count_finding("p1", counted)
    assert (finding is not None) == wrong
    assert finding is None or finding.repair is None
    assert not is_unsettled(counted)


@pytest.mark.parametrize(
    ("text", "number"),
    [(None, 0), (b"0", 0), (b"17", 17), (b"", None), (b"-1", None), (b"1.5", None), (b"01", None),
     (b" 1", None), ("²".encode(), None), (b"9" * 15, 10**15 - 1), (b"1" + b"0" * 15, None)],
)  # fmt: skip
def test_what_a_counter_counts(text: bytes | None, number: int | None) -> None:
    assert number_in(text) == number
