"""What becomes of each event once the store has answered: announced, settled, carried, buried."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from kmworker.domain.decision import Refuse
from kmworker.domain.event import UNENCRYPTED, RequestedEncryption
from kmworker.domain.look_up import Presumed
from kmworker.domain.model import Assignment, Disposition, Item, State, Stored
from kmworker.domain.plan import Arrival, AssignWrite, Committed, Plan, StillWaiting, WriteStatus
from kmworker.domain.planner import plan_batch
from kmworker.domain.resolve import MAX_ROUNDS, Dead, Done, Left, dead_from, resolve
from kmworker.errors import Reason
from tests.kit.builders import (
    SHIPPED,
    XTS,
    arrived,
    assignment_of,
    delivery_of,
    event_of,
    fresh,
    held,
    original_of,
    partition,
    replica,
    snapshot,
    volume,
    waited,
)

STORED = b'{"stored":true}'


def planned(*arrivals: Arrival, known: Mapping[Item, State] | None = None) -> Plan:
    return plan_batch(arrivals, known or {}, SHIPPED, fresh())


def sorted_out(
    plan: Plan, *answers: Committed, known: Mapping[Item, State] | None = None
) -> tuple[Done, Left]:
    return resolve(plan, answers, known or {}, [])


def written(plan: Plan, index: int = 0, *, has_waiting: bool = False) -> Committed:
    """The store's answer to a write that it made."""
    write = plan.writes[index]
    assert isinstance(write, AssignWrite)
    return Committed(WriteStatus.WRITTEN, write.assignment, STORED, has_waiting)


def exists(assignment: Assignment, *, has_waiting: bool = False) -> Committed:
    """The store's answer where somebody else was faster."""
    return Committed(WriteStatus.EXISTS, assignment, STORED, has_waiting)


STALE = Committed(WriteStatus.STALE)
ORPHAN = Committed(WriteStatus.ORPHAN)
PARKED = Committed(WriteStatus.PARKED)
FULL = Committed(WriteStatus.FULL, detail="too many wait")

VOLUME = arrived(event_of(volume()))
TAKEN = event_of(snapshot(), volume())
SNAPSHOT = arrived(TAKEN)
REPLICA = arrived(event_of(replica(), partition()))
PLAIN = arrived(event_of(volume(), encryption=UNENCRYPTED))
PLAIN_REPLICA = arrived(event_of(replica(), partition(), encryption=UNENCRYPTED))


def announced(done: Done) -> list[Item]:
    return [known.item for known in done.announce]


# --- assignments ------------------------------------------------------------------


NEW = {
    "an item": (VOLUME, [volume()]),
    "one that is not encrypted": (PLAIN, [volume()]),
    "a partition before its founder": (REPLICA, [partition(), replica()]),
    "a partition that is not encrypted": (PLAIN_REPLICA, [partition(), replica()]),
}


@pytest.mark.parametrize(("arrival", "items"), NEW.values(), ids=NEW)
def test_what_is_written_is_announced_counted_and_settled(
    arrival: Arrival, items: list[Item]
) -> None:
    plan = planned(arrival)
    done, left = sorted_out(plan, *(written(plan, index) for index in range(len(items))))
    assert announced(done) == items
    assert [known.assignment.item for known in done.new] == items
    is_bare = arrival in (PLAIN, PLAIN_REPLICA)
    assert (done.new[0].assignment.disposition is Disposition.NONE) is is_bare
    assert done.deliveries == [delivery_of(arrival.event)]
    assert (done.repeats, done.parked, done.dead, left) == (0, 0, [], Left())


def test_what_is_announced_is_what_is_stored_not_what_was_planned() -> None:
    plan = planned(VOLUME)
    stored = assignment_of(volume(), key_id="the-first-writers")
    done, left = sorted_out(plan, exists(stored))
    assert done.announce == [Stored(stored, STORED)]
    assert done.new == []
    assert done.repeats == 1
    assert done.deliveries == [delivery_of(VOLUME.event)]
    assert left == Left()


def test_an_event_of_an_unencrypted_item_that_comes_again_is_announced_again() -> None:
    known = {volume(): held(volume(), encryption=None)}
    done, _left = sorted_out(planned(VOLUME, known=known), known=known)
    assert (done.announce, done.repeats) == ([known[volume()]], 1)
    assert done.deliveries == [delivery_of(VOLUME.event)]


def test_duplicates_in_the_batch_are_each_settled_and_counted_as_one_assignment() -> None:
    one, two = arrived(event_of(volume()), tag=1), arrived(event_of(volume()), tag=2)
    plan = planned(one, two)
    done, _left = sorted_out(plan, written(plan))
    assert [delivery.tag for delivery in done.deliveries] == [1, 2]
    assert len(done.new) == 1
    assert done.repeats == 1
    assert set(announced(done)) == {volume()}


def test_an_item_that_was_presumed_to_be_new_and_is_there_is_looked_up() -> None:
    # Whose record it is, is verified; not the key and the scope that it stands on.
    arrival = arrived(event_of(volume()))
    plan = plan_batch([arrival], {}, SHIPPED, fresh(), Presumed(frozenset([volume()])))
    (write,) = plan.writes
    assert isinstance(write, AssignWrite)
    done, left = sorted_out(plan, exists(write.assignment))
    assert (done.announce, done.deliveries) == ([], [])
    assert left.carried == [replace(arrival, rounds=2)]


def test_one_stale_write_holds_up_only_what_rests_on_it() -> None:
    other = arrived(event_of(volume("v2")), tag=3)
    plan = planned(VOLUME, replace(SNAPSHOT, delivery=delivery_of(SNAPSHOT.event, 2)), other)
    done, left = sorted_out(plan, exists(assignment_of(volume())), STALE, written(plan, 2))
    assert announced(done) == [volume(), volume("v2")]
    assert [arrival.event.item for arrival in left.carried] == [snapshot()]
    assert [delivery.tag for delivery in done.deliveries] == [1, 3]


# --- carried and buried ---------------------------------------------------------


def elsewhere(item: Item, source: Item | None = None, node: str | None = None) -> Committed:
    """The store's answer where another event of the item was faster."""
    return exists(replace(assignment_of(item, source, event_id="another"), node=node))


THERE: dict[Item, State] = {volume(): held(volume())}
BARE: dict[Item, State] = {partition(): held(partition(), encryption=None)}
OTHER_SIZE = arrived(event_of(volume(), encryption=RequestedEncryption(XTS.cipher, 256)))
CARRIED: dict[str, tuple[Arrival, dict[Item, State], Committed]] = {
    "assigned from another source meanwhile": (VOLUME, {}, elsewhere(volume(), snapshot())),
    "assigned with encryption meanwhile": (PLAIN, {}, elsewhere(volume())),
    "assigned with another size meanwhile": (OTHER_SIZE, {}, elsewhere(volume())),
    "assigned on another node meanwhile": (
        REPLICA, BARE, elsewhere(replica(), partition(), node="node-2"),
    ),
    "what it rests on has changed": (SNAPSHOT, THERE, STALE),
    "its source came while it was parked": (SNAPSHOT, {}, STALE),
}  # fmt: skip


@pytest.mark.parametrize(("arrival", "known", "answer"), CARRIED.values(), ids=CARRIED)
def test_what_is_not_so_any_more_is_carried_and_nothing_is_settled(
    arrival: Arrival, known: dict[Item, State], answer: Committed
) -> None:
    done, left = sorted_out(planned(arrival, known=known), answer, known=known)
    assert done == Done()
    assert left.carried == [replace(arrival, rounds=2)]


LAST = replace(SNAPSHOT, rounds=MAX_ROUNDS)
ORPHANED = "the scope of {} is there without the item"
BURIED: dict[str, tuple[Arrival, dict[Item, State], list[Committed], Reason, str]] = {
    "a scope without its item": (
        VOLUME, {}, [ORPHAN], Reason.INTEGRITY, ORPHANED.format("volume:v1"),
    ),
    "a partition's scope without the partition": (
        REPLICA, {}, [ORPHAN, STALE], Reason.INTEGRITY, ORPHANED.format("partition:4711"),
    ),
    "no room to wait": (SNAPSHOT, {}, [FULL], Reason.NO_ROOM, "too many wait"),
    "changing for too many rounds": (
        LAST, THERE, [STALE],
        Reason.INTERNAL, f"the store kept changing for {MAX_ROUNDS} rounds",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("arrival", "known", "answers", "reason", "detail"), BURIED.values(), ids=BURIED
)
def test_what_cannot_go_on_is_a_dead_letter_and_settled(
    *,
    arrival: Arrival,
    known: dict[Item, State],
    answers: list[Committed],
    reason: Reason,
    detail: str,
) -> None:
    done, left = sorted_out(planned(arrival, known=known), *answers, known=known)
    assert [letter.refusal for letter in done.dead] == [Refuse(reason, detail)]
    assert done.deliveries == [delivery_of(arrival.event)]
    assert (done.announce, left) == ([], Left())


# --- repeats and refusals ---------------------------------------------------------


def test_a_redelivered_event_is_announced_from_what_was_looked_up() -> None:
    own = held(snapshot(), volume())
    known = {snapshot(): own}
    done, left = sorted_out(planned(SNAPSHOT, known=known), known=known)
    assert done.announce == [own]
    assert (done.repeats, done.new) == (1, [])
    assert done.deliveries == [delivery_of(SNAPSHOT.event)]
    assert left == Left()


def test_a_refusal_becomes_a_dead_letter_and_is_settled() -> None:
    known = {snapshot(): held(snapshot(), volume("v9"), event_id="another")}
    done, left = sorted_out(planned(SNAPSHOT, known=known), known=known)
    (letter,) = done.dead
    assert letter.refusal.reason is Reason.CONFLICT
    assert (letter.event_id, letter.event_type) == ("event-s1", "snapshot-taken")
    assert letter.original == original_of(SNAPSHOT.event)
    assert letter.attempts == 1
    assert done.deliveries == [delivery_of(SNAPSHOT.event)]
    assert (done.announce, left) == ([], Left())


def test_what_was_refused_before_there_was_a_plan_is_buried_and_settled_too() -> None:
    delivery = delivery_of(event_of(volume("v2")))
    refusal = Refuse(Reason.MALFORMED, "the body is not JSON")
    letter = Dead(delivery.original, refusal, "", "unknown", delivery, None, 1)
    done, left = resolve(planned(), [], {}, [letter])
    assert done.dead == [letter]
    assert done.deliveries == [delivery]
    assert left == Left()


def test_a_decision_put_off_is_carried() -> None:
    conflict = arrived(event_of(volume(), snapshot(), event_id="another"), tag=2)
    plan = planned(VOLUME, conflict)
    done, left = sorted_out(plan, written(plan))
    assert left.carried == [replace(conflict, rounds=2)]
    assert [delivery.tag for delivery in done.deliveries] == [1]


def test_the_round_before_the_last_is_carried() -> None:
    known = {volume(): held(volume())}
    event = replace(SNAPSHOT, rounds=MAX_ROUNDS - 1)
    _done, left = sorted_out(planned(event, known=known), STALE, known=known)
    assert [arrival.rounds for arrival in left.carried] == [MAX_ROUNDS]


# --- waiting ----------------------------------------------------------------------


def test_a_parked_event_is_settled_and_not_announced() -> None:
    done, left = sorted_out(planned(SNAPSHOT), PARKED)
    assert (done.announce, done.parked) == ([], 1)
    assert done.deliveries == [delivery_of(SNAPSHOT.event)]
    assert left == Left()


def test_an_event_that_waited_is_removed_once_it_is_assigned() -> None:
    known = {volume(): held(volume())}
    arrival = waited(event_of(snapshot(), volume()))
    plan = planned(arrival, known=known)
    done, _left = sorted_out(plan, written(plan), known=known)
    assert announced(done) == [snapshot()]
    assert done.entries == [arrival.entry]
    assert done.deliveries == []


def test_an_event_that_waits_on_is_neither_removed_nor_carried() -> None:
    arrival = waited(event_of(snapshot(), volume()))
    plan = planned(arrival)
    assert plan.outcomes == [(arrival, StillWaiting())]
    done, left = sorted_out(plan)
    assert done == Done()
    assert left == Left(still_waiting=[arrival.entry] if arrival.entry else [])


def test_an_expired_event_is_buried_with_its_attempts_and_removed() -> None:
    arrival = waited(event_of(snapshot(), volume()), attempts=3, expired=True)
    done, _left = sorted_out(planned(arrival))
    (letter,) = done.dead
    assert (letter.refusal.reason, letter.attempts) == (Reason.SOURCE_MISSING, 3)
    assert done.entries == [arrival.entry]


@pytest.mark.parametrize(
    ("arrival", "stored"),
    [(VOLUME, None), (VOLUME, assignment_of(volume())), (PLAIN, None)],
    ids=["written", "was there", "not encrypted"],
)
def test_an_assigned_item_that_events_wait_for_is_ready_to_be_taken_from(
    arrival: Arrival, stored: Assignment | None
) -> None:
    plan = planned(arrival)
    answer = exists(stored, has_waiting=True) if stored else written(plan, has_waiting=True)
    _done, left = sorted_out(plan, answer)
    assert left.ready == [volume()]


def test_so_is_one_whose_event_is_repeated() -> None:
    known = {volume(): held(volume(), has_waiting=True)}
    _done, left = sorted_out(planned(VOLUME, known=known), known=known)
    assert left.ready == [volume()]


# --- partitions -------------------------------------------------------------------


def test_both_are_announced_again_when_the_event_is_delivered_again() -> None:
    known: dict[Item, State] = {
        partition(): held(partition(), event_id="event-r1"),
        replica(): held(replica(), partition()),
    }
    done, _left = sorted_out(planned(REPLICA, known=known), known=known)
    assert done.announce == [known[partition()], known[replica()]]
    assert done.repeats == 1


def test_both_are_announced_where_the_same_event_was_faster_elsewhere() -> None:
    done, _left = sorted_out(
        planned(REPLICA),
        exists(assignment_of(partition(), event_id="event-r1")),
        exists(assignment_of(replica(), partition())),
    )
    assert announced(done) == [partition(), replica()]
    assert (done.new, done.repeats) == ([], 1)


def test_a_replica_whose_partition_another_one_founded_meanwhile_is_carried() -> None:
    founder = exists(assignment_of(partition(), event_id="event-r9"))
    done, left = sorted_out(planned(REPLICA), founder, STALE)
    assert done.announce == []
    assert left.carried == [replace(REPLICA, rounds=2)]


# --- dead letters -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrival", "attempts"),
    [
        pytest.param(replace(VOLUME, attempts=4), 4, id="tries that failed in this process"),
        pytest.param(waited(TAKEN, attempts=2), 2, id="tries counted in the store"),
        pytest.param(replace(waited(TAKEN, attempts=2), attempts=5), 5, id="whichever is more"),
    ],
)
def test_a_dead_letter_says_how_often_it_was_tried(arrival: Arrival, attempts: int) -> None:
    letter = dead_from(arrival, Refuse(Reason.INTERNAL, "it failed"))
    assert letter.attempts == attempts


def test_nothing_in_gives_nothing_out() -> None:
    assert sorted_out(planned()) == (Done(), Left())


def test_what_is_announced_does_not_name_key_and_scope_records_that_nobody_read() -> None:
    plan = planned(VOLUME)
    done, _left = sorted_out(plan, written(plan))
    (write,) = plan.writes
    assert isinstance(write, AssignWrite)
    assert done.announce == [Stored(write.assignment, STORED)]
