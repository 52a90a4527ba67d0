"""The store's time, and the machine's."""

import pytest

from kmworker.clock import StoreClock, rfc3339, unix_s
from tests.kit.simulator.clock import Ahead, SettableClock


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


def test_times_are_read_as_they_are_written() -> None:
    assert unix_s(rfc3339(1_795_449_600.125)) == 1_795_449_600.125


def test_a_leap_second_is_the_beginning_of_the_next_minute() -> None:
    assert unix_s("2016-12-31T23:59:60Z") == unix_s("2017-01-01T00:00:00Z")
    assert unix_s("2017-01-01t00:59:60.5+01:00") == unix_s("2017-01-01T00:00:00.5Z")
