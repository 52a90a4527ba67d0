"""The sources that are ready, against a store that only pretends."""

import pytest

from kmworker.errors import PermanentError, Reason, StoreUnavailable, TransientError
from kmworker.worker.ready_sources import ReadySources
from tests.kit.builders import volume
from tests.unit.worker.stubs import PretendedStore, V, W, as_store, names


def test_a_source_is_done_when_it_gives_fewer_than_wanted() -> None:
    store = PretendedStore(v=1, w=3)
    ready = ReadySources()
    ready.add([V, W, V])
    assert names(ready.take(as_store(store), 4)) == ["v-0", "w-0", "w-1"]
    assert ready
    # All that may be taken is for the one that is left.
    assert names(ready.take(as_store(store), 4)) == ["w-0", "w-1", "w-2"]
    assert not ready


@pytest.mark.parametrize("limit", [1, 2, 3, 8])
def test_no_more_is_taken_than_the_limit(limit: int) -> None:
    ready = ReadySources()
    ready.add([V, W, volume("x")])
    store = PretendedStore(v=9, w=9, x=9)
    assert limit // 2 <= len(ready.take(as_store(store), limit)) <= limit


def test_half_as_many_sources_are_asked_together_as_events_may_be_taken() -> None:
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


def test_a_source_for_which_a_crowd_waits_gives_way_to_the_others() -> None:
    store = PretendedStore(v=9, w=9, x=1, y=1)
    ready = ReadySources()
    ready.add([V, W, volume("x"), volume("y")])
    assert [len(ready.take(as_store(store), 4)) for _ in range(2)] == [4, 2]
    assert not {V, W} - set(ready._sources)
    assert names(ready.take(as_store(store), 4)) == ["v-0", "v-1", "w-0", "w-1"]
