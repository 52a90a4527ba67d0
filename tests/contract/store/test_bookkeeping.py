"""What is not about one event: leases, tries, totals of dead letters, the list of projects."""

import time

from kmworker.errors import Reason
from tests.kit.store.builders import draft, snapshot, volume
from tests.kit.store.stand import Stand

PATIENCE_S = 10.0


def test_a_lease_has_one_holder(stand: Stand) -> None:
    assert stand.first.lease("sweep", "w1", 60)
    assert not stand.store().lease("sweep", "w2", 60)
    # Not even its holder does the work again before the time is over.
    assert not stand.first.lease("sweep", "w1", 60)
    assert stand.value(stand.top("lease:sweep")) == b"w1"
    assert stand.first.lease("other-work", "w2", 60)


def test_a_lease_that_someone_wrote_without_an_end_ends_all_the_same(stand: Stand) -> None:
    stand.raw.set(stand.top("lease:sweep"), "nobody")
    stand.raw.sadd(stand.top("lease:anchor"), "nobody")
    stand.raw.pexpire(stand.top("lease:anchor"), 10**12)
    for work in ("sweep", "anchor"):
        assert not stand.first.lease(work, "w1", 60)
        assert 0 < stand.raw.pttl(stand.top(f"lease:{work}")) <= 60_000


def test_whoever_finds_a_lease_taken_makes_it_no_longer(stand: Stand) -> None:
    assert stand.first.lease("sweep", "w1", 1)
    assert not stand.store().lease("sweep", "w2", 60)
    assert 0 < stand.raw.pttl(stand.top("lease:sweep")) <= 1000


def test_a_lease_ends_by_itself(stand: Stand) -> None:
    assert stand.first.lease("sweep", "w1", 0.5001)
    assert 0 < stand.raw.pttl(stand.top("lease:sweep")) <= 501
    deadline = time.monotonic() + PATIENCE_S
    while not stand.first.lease("sweep", "w2", 60):
        assert time.monotonic() < deadline
    assert stand.value(stand.top("lease:sweep")) == b"w2"


def test_tries_of_a_delivery_are_counted_until_it_is_done(stand: Stand) -> None:
    assert [stand.first.count_attempt("d1"), stand.store().count_attempt("d1")] == [1, 2]
    assert stand.first.count_attempt("d2") == 1
    stand.first.forget_attempts("d1")
    stand.first.forget_attempts("never-counted")
    assert (stand.first.count_attempt("d1"), stand.first.count_attempt("d2")) == (1, 2)


def test_a_try_that_was_none_is_taken_back(stand: Stand) -> None:
    assert [stand.first.count_attempt("d1") for _ in range(3)] == [1, 2, 3]
    stand.first.uncount_attempt("d1")
    assert stand.first.count_attempt("d1") == 3
    for _ in range(5):
        stand.first.uncount_attempt("d1")
    assert stand.contents() == {}
    stand.raw.hset(stand.top("attempts"), "d1", "text")
    stand.first.uncount_attempt("d1")
    assert stand.first.count_attempt("d1") == 1


def test_counted_tries_are_kept_for_a_day(stand: Stand) -> None:
    stand.first.count_attempt("d1")
    assert 86_390 <= stand.raw.ttl(stand.top("attempts")) <= 86_400
    stand.first.forget_attempts("d1")
    assert stand.contents() == {}


def test_a_count_of_tries_that_is_no_number_begins_anew(stand: Stand) -> None:
    stand.raw.hset(stand.top("attempts"), "d1", "text")
    assert [stand.first.count_attempt("d1") for _ in range(3)] == [1, 2, 3]


def test_dead_letters_are_counted_by_reason(stand: Stand) -> None:
    stand.first.count_dead([Reason.MALFORMED, Reason.CONFLICT, Reason.MALFORMED])
    stand.store().count_dead([Reason.MALFORMED])
    assert stand.contents() == {stand.top("dead"): {b"malformed": b"3", b"conflict": b"1"}}


def test_a_total_of_dead_letters_that_is_no_number_stops_nobody(stand: Stand) -> None:
    stand.raw.hset(stand.top("dead"), "conflict", "text")
    stand.first.count_dead([Reason.CONFLICT, Reason.MALFORMED])
    assert stand.value(stand.top("dead")) == {b"conflict": b"text", b"malformed": b"1"}


def test_every_project_with_a_record_or_a_waiting_event_is_listed(stand: Stand) -> None:
    assert stand.value(stand.top("projects")) is None
    stand.commit(draft.create(volume("v1", "p1")), draft.none(volume("v1", "p2")))
    stand.commit(draft.park(volume("v1", "p4"), snapshot("s1", "p3")))
    stand.look_up(volume("v1", "p5"))
    assert stand.value(stand.top("projects")) == {b"p1", b"p2", b"p3"}
