"""When something is due again: at once, then at times of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.clock import Every, StoreClock
from tests.kit.simulator.clock import Ahead, SettableClock


def times(every: Every, clock: SettableClock, steps: list[float]) -> list[float]:
    """Return when it was due, of a start and these steps, in seconds since the start."""
    began, found = clock.monotonic(), []
    for step in [0.0, *steps]:
        clock.advance(step)
        if every.is_due():
            found.append(clock.monotonic() - began)
    return found


@pytest.mark.parametrize("offset_s", [0.0, 0.25, 1.75])
def test_it_is_due_at_once_and_then_as_often_as_it_should(offset_s: float) -> None:
    clock = SettableClock()
    first, second, *later = times(Every(clock, 2.0, offset_s), clock, [0.25] * 40)
    assert first == 0.0
    assert 1.0 <= second < 3.0
    assert later == [second + 2.0 * n for n in range(1, len(later) + 1)]
    assert len(later) >= 3


def test_what_is_done_as_often_is_not_done_together() -> None:
    clock = SettableClock()
    one, other = Every(clock, 1.0), Every(clock, 1.0, 0.5)
    one.is_due()
    other.is_due()
    clock.advance(7.3)
    # Both are late, and together this once.
    assert one.is_due()
    assert other.is_due()
    done = []
    for _ in range(40):
        clock.advance(0.1)
        done.append((one.is_due(), other.is_due()))
    assert (True, True) not in done
    assert {sum(times) for times in zip(*done, strict=True)} <= {3, 4}


@given(
    every_s=st.floats(0.1, 10),
    offset_s=st.floats(0, 10),
    steps=st.lists(st.floats(0, 30), max_size=40),
)
def test_it_is_never_due_twice_in_one_interval_nor_forgotten(
    every_s: float, offset_s: float, steps: list[float]
) -> None:
    clock = SettableClock()
    every = Every(clock, every_s, offset_s)
    assert every.is_due()
    assert not every.is_due()
    for step in steps:
        clock.advance(step)
        if not every.is_due():
            assert step < 1.5 * every_s
        assert not every.is_due()


def test_a_clock_that_is_set_while_a_worker_runs_changes_nothing() -> None:
    inner = SettableClock()
    machine = Ahead(inner, 0.0)
    clock = StoreClock(machine)
    assert clock.agree(inner.now) == 0.0
    machine.ahead_s = 7200.0
    assert clock.now() == inner.now()
    assert clock.agree(inner.now) == 7200.0
    assert clock.now() == inner.now()


def test_an_answer_that_took_long_is_believed_only_if_there_is_no_better() -> None:
    inner = SettableClock()
    clock = StoreClock(inner)

    def slow() -> float:
        inner.advance(10)
        return inner.now()

    clock.agree(slow)
    assert clock.now() == pytest.approx(inner.now(), abs=5)
    clock.agree(inner.now)
    clock.agree(slow)
    assert clock.now() == inner.now()
