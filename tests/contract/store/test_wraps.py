"""Wraps are counted before they are made: too many perhaps, and never too few."""

from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from kmworker.crypto import KeyringCustody
from kmworker.domain.plan import WriteStatus
from kmworker.errors import StoreUnavailable
from kmworker.store.wraps import FIRST_BLOCK, LAST_BLOCK, MAX_LOST_WRAPS, Wraps, most_wraps
from tests.kit.store.builders import (
    BOTH_KEYRINGS,
    INSTALLATION,
    OTHER_KEYRING,
    draft,
    held,
    snapshot,
    volume,
)
from tests.kit.store.stand import Stand
from tests.kit.store.wiretap import Wiretap


class Kek:
    """What is wrapped under."""

    kek_id = "old"


@pytest.fixture
def tap(stand: Stand) -> Wiretap:
    return stand.tap()


@pytest.fixture
def wraps(stand: Stand, tap: Wiretap) -> Wraps:
    return Wraps(tap, stand.views().names, Kek())


def take(wraps: Wraps, number: int) -> None:
    for _ in range(number):
        wraps.take()


def test_what_is_taken_is_reserved_before_and_in_one_round_trip_for_many(
    stand: Stand, tap: Wiretap, wraps: Wraps
) -> None:
    wraps.take()
    assert stand.reserved("old") == FIRST_BLOCK
    take(wraps, FIRST_BLOCK - 1)
    assert (stand.reserved("old"), len(tap.trips)) == (FIRST_BLOCK, 1)
    wraps.take()
    assert (stand.reserved("old"), len(tap.trips)) == (3 * FIRST_BLOCK, 2)


def test_a_block_half_used_is_followed_by_one_of_twice_its_size_that_is_asked_for_once(
    stand: Stand, tap: Wiretap, wraps: Wraps
) -> None:
    take(wraps, FIRST_BLOCK // 2 - 1)
    assert wraps.reserving() == []
    wraps.take()
    (command,) = commands = wraps.reserving()
    assert command == ("HINCRBY", stand.top("wraps"), "old", 2 * FIRST_BLOCK)
    assert wraps.reserving() == []
    wraps.reserved(commands, tap.pipe.send(commands).result())
    assert wraps.reserving() == []
    trips = len(tap.trips)
    take(wraps, FIRST_BLOCK // 2 + 2 * FIRST_BLOCK)
    assert len(tap.trips) == trips


def test_blocks_grow_to_a_bound(stand: Stand, wraps: Wraps) -> None:
    for taken in (1, LAST_BLOCK, 2 * LAST_BLOCK, 3 * LAST_BLOCK):
        take(wraps, taken)
    assert 6 * LAST_BLOCK < stand.reserved("old") <= 7 * LAST_BLOCK + 1


def test_a_block_whose_reply_is_lost_is_reserved_anew(stand: Stand, wraps: Wraps) -> None:
    assert wraps.reserving()
    wraps.take()
    assert stand.reserved("old") == FIRST_BLOCK


def test_another_kek_has_a_reserve_of_its_own(
    stand: Stand, tap: Wiretap, monkeypatch: pytest.MonkeyPatch
) -> None:
    kek = Kek()
    wraps = Wraps(tap, stand.views().names, kek)
    commands = wraps.reserving()
    monkeypatch.setattr(kek, "kek_id", "new")
    wraps.take()
    # What comes in for the former one is none of this one's.
    wraps.reserved(commands, [FIRST_BLOCK])
    take(wraps, FIRST_BLOCK)
    assert stand.reserved("new") == 3 * FIRST_BLOCK


@pytest.mark.parametrize("text", ["007", "text"])
def test_a_count_that_somebody_wrote_over_keeps_nobody_from_wrapping(
    stand: Stand, text: str
) -> None:
    stand.raw.hset(stand.top("wraps"), stand.custody.kek_id, text)
    assert stand.commit(draft.create(volume("v1")))[0].status is WriteStatus.WRITTEN
    stand.spoil(stand.top("wraps"))
    assert stand.store().commit([draft.create(volume("v2"))]).result()[0].assignment
    assert stand.wraps("p1") == 2


def test_a_worker_that_may_not_reserve_wraps_nothing(
    wraps: Wraps,
) -> None:
    refused = wraps.reserving()
    with pytest.raises(StoreUnavailable):
        wraps.reserved(refused, [NoPermissionError("NOPERM")])


def test_a_key_is_reserved_before_it_is_written_and_counted_where_it_is_written(
    stand: Stand, tap: Wiretap
) -> None:
    store = stand.store(tap)
    seen: list[int] = []
    tap.before_trip = lambda trip: seen.append(stand.reserved()) if "EVALSHA" in trip[0] else None
    one = draft.create(volume("v1"))
    store.commit([one, draft.create(volume("v1", "p2"))]).result()
    store.commit([draft.clone(volume("v2"), held(one)), draft.none(volume("v3"))]).result()
    store.commit([draft.create(volume("v4"))]).result()
    assert set(seen) == {FIRST_BLOCK}
    assert (stand.wraps("p1"), stand.wraps("p2"), stand.reserved()) == (2, 1, FIRST_BLOCK)


def test_nothing_is_sent_that_is_not_reserved_however_much_one_process_creates(
    stand: Stand, tap: Wiretap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kmworker.store.wraps.FIRST_BLOCK", 4)
    monkeypatch.setattr("kmworker.store.wraps.LAST_BLOCK", 8)
    store, sizes = stand.store(tap), (3, 1, 2, 10, 1, 30, 5)
    made = 0

    def look(trip: list[Any]) -> None:
        if any(command[0] in {"EVALSHA", "EVAL"} for command in trip):
            assert stand.reserved() >= made

    tap.before_trip = look
    for size in sizes:
        made += size
        writes = [draft.create(volume(f"v{made}-{number}")) for number in range(size)]
        store.commit(writes).result()
    assert stand.wraps("p1") == made == sum(sizes)
    assert made <= stand.reserved() <= made + 4 + 8 + 8


def test_what_was_wrapped_and_not_written_is_reserved_and_counted_nowhere(stand: Stand) -> None:
    stand.commit(draft.create(volume("v1")))
    # Its item is there: the wrapped DEK that came with it is thrown away.
    assert stand.commit(draft.create(volume("v1")))[0].status is WriteStatus.EXISTS
    assert (stand.wraps("p1"), stand.reserved()) == (1, FIRST_BLOCK)
    assert most_wraps(stand.reserved(), counted=1, most_counted=1) == FIRST_BLOCK


def test_each_process_reserves_for_itself(stand: Stand) -> None:
    for number in range(3):
        stand.store().commit([draft.create(volume(f"v{number}"))]).result()
    assert stand.reserved() == 3 * FIRST_BLOCK


def test_what_a_server_may_not_have_heard_of_is_reserved_anew_after_a_reconnection(
    stand: Stand,
) -> None:
    store = stand.store()
    store.admit()
    store.commit([draft.create(volume("v1"))]).result()
    # It was promoted before it had heard of that.
    stand.raw.delete(stand.top("wraps"))
    store.admit()
    store.commit([draft.create(volume("v2"))]).result()
    assert stand.reserved() == FIRST_BLOCK


def test_a_batch_that_creates_no_key_asks_for_no_wraps(stand: Stand, tap: Wiretap) -> None:
    store = stand.store(tap)
    store.commit([draft.create(volume("v1"))]).result()
    source = stand.known(volume("v1"))
    tap.trips.clear()
    store.commit([draft.none(volume("v2")), draft.reuse(snapshot("s1"), source)]).result()
    (trip,) = tap.trips
    assert stand.top("wraps") not in [command[1] for command in trip]


def test_a_restored_store_that_is_accepted_counts_what_may_have_been_wrapped_meanwhile(
    stand: Stand,
) -> None:
    for number in range(3):
        stand.commit(draft.create(volume(f"v{number}")))
    reserved = stand.reserved()
    # An older copy, of a thousand commits that were seen.
    stand.raw.set(stand.key("p1", "commits"), 1)
    stand.raw.hset(stand.top("commits"), mapping={"number": 1, "incident": "abc"})
    stand.store(custody=KeyringCustody(BOTH_KEYRINGS, INSTALLATION)).accept("abc", 1000)
    lost = 1001 - 1
    assert stand.reserved() == reserved + lost * MAX_LOST_WRAPS
    # The store that was lost may have known it, and had it active.
    assert stand.reserved(OTHER_KEYRING.newest) == lost * MAX_LOST_WRAPS


def test_what_was_accepted_before_is_not_counted_again(stand: Stand) -> None:
    for number in range(3):
        stand.commit(draft.create(volume(f"v{number}")))
    before = stand.reserved()
    for seen in (1000, 1010):
        stand.raw.hset(stand.top("commits"), "incident", "i")
        stand.first.accept("i", seen)
    # Each number that counting goes on from is one more than was seen.
    assert stand.reserved() == before + (1010 + 1 - 3) * MAX_LOST_WRAPS


@pytest.mark.parametrize(
    ("reserved", "counted", "most_counted", "most"),
    [(10, 4, 3, 9), (10, 10, 7, 7), (0, 5, 5, 5), (0, 0, 0, 0)],
)
def test_a_project_made_what_is_counted_there_and_what_is_counted_nowhere(
    reserved: int, counted: int, most_counted: int, most: int
) -> None:
    assert most_wraps(reserved, counted, most_counted) == most
