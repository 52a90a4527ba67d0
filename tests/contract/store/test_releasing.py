"""Items that are gone, and names that are used again: written only over what was seen."""

import json
from typing import Any

import pytest

from kmworker.domain.event import Event
from kmworker.domain.message import Original
from kmworker.domain.model import Disposition, Held, Item, Released, State
from kmworker.domain.plan import (
    AssignWrite,
    Committed,
    ParkWrite,
    ReleaseWrite,
    WriteStatus,
    entry_name,
)
from kmworker.wire.events.reading import parse
from tests.kit.builders import event_of, release_of, released
from tests.kit.outside.wire import said
from tests.kit.store.builders import draft, held, partition, replica, snapshot, volume
from tests.kit.store.filling import brief, found_in, repaired
from tests.kit.store.playing import play
from tests.kit.store.stand import Stand, only, take

V, S, W = volume("v1"), snapshot("s1"), volume("w1")


@pytest.fixture(autouse=True)
def admitted(stand: Stand) -> None:
    """A worker was there, or the store would be nobody's."""
    stand.first.admit()


def record(stand: Stand, item: Item) -> dict[str, Any]:
    return dict(json.loads(stand.value(stand.key("p1", "items"))[item.ref.encode()]))


def stats(stand: Stand) -> dict[str, int]:
    return {name.decode(): int(number) for name, number in stand.stats("p1").items()}


def gone(state: State) -> Released:
    assert isinstance(state, Released)
    return state


def test_a_released_item_is_read_back_with_what_it_held(stand: Stand) -> None:
    before = stand.put(draft.create(V))
    write = ReleaseWrite(released(before), before)
    assert only(stand.commit(write)) == Committed(WriteStatus.WRITTEN)
    assert stand.look_up(V) == {V: write.released}
    assert stand.value(stand.key("p1", "holders")) == {str(before.assignment.key_id).encode(): b"0"}
    assert record(stand, V)["data"] == json.loads(before.data)
    assert stats(stand) == {"create": 1, "released": 1}


def test_a_release_of_what_has_changed_writes_nothing(stand: Stand) -> None:
    before = stand.put(draft.create(V))
    other = stand.store()
    (state,) = other.look_up([V]).result().values()
    assert isinstance(state, Held)
    stand.commit(ReleaseWrite(released(before), before))
    with stand.untouched():
        (answer,) = other.commit([ReleaseWrite(released(before, event_id="late"), state)]).result()
        assert answer.status is WriteStatus.STALE


def test_a_record_that_was_edited_is_neither_released_nor_replaced(stand: Stand) -> None:
    before = stand.put(draft.create(V))
    raw = stand.value(stand.key("p1", "items"))[V.ref.encode()]
    stand.raw.hset(stand.key("p1", "items"), V.ref, raw.replace(b"6d1c", b"6d1d"))
    with stand.untouched():
        answer = only(stand.commit(ReleaseWrite(released(before), before)))
        assert answer.status is WriteStatus.STALE


def test_an_early_tombstone_is_no_assignment_and_gives_way_to_one(stand: Stand) -> None:
    play(stand, release_of(V))
    early = gone(stand.look_up(V)[V])
    assert early.held is None
    assert record(stand, V)["data"] is None
    assert stats(stand) == {"early": 1, "released": 1}
    # Whoever takes it for new is told to look again.
    assert only(stand.commit(draft.create(V))).status is WriteStatus.STALE
    play(stand, event_of(V))
    after = gone(stand.look_up(V)[V])
    assert after.held is not None
    assert after.tombstone.was_early
    assert stats(stand) == {"create": 1, "early": 0, "released": 2}
    assert brief(found_in(stand)) == []


def test_another_life_replaces_the_former_in_lineage_and_counters(stand: Stand) -> None:
    play(stand, event_of(V))
    first = stand.known(V)
    play(stand, event_of(V, generation=1, event_id="again"))
    second = stand.known(V)
    assert second.assignment.scope_id != first.assignment.scope_id
    assert second.assignment.former is not None
    assert second.assignment.former.key_id == first.assignment.key_id
    assert set(stand.value(stand.key("p1", "lineage"))) == {
        f"{second.assignment.scope_id} {V.ref}".encode()
    }
    # The former scope, its key and its DEK are there as before.
    assert len(stand.value(stand.secret("p1", "deks"))) == 2
    assert stats(stand) == {"create": 2, "create_forgotten": 1, "released": 1}
    assert brief(found_in(stand)) == []


def test_lives_that_pass_in_one_batch_leave_the_last_ones_lineage(stand: Stand) -> None:
    r, x = replica("r1"), partition("x")
    play(
        stand, event_of(V), event_of(S, V), release_of(V),
        event_of(V, generation=1, event_id="again"),
        event_of(r, x), release_of(r), event_of(r, x, generation=2, event_id="back"),
    )  # fmt: skip
    members = set(stand.value(stand.key("p1", "lineage")))
    known = [stand.known(it) for it in (V, S, r, x)]
    assert members == {f"{it.assignment.scope_id} {it.item.ref}".encode() for it in known}
    assert brief(found_in(stand)) == []


def test_what_derives_from_a_new_life_is_written_with_it(stand: Stand) -> None:
    play(stand, event_of(V))
    again = event_of(V, generation=1, event_id="again")
    answers = play(
        stand, again, event_of(S, V, source_generation=1), event_of(W, V, source_generation=1)
    )
    assert {it.status for it in answers} == {WriteStatus.WRITTEN}
    assert stand.known(W).assignment.scope_id == stand.known(V).assignment.scope_id
    assert brief(found_in(stand)) == []


def test_what_derives_from_the_gone_rests_on_its_tombstone(stand: Stand) -> None:
    play(stand, event_of(V), release_of(V))
    play(stand, event_of(S, V))
    taken = stand.known(S)
    assert taken.assignment.disposition is Disposition.REUSE
    play(stand, event_of(W, S), release_of(S))
    assert stand.known(W).assignment.scope_id == taken.assignment.scope_id
    assert brief(found_in(stand)) == []


def test_events_wait_for_the_life_that_they_mean(stand: Stand) -> None:
    play(stand, event_of(V), event_of(S, V, source_generation=2))
    assert stand.raw.hlen(stand.secret("p1", "parked")) == 1
    (waiting,) = take(stand.first, V, 9)
    assert (waiting.entry.source, waiting.entry.generation) == (V, 2)
    # Not of its own life: it waits on.
    stand.first.release([waiting.entry])
    assert stand.first.sweep("p1", 9, "").present == []
    (answer, *_rest) = play(stand, event_of(V, generation=2, event_id="second"))
    assert answer.has_waiting
    assert stand.first.sweep("p1", 9, "").present == [V]
    stand.first.remove([waiting.entry])
    assert stand.raw.zcard(stand.key("p1", "waiting:sources")) == 0


def test_an_event_that_waits_for_another_life_is_no_finding(stand: Stand) -> None:
    play(stand, event_of(V))
    body = said("snapshot-taken", "e1", "p1", snapshot_id="s1", volume_id="v1", source_generation=2)
    event = parse(body.body, None, "snapshot-taken")
    assert isinstance(event, Event)
    original = Original(body.body, "snapshot-taken", {})
    name = entry_name(event, original)
    stand.commit(ParkWrite(V, S, name, original, event.source_generation))
    assert brief(found_in(stand)) == []
    stand.raw.zadd(stand.key("p1", "waiting:sources"), {f"volume:v1 {name}": 0})
    (finding,) = found_in(stand)
    assert finding.place.key == "waiting:sources"


def test_of_an_event_that_waits_for_no_life_to_come_the_deadline_passes(stand: Stand) -> None:
    play(stand, event_of(V), event_of(S, V, source_generation=2))
    stand.clock.advance(10_000_000)
    (due,) = stand.first.sweep("p1", 9, "").due
    assert due.entry.expired
    assert (due.entry.source, due.entry.generation) == (V, 2)


def test_counters_that_are_wrong_are_found_beside_releases(stand: Stand) -> None:
    play(stand, event_of(V), event_of(S, V), event_of(W, V), release_of(S), release_of(volume("x")))
    play(stand, event_of(V, generation=1, event_id="again"))
    assert brief(found_in(stand)) == []
    for key, field in (("stats", "create"), ("holders", str(stand.known(W).assignment.key_id))):
        stand.raw.hset(stand.key("p1", key), field, 7)
        found, done = repaired(stand)
        assert [(it.place.key, it.place.field) for it in done] == [(key, field)]
        assert {it.place.key for it in found} <= {key, "totals"}
        assert brief(found_in(stand)) == []


@pytest.mark.parametrize("encryption", [True, False])
def test_records_of_lives_are_read_back_as_they_were_written(
    stand: Stand, encryption: bool
) -> None:
    make = draft.create if encryption else draft.none
    before = stand.put(make(V))
    tombstone = released(before, 3)
    stand.commit(ReleaseWrite(tombstone, before))
    assert gone(stand.look_up(V)[V]) == tombstone
    lives = {"generation": 4, "source_generation": 2, "former": tombstone.told}
    write = draft.none(V, **lives, cause=tombstone.tombstone.cause)
    second = AssignWrite(write.assignment, None, None, None, tombstone)
    assert only(stand.commit(second)).status is WriteStatus.WRITTEN
    assert stand.known(V) == held(write)
