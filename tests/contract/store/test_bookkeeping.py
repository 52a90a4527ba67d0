"""What is not about one event: leases, tries, totals of dead letters, the list of projects."""

import time
from typing import Any

from kmworker.errors import Reason
from kmworker.store.redis_store import RedisStore
from tests.kit.store.builders import Drafts, snapshot, volume
from tests.kit.store.stand import Stand

PATIENCE_S = 10.0


def test_a_lease_has_one_holder(stand: Stand, store: RedisStore) -> None:
    assert store.lease("sweep", "w1", 60)
    assert not stand.store().lease("sweep", "w2", 60)
    # Not even its holder does the work again before the time is over.
    assert not store.lease("sweep", "w1", 60)
    assert stand.value(stand.top("lease:sweep")) == b"w1"
    assert store.lease("other-work", "w2", 60)


def test_a_lease_that_someone_wrote_without_an_end_ends_all_the_same(
    stand: Stand, store: RedisStore
) -> None:
    stand.raw.set(stand.top("lease:sweep"), "nobody")
    raw: Any = stand.raw
    raw.sadd(stand.top("lease:anchor"), "nobody")
    raw.pexpire(stand.top("lease:anchor"), 10**12)
    for work in ("sweep", "anchor"):
        assert not store.lease(work, "w1", 60)
        assert 0 < stand.raw.pttl(stand.top(f"lease:{work}")) <= 60_000


def test_whoever_finds_a_lease_taken_makes_it_no_longer(stand: Stand, store: RedisStore) -> None:
    assert store.lease("sweep", "w1", 1)
    assert not stand.store().lease("sweep", "w2", 60)
    assert 0 < stand.raw.pttl(stand.top("lease:sweep")) <= 1000


def test_a_lease_ends_by_itself(stand: Stand, store: RedisStore) -> None:
    assert store.lease("sweep", "w1", 0.5001)
    assert 0 < stand.raw.pttl(stand.top("lease:sweep")) <= 501
    deadline = time.monotonic() + PATIENCE_S
    while not store.lease("sweep", "w2", 60):
        assert time.monotonic() < deadline
    assert stand.value(stand.top("lease:sweep")) == b"w2"


def test_tries_of_a_delivery_are_counted_until_it_is_done(stand: Stand, store: RedisStore) -> None:
    assert [store.count_attempt("d1"), stand.store().count_attempt("d1")] == [1, 2]
    assert store.count_attempt("d2") == 1
    store.forget_attempts("d1")
    store.forget_attempts("never-counted")
    assert (store.count_attempt("d1"), store.count_attempt("d2")) == (1, 2)


def test_a_try_that_was_none_is_taken_back(stand: Stand, store: RedisStore) -> None:
    assert [store.count_attempt("d1") for _ in range(3)] == [1, 2, 3]
    store.uncount_attempt("d1")
    assert store.count_attempt("d1") == 3
    for _ in range(5):
        store.uncount_attempt("d1")
    assert stand.contents() == {}
    stand.raw.hset(stand.top("attempts"), "d1", "text")
    store.uncount_attempt("d1")
    assert store.count_attempt("d1") == 1


def test_counted_tries_are_kept_for_a_day(stand: Stand, store: RedisStore) -> None:
    store.count_attempt("d1")
    assert 86_390 <= stand.raw.ttl(stand.top("attempts")) <= 86_400
    store.forget_attempts("d1")
    assert stand.contents() == {}


def test_a_count_of_tries_that_is_no_number_begins_anew(stand: Stand, store: RedisStore) -> None:
    stand.raw.hset(stand.top("attempts"), "d1", "text")
    assert [store.count_attempt("d1") for _ in range(3)] == [1, 2, 3]


def test_dead_letters_are_counted_by_reason(stand: Stand, store: RedisStore) -> None:
    store.count_dead([Reason.MALFORMED, Reason.CONFLICT, Reason.MALFORMED])
    stand.store().count_dead([Reason.MALFORMED])
    assert stand.contents() == {stand.top("dead"): {b"malformed": b"3", b"conflict": b"1"}}


def test_a_total_of_dead_letters_that_is_no_number_stops_nobody(
    stand: Stand, store: RedisStore
) -> None:
    stand.raw.hset(stand.top("dead"), "conflict", "text")
    store.count_dead([Reason.CONFLICT, Reason.MALFORMED])
    assert stand.value(stand.top("dead")) == {b"conflict": b"text", b"malformed": b"1"}


def test_every_project_with_a_record_or_a_waiting_event_is_listed(
    stand: Stand, store: RedisStore, draft: Drafts
) -> None:
    assert stand.value(stand.top("projects")) is None
    store.commit([draft.create(volume("v1", "p1")), draft.none(volume("v1", "p2"))]).result()
    store.commit([draft.park(volume("v1", "p4"), snapshot("s1", "p3"))]).result()
    store.look_up([volume("v1", "p5")]).result()
    assert stand.value(stand.top("projects")) == {b"p1", b"p2", b"p3"}
