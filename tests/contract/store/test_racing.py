"""Workers that race on the same items agree, and leave what one of them alone would leave."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import pytest

from kmworker.domain.model import Held
from kmworker.domain.plan import AssignWrite, Committed, Write, WriteStatus
from kmworker.store.redis_store import RedisStore
from tests.kit.store.builders import draft, held, snapshot, volume
from tests.kit.store.stand import Stand, take

ITEMS = [volume(f"v{n:03}", f"p{n % 3}") for n in range(200)]
RACERS = 2
BATCH = 8

T = TypeVar("T")


def race(stand: Stand, run: Callable[[RedisStore, int], T]) -> list[T]:
    """Let each racer, with a store of its own, run at the same moment."""
    stores = [stand.store() for _ in range(RACERS)]
    gun = Barrier(RACERS)

    def start(number: int) -> T:
        gun.wait()
        return run(stores[number], number)

    with ThreadPoolExecutor(RACERS) as threads:
        return list(threads.map(start, range(RACERS)))


def commit_all(store: RedisStore, writes: Sequence[Write]) -> list[Committed]:
    batches = [writes[at : at + BATCH] for at in range(0, len(writes), BATCH)]
    return [answer for batch in batches for answer in store.commit(batch).result()]


def total(stand: Stand, key: str) -> int:
    return sum(int(stand.raw.hlen(stand.key(f"p{n}", key))) for n in range(3))


@pytest.mark.parametrize("against", [False, True], ids=["same-order", "opposite-order"])
def test_each_item_has_one_winner_and_everyone_gets_its_bytes(stand: Stand, against: bool) -> None:
    def run(store: RedisStore, number: int) -> dict[object, Committed]:
        items = ITEMS[::-1] if against and number else ITEMS
        answers = commit_all(store, [draft.create(item) for item in items])
        return dict(zip(items, answers, strict=True))

    one, two = race(stand, run)
    for item in ITEMS:
        outcomes = {one[item].status, two[item].status}
        assert outcomes == {WriteStatus.WRITTEN, WriteStatus.EXISTS}
        assert (one[item].assignment, one[item].data) == (two[item].assignment, two[item].data)
    found = stand.store().look_up(ITEMS).result()
    assert {i: s.data for i, s in found.items() if isinstance(s, Held)} == {
        item: one[item].data for item in ITEMS
    }
    assert [total(stand, key) for key in ("items", "keys", "scopes", "holders")] == [200] * 4
    deks = sum(len(stand.value(stand.secret(f"p{n}", "deks"))) for n in range(3))
    created = sum(int(stand.value(stand.key(f"p{n}", "stats"))[b"create"]) for n in range(3))
    assert (deks, created) == (200, 200)


def test_racing_batches_of_sources_and_dependants_end_as_one_lineage(stand: Stand) -> None:
    def plan(store: RedisStore, number: int) -> list[AssignWrite]:
        """Plan all that is missing, over what is there."""
        found = store.look_up([snapshot("s1"), volume("v1"), volume("v2")]).result()
        writes: list[AssignWrite] = []
        source = found[volume("v1")]
        if not isinstance(source, Held):
            writes.append(draft.create(volume("v1")))
            source = held(writes[0])
        clone, reuse = draft.clone(volume("v2"), source), draft.reuse(snapshot("s1"), source)
        return [*writes, reuse, clone] if number else [*writes, clone, reuse]

    def run(store: RedisStore, number: int) -> list[WriteStatus]:
        for _round in range(10):
            answers = [answer.status for answer in store.commit(plan(store, number)).result()]
            if WriteStatus.STALE not in answers:
                return answers
        raise AssertionError("the racers never agreed")

    race(stand, run)
    assert stand.stats("p1") == {
        b"create": b"1",
        b"clone": b"1",
        b"reuse": b"1",
    }
    assert stand.raw.hlen(stand.key("p1", "keys")) == 2
    assert stand.raw.zcard(stand.key("p1", "lineage")) == 3


def test_an_event_is_parked_by_one_racer_or_sees_its_source(stand: Stand) -> None:
    """One racer assigns the sources while the other parks what waits for them."""
    parks = [draft.park(snapshot(f"s{item.id}", item.project), item, item.id) for item in ITEMS]

    def run(store: RedisStore, number: int) -> list[Committed]:
        if number:
            return commit_all(store, [draft.none(item) for item in ITEMS])
        return commit_all(store, parks)

    parked, assigned = race(stand, run)
    for waits, source in zip(parked, assigned, strict=True):
        # Nobody is left behind: either the event saw its source, or the source the event.
        assert (waits.status is WriteStatus.PARKED) == source.has_waiting
        assert waits.status in {WriteStatus.PARKED, WriteStatus.STALE}
    waiting = Counter(item.project for item, a in zip(ITEMS, parked, strict=True)
                      if a.status is WriteStatus.PARKED)  # fmt: skip
    for project, number in waiting.items():
        assert stand.value(stand.key(project, "stats"))[b"waiting"] == str(number).encode()


def test_an_event_parked_and_removed_by_both_racers_is_counted_once(stand: Stand) -> None:
    parks = [draft.park(snapshot(f"s{item.id}", item.project), item, item.id) for item in ITEMS]
    race(stand, lambda store, _: commit_all(store, parks))
    assert total(stand, "waiting") == 200

    def remove(store: RedisStore, _number: int) -> None:
        for item in ITEMS:
            store.remove([taken.entry for taken in take(store, item, 9)])

    race(stand, remove)
    for n in range(3):
        assert stand.value(stand.key(f"p{n}", "stats")) == {b"waiting": b"0"}
    assert total(stand, "waiting") == 0


def test_what_a_racer_decided_over_a_lost_race_is_never_written(stand: Stand) -> None:
    source = stand.put(draft.create(volume("v1")))
    stand.put(draft.clone(volume("v2"), source))
    stale = held(draft.create(volume("v2")))
    with stand.untouched():
        race(stand, lambda racer, _: racer.commit([draft.reuse(snapshot("s1"), stale)]).result())
