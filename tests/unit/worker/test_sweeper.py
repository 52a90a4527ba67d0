"""The sweep, against a store that only pretends."""

import pytest

from kmworker.domain.waiting import Swept
from kmworker.errors import PermanentError, Reason, StoreUnavailable
from kmworker.worker.ready_sources import ReadySources
from kmworker.worker.sweeper import Sweeper
from tests.kit.simulator.clock import SettableClock
from tests.unit.worker.stubs import PretendedStore, V, W, as_store, names

LIMIT = 8


def sweeper(store: PretendedStore, clock: SettableClock) -> Sweeper:
    return Sweeper(as_store(store), clock, worker_id="w1", every_s=10.0)


def test_the_first_sweep_is_at_once_and_the_next_when_it_is_time() -> None:
    store, clock = PretendedStore(), SettableClock()
    sweeping = sweeper(store, clock)
    for _ in range(3):
        sweeping.sweep_if_due(ReadySources(), LIMIT)
    assert store.leases == [("sweep", "w1", 9.0)]
    clock.advance(9.9)
    assert not bool(sweeping.is_due)
    sweeping.sweep_if_due(ReadySources(), LIMIT)
    assert len(store.leases) == 1
    clock.advance(0.2)
    assert sweeping.is_due
    sweeping.sweep_if_due(ReadySources(), LIMIT)
    assert len(store.leases) == 2


def test_one_worker_sweeps_while_it_holds_the_lease() -> None:
    store = PretendedStore()
    store.sweeps_of(p1=[Swept([], [V], "")])
    store.is_leased = True
    ready = ReadySources()
    assert not sweeper(store, SettableClock()).sweep_if_due(ready, LIMIT)
    assert not ready


def test_a_sweep_looks_only_at_projects_that_have_something_due() -> None:
    store = PretendedStore(v=1, w=1)
    store.sweeps_of(
        p1=[Swept([store.past("a")], [], "volume:a"), Swept([], [V], "")],
        p2=[Swept([store.past("b")], [W], "")],
        p3=[],
    )
    store.index["p3"] = store.now + 1
    ready = ReadySources()
    sweeping = sweeper(store, SettableClock())
    assert names(sweeping.sweep_if_due(ready, LIMIT)) == ["a", "b"]
    assert not sweeping.sweep_if_due(ready, LIMIT)
    assert sorted(names(ready.take(as_store(store), 9))) == ["v-0", "w-0"]
    assert [(project, after) for project, _limit, after in store.looked_at] == [
        ("p1", ""), ("p2", ""), ("p1", "volume:a")
    ]  # fmt: skip
    # What was found is looked at again: whoever was to take it may end before that.
    assert store.index == {"p1": 1010.0, "p2": 1010.0, "p3": 1001.0}


def test_a_project_in_which_nothing_is_to_be_done_is_not_looked_at_again() -> None:
    store = PretendedStore()
    store.sweeps_of(p1=[Swept([], [], "")])
    sweeping = sweeper(store, SettableClock())
    for _ in range(3):
        sweeping.sweep_if_due(ReadySources(), LIMIT)
    assert len(store.looked_at) == 1
    assert not store.index


def test_many_due_projects_are_looked_at_a_few_in_a_turn_without_another_lease() -> None:
    store = PretendedStore()
    store.sweeps_of(**{f"p{n}": [Swept([store.past(f"e{n}")], [], "")] for n in range(50)})
    sweeping = sweeper(store, SettableClock())
    turns = [names(sweeping.sweep_if_due(ReadySources(), 100)) for _ in range(8)]
    assert [len(turn) for turn in turns] == [8] * 6 + [2, 0]
    assert [name for turn in turns for name in turn] == [f"e{n}" for n in range(50)]
    assert len(store.leases) == 1


def test_a_sweep_takes_no_more_events_than_the_limit() -> None:
    store = PretendedStore()
    store.sweeps_of(**{f"p{n}": [Swept([], [], "")] * 9 for n in range(5)})
    sweeper(store, SettableClock()).sweep_if_due(ReadySources(), 3)
    assert [limit for _project, limit, _after in store.looked_at] == [1, 1, 1]
    assert not sweeper(store, SettableClock()).sweep_if_due(ReadySources(), 0)


def test_as_many_as_the_limit_means_that_there_may_be_more_at_once() -> None:
    store = PretendedStore()
    store.sweeps_of(
        p1=[
            Swept([store.past("a"), store.past("b")], [], ""),
            Swept([store.past("c")], [], ""),
        ]
    )
    sweeping = sweeper(store, SettableClock())
    assert names(sweeping.sweep_if_due(ReadySources(), 2)) == ["a", "b"]
    assert names(sweeping.sweep_if_due(ReadySources(), 2)) == ["c"]
    assert not sweeping.sweep_if_due(ReadySources(), 2)
    assert len(store.leases) == 1


def test_a_sweep_that_is_interrupted_hands_over_what_it_has_and_goes_on() -> None:
    store = PretendedStore()
    store.sweeps_of(
        p1=[Swept([store.past("a")], [], ""), Swept([], [], "")],
        p2=[Swept([store.past("b")], [], "")],
    )
    store.fails["p2"] = StoreUnavailable("gone")
    sweeping = sweeper(store, SettableClock())
    assert names(sweeping.sweep_if_due(ReadySources(), LIMIT)) == ["a"]
    store.fails.clear()
    assert names(sweeping.sweep_if_due(ReadySources(), LIMIT)) == ["b"]


def test_a_sweep_that_finds_nothing_but_trouble_says_so() -> None:
    store = PretendedStore()
    store.sweeps_of(p1=[Swept([], [], "")])
    store.fails["p1"] = StoreUnavailable("gone")
    with pytest.raises(StoreUnavailable):
        sweeper(store, SettableClock()).sweep_if_due(ReadySources(), LIMIT)


@pytest.mark.parametrize("error", [PermanentError(Reason.INTEGRITY, "wrong type"), ValueError()])
def test_a_project_that_cannot_be_swept_does_not_keep_the_others_from_it(error: Exception) -> None:
    store = PretendedStore()
    store.sweeps_of(p1=[], p2=[Swept([store.past("b")], [], "")])
    store.fails["p1"] = error
    sweeping = sweeper(store, SettableClock())
    assert names(sweeping.sweep_if_due(ReadySources(), LIMIT)) == ["b"]
    # Nor does it hold them up for ever.
    assert store.index["p1"] == store.now + 10.0
