"""The sweep and the sources that are ready, against a store that only pretends."""

from collections.abc import Sequence
from typing import cast

import pytest

from kmworker.domain.message import Original
from kmworker.domain.model import Item
from kmworker.domain.plan import Entry
from kmworker.domain.waiting import Due, Swept, Taken
from kmworker.errors import PermanentError, Reason, StoreUnavailable, TransientError
from kmworker.ports import Store
from kmworker.worker.waiting_room import ReadySources, Sweeper
from tests.kit.builders import volume
from tests.kit.simulator.clock import SettableClock

V, W = volume("v"), volume("w")


class PretendedStore:
    """Entries by source; whatever goes wrong is told to it."""

    def __init__(self, **entries: int) -> None:
        self.entries = {
            volume(source): [f"{source}-{number}" for number in range(count)]
            for source, count in entries.items()
        }
        self.attempts: dict[str, int] = {}
        self.fails: dict[object, Exception] = {}
        self.sweeps: dict[str, list[Swept]] = {}
        self.index: dict[str, float] = {}
        self.now = 1000.0
        self.looked_at: list[tuple[str, int, str]] = []
        self.leases: list[tuple[str, str, float]] = []
        self.is_leased = False

    def take(self, sources: Sequence[Item], limit: int) -> list[list[Taken] | Exception]:
        self._perhaps_fail("take")
        return [
            self.fails.get(source)
            or [self._taken(source, name) for name in self.entries.get(source, [])[:limit]]
            for source in sources
        ]

    def release(self, entries: list[Entry]) -> None:
        self._perhaps_fail("release")
        for entry in entries:
            self.attempts[entry.name] -= 1

    def due(self, limit: int) -> list[Due]:
        found = sorted((at, project) for project, at in self.index.items() if at <= self.now)
        return [Due(project, at) for at, project in found[:limit]]

    def look_again(self, looked_at: Sequence[tuple[Due, float | None]]) -> None:
        for due, after_s in looked_at:
            del self.index[due.project]
            if after_s is not None:
                self.index[due.project] = self.now + after_s

    def sweep(self, project: str, limit: int, after: str) -> Swept:
        self.looked_at.append((project, limit, after))
        self._perhaps_fail(project)
        return self.sweeps[project].pop(0)

    def sweeps_of(self, **sweeps: list[Swept]) -> None:
        """Let projects be due, the first named first."""
        self.sweeps = sweeps
        self.index = {project: float(at) for at, project in enumerate(sweeps)}

    def review_crowds(self) -> None:
        pass

    def lease(self, work: str, holder: str, seconds: float) -> bool:
        self.leases.append((work, holder, seconds))
        return not self.is_leased

    def past(self, name: str) -> Taken:
        return self._taken(V, name)

    def _taken(self, source: Item, name: str) -> Taken:
        self.attempts[name] = self.attempts.get(name, 0) + 1
        entry = Entry(source, name, self.attempts[name], expired=False)
        return Taken(entry, Original(b"", "", {}))

    def _perhaps_fail(self, what: object) -> None:
        if what in self.fails:
            raise self.fails[what]


def as_store(pretended: PretendedStore) -> Store:
    return cast("Store", pretended)


def names(taken: list[Taken]) -> list[str]:
    return [waiting.entry.name for waiting in taken]


# --- sources that are ready -------------------------------------------------------


def test_a_source_is_done_when_it_gives_fewer_than_wanted() -> None:
    store = PretendedStore(v=1, w=3)
    ready = ReadySources()
    ready.add([V, W, V])
    assert names(ready.take(as_store(store), 4)) == ["v-0", "w-0", "w-1"]
    assert ready
    # All of the room is for the one that is left.
    assert names(ready.take(as_store(store), 4)) == ["w-0", "w-1", "w-2"]
    assert not ready


@pytest.mark.parametrize("room", [1, 2, 3, 8])
def test_no_more_is_taken_than_there_is_room(room: int) -> None:
    ready = ReadySources()
    ready.add([V, W, volume("x")])
    store = PretendedStore(v=9, w=9, x=9)
    assert room // 2 <= len(ready.take(as_store(store), room)) <= room


def test_as_many_sources_are_asked_together_as_there_is_room_for() -> None:
    store = PretendedStore(**{f"s{number}": 1 for number in range(9)})
    ready = ReadySources()
    ready.add(store.entries)
    assert [len(ready.take(as_store(store), 8)) for _ in range(4)] == [4, 4, 1, 0]
    assert not ready


def test_sources_come_again_when_the_store_is_there_again() -> None:
    store = PretendedStore(v=1, w=1)
    store.fails["take"] = StoreUnavailable("gone")
    ready = ReadySources()
    ready.add([V, W])
    with pytest.raises(StoreUnavailable):
        ready.take(as_store(store), 9)
    store.fails.clear()
    assert names(ready.take(as_store(store), 9)) == ["v-0", "w-0"]


def test_a_source_whose_keys_are_broken_is_dropped_and_the_rest_is_taken() -> None:
    store = PretendedStore(v=1, w=1)
    store.fails[V] = PermanentError(Reason.INTEGRITY, "wrong type")
    ready = ReadySources()
    ready.add([V, W])
    assert names(ready.take(as_store(store), 9)) == ["w-0"]
    assert not ready


def test_what_is_given_back_comes_again_uncounted() -> None:
    store = PretendedStore(v=2)
    ready = ReadySources()
    ready.add([V])
    taken = ready.take(as_store(store), 9)
    ready.give_back(waiting.entry for waiting in taken)
    ready.release(as_store(store))
    assert store.attempts == {"v-0": 0, "v-1": 0}
    assert [waiting.entry.attempts for waiting in ready.take(as_store(store), 9)] == [1, 1]


def test_tries_are_taken_back_when_the_store_is_there_again() -> None:
    store = PretendedStore(v=1)
    ready = ReadySources()
    ready.add([V])
    ready.give_back(waiting.entry for waiting in ready.take(as_store(store), 9))
    store.fails["release"] = StoreUnavailable("gone")
    with pytest.raises(TransientError):
        ready.release(as_store(store))
    store.fails.clear()
    ready.release(as_store(store))
    ready.release(as_store(store))
    assert store.attempts == {"v-0": 0}


def test_counts_that_cannot_be_taken_back_stop_nobody() -> None:
    store = PretendedStore(v=1)
    ready = ReadySources()
    ready.give_back(waiting.entry for waiting in ready.take(as_store(store), 9))
    ready.add([V])
    ready.give_back(waiting.entry for waiting in ready.take(as_store(store), 9))
    store.fails["release"] = PermanentError(Reason.INTEGRITY, "wrong type")
    ready.release(as_store(store))
    store.fails.clear()
    ready.release(as_store(store))
    assert store.attempts == {"v-0": 1}


def test_a_source_that_is_not_there_after_all_is_not_asked_again() -> None:
    store = PretendedStore(v=9)
    ready = ReadySources()
    ready.add([V])
    ready.wait_on(waiting.entry for waiting in ready.take(as_store(store), 3))
    ready.release(as_store(store))
    assert not ready
    assert set(store.attempts.values()) == {0}


def test_what_is_at_hand_is_not_taken_a_second_time() -> None:
    store = PretendedStore(v=3)
    ready = ReadySources()
    ready.add([V])
    first, *_others = ready.take(as_store(store), 2)
    assert names(ready.take(as_store(store), 9, [first.entry])) == ["v-1", "v-2"]
    ready.release(as_store(store))
    assert store.attempts == {"v-0": 1, "v-1": 2, "v-2": 1}


def test_one_that_was_tried_before_is_tried_alone_and_after_the_others() -> None:
    store = PretendedStore(v=3)
    store.attempts["v-1"] = 1
    ready = ReadySources()
    ready.add([V])

    def single_out() -> tuple[str | None, list[str]]:
        alone, others = ready.single_out(ready.take(as_store(store), 9), as_store(store))
        return alone.entry.name if alone else None, names(others)

    assert single_out() == (None, ["v-0", "v-2"])
    # Whoever dies of those two has not tried the third with them.
    assert store.attempts == {"v-0": 1, "v-1": 1, "v-2": 1}
    store.entries[V] = ["v-1", "v-3"]
    assert single_out() == ("v-1", [])
    assert store.attempts["v-1"] == 2
    assert store.attempts["v-3"] == 0
    assert ready


def test_of_those_that_were_tried_before_one_is_tried_at_a_time() -> None:
    store = PretendedStore(v=3)
    store.attempts = {"v-0": 1, "v-1": 1, "v-2": 1}
    ready = ReadySources()
    ready.add([V])
    alone, others = ready.single_out(ready.take(as_store(store), 9), as_store(store))
    assert alone is not None
    assert not others
    assert store.attempts == {"v-0": 2, "v-1": 1, "v-2": 1}


def test_those_that_were_not_tried_before_are_tried_together() -> None:
    store = PretendedStore(v=3)
    ready = ReadySources()
    ready.add([V])
    taken = ready.take(as_store(store), 9)
    assert ready.single_out(taken, as_store(store)) == (None, taken)


# --- the sweep --------------------------------------------------------------------


ROOM = 8


def sweeper(store: PretendedStore, clock: SettableClock, limit: int = 256) -> Sweeper:
    return Sweeper(as_store(store), clock, worker_id="w1", every_s=10.0, limit=limit)


def test_the_first_sweep_is_at_once_and_the_next_when_it_is_time() -> None:
    store, clock = PretendedStore(), SettableClock()
    sweeping = sweeper(store, clock)
    for _ in range(3):
        sweeping.sweep_if_due(ReadySources(), ROOM)
    assert store.leases == [("sweep", "w1", 9.0)]
    clock.advance(9.9)
    assert not bool(sweeping.is_due)
    sweeping.sweep_if_due(ReadySources(), ROOM)
    assert len(store.leases) == 1
    clock.advance(0.2)
    assert sweeping.is_due
    sweeping.sweep_if_due(ReadySources(), ROOM)
    assert len(store.leases) == 2


def test_one_worker_sweeps_while_it_holds_the_lease() -> None:
    store = PretendedStore()
    store.sweeps_of(p1=[Swept([], [V], "")])
    store.is_leased = True
    ready = ReadySources()
    assert not sweeper(store, SettableClock()).sweep_if_due(ready, ROOM)
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
    assert names(sweeping.sweep_if_due(ready, ROOM)) == ["a", "b"]
    assert not sweeping.sweep_if_due(ready, ROOM)
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
        sweeping.sweep_if_due(ReadySources(), ROOM)
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


def test_a_sweep_takes_no_more_events_than_there_is_room_for() -> None:
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
    sweeping = sweeper(store, SettableClock(), limit=2)
    assert names(sweeping.sweep_if_due(ReadySources(), ROOM)) == ["a", "b"]
    assert names(sweeping.sweep_if_due(ReadySources(), ROOM)) == ["c"]
    assert not sweeping.sweep_if_due(ReadySources(), ROOM)
    assert len(store.leases) == 1


def test_a_sweep_that_is_interrupted_hands_over_what_it_has_and_goes_on() -> None:
    store = PretendedStore()
    store.sweeps_of(
        p1=[Swept([store.past("a")], [], ""), Swept([], [], "")],
        p2=[Swept([store.past("b")], [], "")],
    )
    store.fails["p2"] = StoreUnavailable("gone")
    sweeping = sweeper(store, SettableClock())
    assert names(sweeping.sweep_if_due(ReadySources(), ROOM)) == ["a"]
    store.fails.clear()
    assert names(sweeping.sweep_if_due(ReadySources(), ROOM)) == ["b"]


def test_a_sweep_that_finds_nothing_but_trouble_says_so() -> None:
    store = PretendedStore()
    store.sweeps_of(p1=[Swept([], [], "")])
    store.fails["p1"] = StoreUnavailable("gone")
    with pytest.raises(StoreUnavailable):
        sweeper(store, SettableClock()).sweep_if_due(ReadySources(), ROOM)


@pytest.mark.parametrize("error", [PermanentError(Reason.INTEGRITY, "wrong type"), ValueError()])
def test_a_project_that_cannot_be_swept_does_not_keep_the_others_from_it(error: Exception) -> None:
    store = PretendedStore()
    store.sweeps_of(p1=[], p2=[Swept([store.past("b")], [], "")])
    store.fails["p1"] = error
    sweeping = sweeper(store, SettableClock())
    assert names(sweeping.sweep_if_due(ReadySources(), ROOM)) == ["b"]
    # Nor does it hold them up for ever.
    assert store.index["p1"] == store.now + 10.0


def test_a_source_for_which_a_crowd_waits_gives_way_to_the_others() -> None:
    store = PretendedStore(v=9, w=9, x=1, y=1)
    ready = ReadySources()
    ready.add([V, W, volume("x"), volume("y")])
    assert [len(ready.take(as_store(store), 4)) for _ in range(2)] == [4, 2]
    assert not {V, W} - set(ready._sources)
    assert names(ready.take(as_store(store), 4)) == ["v-0", "v-1", "w-0", "w-1"]
