"""What is done now and then: one at a time, when nothing waits, and never forgotten."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.errors import StoreUnavailable
from kmworker.worker.chores import Chore, Chores
from tests.kit.simulator.clock import SettableClock


class House:
    """Chores, and what was done when, in seconds since the start."""

    def __init__(self, **every_s: float) -> None:
        self.clock = SettableClock()
        self.done: list[tuple[str, float]] = []
        self._began = self.clock.monotonic()
        self.chores = Chores(
            self.clock, [Chore(self._doing(name), seconds) for name, seconds in every_s.items()]
        )

    def _doing(self, name: str) -> Callable[[], None]:
        return lambda: self.done.append((name, self.clock.monotonic() - self._began))

    def names(self) -> list[str]:
        """Return what was done since the last call."""
        done, self.done = self.done, []
        return [name for name, _at in done]


def test_all_is_due_at_once_and_done_one_at_a_time_in_order() -> None:
    house = House(report=1.0, anchor=1.0)
    house.chores.do_one()
    assert house.names() == ["report"]
    house.chores.do_one()
    assert house.names() == ["anchor"]
    assert not house.chores.are_due
    house.chores.do_one()
    assert house.names() == []


def test_what_has_been_due_longest_is_next() -> None:
    house = House(often=1.0, seldom=5.0)
    house.chores.do_one()
    house.chores.do_one()
    house.clock.advance(4.5)
    house.chores.do_one()
    house.clock.advance(2.0)
    house.names()
    house.chores.do_one()
    house.chores.do_one()
    # Due since 5.0 and 5.5.
    assert house.names() == ["seldom", "often"]


def test_under_load_each_is_put_off_once_and_then_done() -> None:
    house = House(often=1.0, seldom=5.0)
    for _ in range(201):
        house.chores.do_late()
        house.clock.advance(0.125)
    times = {name: [at for it, at in house.done if it == name] for name in ("often", "seldom")}
    assert times["often"] == [2.0 * n for n in range(13)]
    # The other was later by then.
    assert times["seldom"] == [0.125, 10.125, 20.125]


def test_while_a_server_is_away_only_that_is_done_which_can_be() -> None:
    clock, done = SettableClock(), []
    chores = Chores(
        clock,
        [
            Chore(lambda: done.append("report"), 1.0, while_away=True),
            Chore(lambda: done.append("anchor"), 1.0),
            Chore(lambda: done.append("heartbeat"), 1.0, while_away=True),
        ],
    )
    chores.do_while_away()
    assert done == ["report", "heartbeat"]
    chores.do_one()
    assert done[2:] == ["anchor"]


def test_what_fails_is_due_again_in_its_time() -> None:
    clock = SettableClock()

    def fail() -> None:
        raise StoreUnavailable("gone")

    chores = Chores(clock, [Chore(fail, 1.0)])
    with pytest.raises(StoreUnavailable):
        chores.do_one()
    assert not chores.are_due
    clock.advance(1.0)
    assert chores.are_due


@given(steps=st.lists(st.floats(0, 12), max_size=40))
def test_nothing_is_done_twice_in_its_time_nor_forgotten(steps: list[float]) -> None:
    every_s = {"often": 1.0, "seldom": 5.0}
    house = House(**every_s)
    now = 0.0
    last: dict[str, float] = {}
    for step in [0.0, *steps]:
        house.clock.advance(step)
        now += step
        while house.chores.are_due:
            house.chores.do_one()
        done = house.names()
        assert len(done) == len({*done})
        for name, seconds in every_s.items():
            is_due = name not in last or now - last[name] >= seconds - 1e-6
            assert (name in done) == is_due or now - last[name] == pytest.approx(seconds)
            if name in done:
                last[name] = now
