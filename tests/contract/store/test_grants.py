"""Grants in the store: written over what was seen alone, sealed, and gone with their item."""

import pytest

from kmworker.domain.grants import NO_GRANTS, Grants, GrantsSeen, granted
from kmworker.domain.model import Broken, Item
from kmworker.domain.plan import Committed, GrantWrite, WriteStatus
from tests.kit.builders import NOW, attach, detach, event_of, release_of
from tests.kit.store.builders import draft, volume
from tests.kit.store.filling import brief, found_in
from tests.kit.store.key_life import after_30_days, tidy
from tests.kit.store.playing import play
from tests.kit.store.stand import Stand, only

V = volume("v1")


@pytest.fixture(autouse=True)
def admitted(stand: Stand) -> None:
    """A worker was there, or the store would be nobody's."""
    stand.first.admit()


def seen(stand: Stand, item: Item = V) -> GrantsSeen | Broken | None:
    return stand.first.look_up_grants([item]).result()[item]


def write_of(before: GrantsSeen | None = None, name: str = "a1") -> GrantWrite:
    after = granted(NO_GRANTS if before is None else before.grants, attach(name), NOW, 30.0)
    assert isinstance(after, Grants)
    return GrantWrite(V, before, after)


def put(stand: Stand) -> GrantsSeen:
    stand.commit(write_of())
    found = seen(stand)
    assert isinstance(found, GrantsSeen)
    return found


def test_what_is_written_is_read_back(stand: Stand) -> None:
    assert seen(stand) is None
    write = write_of()
    assert only(stand.commit(write)) == Committed(WriteStatus.WRITTEN)
    found = seen(stand)
    assert isinstance(found, GrantsSeen)
    assert found.grants == write.after
    assert stand.value(stand.key("p1", "commits")) == b"1"


def test_it_is_written_only_over_what_was_seen(stand: Stand) -> None:
    before = put(stand)
    other = write_of(before, "a2")
    stand.commit(write_of(before, "a3"))
    with stand.untouched():
        assert only(stand.commit(other)).status is WriteStatus.STALE
        assert only(stand.commit(write_of())).status is WriteStatus.STALE


def test_a_grant_that_somebody_has_edited_or_moved_is_none(stand: Stand) -> None:
    before = put(stand)
    grants = stand.key("p1", "grants")
    stand.raw.hset(grants, V.ref, before.record.replace(b'"n1"', b'"n2"'))
    assert isinstance(seen(stand), Broken)
    assert brief(found_in(stand)) == [("seal-broken", "p1", "grants", V.ref)]
    stand.raw.hset(grants, mapping={V.ref: before.record, "volume:other": before.record})
    assert isinstance(seen(stand, volume("other")), Broken)


def test_it_is_under_the_item_and_beside_assignments_of_one_batch(stand: Stand) -> None:
    answers = stand.commit(draft.create(V), write_of())
    assert [it.status for it in answers] == [WriteStatus.WRITTEN] * 2
    assert found_in(stand) == []


def test_it_goes_when_its_item_is_forgotten(stand: Stand) -> None:
    play(stand, event_of(V), attach(), detach("early"))
    assert isinstance(seen(stand), GrantsSeen)
    play(stand, release_of(V))
    for _ in range(2):
        after_30_days(stand)
        tidy(stand)
    assert stand.value(stand.key("p1", "items")) is None
    assert seen(stand) is None
