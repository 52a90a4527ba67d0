"""Waiting events when something goes wrong: tried again, given up in time, never lost."""

from hashlib import sha256
from typing import Any

import pytest

from kmworker.domain.decision import decide
from kmworker.domain.event import Event
from kmworker.domain.message import MAX_BODY_BYTES
from kmworker.domain.model import Item, Kind
from kmworker.errors import StoreUnavailable
from kmworker.worker.parse import Batch
from kmworker.worker.stages import AwaitingLookup
from tests.kit.simulator.checks import assert_all_assigned, assert_settled
from tests.kit.simulator.events import snapshot, volume
from tests.kit.simulator.installation import Installation, Limits
from tests.kit.simulator.said import entry_of
from tests.kit.simulator.troubles import Crash, Lost

V = Item("p1", Kind.VOLUME, "v")


@pytest.mark.parametrize("size", [1_000, MAX_BODY_BYTES, MAX_BODY_BYTES + 1, 200_000])
def test_a_damaged_record_is_a_letter_that_a_broker_takes_however_large_it_is(size: int) -> None:
    site = Installation(Limits(waiting_deadline_s=5.0))
    # What RabbitMQ answers 501 to; see `max_message_size` in rabbitmq.conf.
    site.broker.abhors = lambda frame: len(frame.body) > 131_072
    site.handle(snapshot("s", "v"))
    parked = site.names.of("p1", "parked")
    (name,) = site.redis.hkeys(parked)
    record = site.redis.hget(parked, name)
    damaged = record + b"x" * (size - len(record))
    site.redis.hset(parked, name, damaged)
    for _ in range(3):
        site.let_pass(10.0)
        site.process().run()
    (letter,) = site.letters
    headers = letter.headers
    assert headers["x-kmworker-reason"] == "integrity"
    if size <= MAX_BODY_BYTES:
        assert letter.body == damaged
    else:
        assert letter.body == b""
        assert headers["x-kmworker-body-bytes"] == size
        assert headers["x-kmworker-body-sha256"] == sha256(damaged).hexdigest()
    assert site.broker.is_settled
    assert not site.waiting()


@pytest.mark.parametrize("max_attempts", [1, 3])
def test_a_waiting_event_that_ends_every_worker_is_given_up(max_attempts: int) -> None:
    site = Installation(Limits(max_attempts=max_attempts))
    neighbours = [snapshot(f"s{number}", "v") for number in range(8)]
    site.handle(snapshot("poison", "v"), *neighbours)
    site.poison["snapshot:poison"] = Crash()
    site.publish(volume("v"))
    crashes = 0
    while not site.letters:
        site.let_pass(site.limits.sweep_s)
        process = site.process()
        try:
            process.run()
        except Crash:
            process.die()
            crashes += 1
    # Once with its neighbours, then alone.
    assert crashes == 1 + max_attempts
    assert site.reasons() == {"event-snapshot-poison": "internal"}
    assert site.letter_of(snapshot("poison", "v"))["x-kmworker-attempts"] == crashes
    for neighbour in neighbours:
        assert neighbour.item.ref in site.announced()
    assert_settled(site)


def test_waiting_events_that_were_tried_before_are_tried_one_by_one(site: Installation) -> None:
    early = [snapshot(f"s{number}", "v") for number in range(5)]
    site.handle(*early)
    site.publish(volume("v"))
    dying = site.process()
    dying.troubles.at("bus.send", Crash(), skip=1)
    dying.run_into_crash()
    site.let_pass(site.limits.sweep_s)
    process = site.process()
    sizes: list[int] = []
    look_up = process.stages.look_up

    def looked_up(batch: Batch) -> AwaitingLookup:
        sizes.append(len(batch.arrivals))
        return look_up(batch)

    process.stages.look_up = looked_up  # type: ignore[method-assign]
    site.publish(volume("fresh"), volume("fresher"))
    process.run()
    # Fresh events do not wait for all of them.
    assert sizes == [1, 2, *[1] * (len(early) - 1)]
    assert_all_assigned(site, volume("v"), volume("fresh"), volume("fresher"), *early)


@pytest.mark.parametrize("max_attempts", [1, 3])
def test_a_waiting_event_that_fails_by_our_fault_is_given_up_and_its_neighbours_are_not(
    max_attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cursed(event: Event, *known: Any) -> Any:
        if event.item.id == "cursed" and known[1] is not None:
            raise ValueError
        return decide(event, *known)

    monkeypatch.setattr("kmworker.domain.planner.decide", cursed)
    site = Installation(Limits(max_attempts=max_attempts, batch_max=4))
    neighbours = [snapshot(f"s{number}", "v") for number in range(10)]
    site.handle(*neighbours[:5], snapshot("cursed", "v"), *neighbours[5:])
    site.handle(volume("v"))
    assert len(site.letters) == 1
    headers = site.letter_of(snapshot("cursed", "v"))
    assert headers["x-kmworker-reason"] == "internal"
    assert headers["x-kmworker-attempts"] == max_attempts
    assert len(site.announced()) == 11
    assert_settled(site)


def test_a_waiting_event_between_two_tries_is_not_forgotten(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.handle(snapshot("s", "v"))
    process = site.process()
    site.publish(volume("v"))
    process.turn()

    def broken(*_known: Any) -> Any:
        raise ValueError

    with monkeypatch.context() as patch:
        patch.setattr("kmworker.domain.planner.decide", broken)
        process.turn()
    process.troubles.at("bus.receive", Lost())
    process.run()
    assert process.troubles.over()
    assert_all_assigned(site, volume("v"), snapshot("s", "v"))


def test_servers_that_go_away_do_not_count_against_a_waiting_event() -> None:
    site = Installation(Limits(max_attempts=1))
    site.handle(snapshot("s", "v"))
    process = site.process()
    for point in ("store.look_up result", "store.commit result"):
        process.troubles.at(point, StoreUnavailable("gone"), skip=1, times=3)
    for point in ("store.remove", "store.release"):
        process.troubles.at(point, StoreUnavailable("gone"), times=3)
    process.troubles.at("bus.send", Lost(), skip=1, times=3)
    site.publish(volume("v"))
    process.run()
    assert process.troubles.over()
    assert_all_assigned(site, volume("v"), snapshot("s", "v"))


def test_a_batch_that_cannot_be_finished_does_not_count_against_a_waiting_event() -> None:
    site = Installation(Limits(max_attempts=1))
    site.handle(snapshot("s", "v"))
    site.publish(volume("v"))
    dying = site.process()
    dying.troubles.at("store.commit result", Crash(), skip=1)
    dying.run_into_crash()
    process = site.process()
    process.turn()
    site.publish(volume("w"))
    process.turn()
    # It is taken, to be tried alone, while the other one is still under way.
    process.troubles.at("store.commit result", StoreUnavailable("gone"))
    site.let_pass(site.limits.sweep_s)
    process.run()
    assert process.troubles.over()
    assert_all_assigned(site, volume("v"), volume("w"), snapshot("s", "v"))


def test_events_of_an_absent_source_are_not_taken_again_and_again() -> None:
    """Only the sweep names their source, and it was interrupted."""
    site = Installation(Limits(batch_max=2, waiting_deadline_s=100))
    site.handle(*(snapshot(f"s{number}", "v") for number in range(8)))
    site.let_pass(60)
    site.handle(*(snapshot(f"t{number}", "v") for number in range(8)))
    site.let_pass(60)
    process = site.process()
    process.troubles.at("bus.send", Lost(), times=2)
    process.run()
    assert len(site.letters) == 8
    assert len(site.waiting()) == 8
    assert {entry["attempts"] for entry in site.waiting().values()} == {0}


def test_a_full_waiting_room_stops_nothing_and_what_has_no_room_says_so() -> None:
    site = Installation(Limits(waiting_max=2, batch_max=2))
    early = [snapshot(f"s{number}", "v") for number in range(4)]
    process = site.handle(*early, volume("w"), snapshot("other", "x", project="p2"))
    assert len(site.waiting()) == 2
    assert site.reasons() == {f"event-snapshot-s{n}": "no-room" for n in (2, 3)}
    detail = "2 events of project p1 wait for their sources (waiting.max)"
    assert {site.letter_of(it)["x-kmworker-detail"] for it in early[2:]} == {detail}
    assert process.tally.last_error == ""
    assert set(site.announced()) == {"volume:w"}
    assert set(site.waiting("p2")) == {entry_of(snapshot("other", "x", project="p2")).decode()}
    site.handle(volume("v"))
    assert {"volume:v", "snapshot:s0", "snapshot:s1"} <= set(site.announced())
    # Sent again, as `kmworker dead replay` does, they are assigned.
    site.handle(*early[2:])
    assert {"snapshot:s2", "snapshot:s3"} <= set(site.announced())


def test_a_full_waiting_room_empties_as_deadlines_pass() -> None:
    site = Installation(Limits(waiting_max=2, batch_max=4))
    process = site.process()
    site.publish(*(snapshot(f"s{number}", "v") for number in range(2)))
    process.turn(3)
    site.let_pass(site.limits.waiting_deadline_s + 1)
    process.turn(3)
    site.publish(*(snapshot(f"s{number}", "v") for number in range(2, 4)))
    process.turn(3)
    assert set(site.reasons().values()) == {"source-missing"}
    assert len(site.waiting()) == 2
    assert site.broker.is_settled
