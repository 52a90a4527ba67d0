"""Queues without room, and messages that a broker cannot take: nobody else waits for them."""

from typing import Any

import pytest

from kmworker.cli.installation.workers import Verdict, judge
from kmworker.domain.model import Item, Kind
from kmworker.store.views.status import WorkerSeen
from kmworker.worker.tally import RUNNING, WAITING
from tests.kit.simulator.checks import assert_settled
from tests.kit.simulator.events import garbage, snapshot, volume
from tests.kit.simulator.installation import Installation, Limits, Process
from tests.kit.simulator.steps import Crash
from tests.kit.simulator.wire import Publish

# Turns, of a quarter of a second each while there is nothing to do.
HALF_A_MINUTE = 350


def with_a_full_subscriber(projects: str = "p1") -> Installation:
    """A queue with reject-publish beside one that takes everything."""
    site = Installation()
    exchange = site.broker.topology.assignments
    site.broker.bind("full", exchange, f"key-assigned.*.{projects}").limit = 0
    return site


def unsettled(site: Installation) -> int:
    site.broker.run()
    held = [
        message
        for session in site.broker._sessions
        for channel in session.channels.values()
        if channel.queue is site.broker.work
        for message in channel.unacknowledged.values()
    ]
    return len(held) + len(site.broker.work.ready)


def announced(site: Installation, ref: str) -> int:
    return len(site.announced().get(ref, []))


# --- assignments ------------------------------------------------------------------


def test_an_assignment_that_is_refused_once_is_announced_again_and_no_repeat() -> None:
    site = Installation()
    site.broker.refuse_next()
    site.publish(volume("v"))
    process = site.process()
    process.turn(20)
    assert announced(site, "volume:v") == 1
    assert process.tally.totals["create"] == 1
    assert process.tally.totals["repeat"] == 0
    assert process.tally.totals["unrouted"] == 0
    assert_settled(site)


def test_a_subscriber_without_room_keeps_no_event_waiting() -> None:
    site = with_a_full_subscriber()
    process = site.process()
    site.publish(volume("v"), volume("w", project="p2"), snapshot("s", "v"))
    process.turn(20)
    # To the other subscriber it came with each try, as the same bytes.
    assert announced(site, "volume:v") == 3
    assert len(set(site.announced()["volume:v"])) == 1
    assert announced(site, "volume:w") == 1
    assert process.tally.totals["unrouted"] == 2
    assert "kmworker.assignments" in process.tally.trouble
    assert process.tally.state == RUNNING
    assert_settled(site)


def test_while_a_subscriber_has_no_room_its_assignments_are_tried_once_and_others_as_ever() -> None:
    site = with_a_full_subscriber()
    process = site.process()
    site.publish(volume("v"))
    process.turn(20)
    site.publish(volume("w"), volume("x", project="p2"))
    site.broker.refuse_next()
    process.turn(20)
    # The one that the broker refused by itself was w's.
    assert announced(site, "volume:w") == 0
    site.publish(volume("y", project="p2"))
    site.broker.refuse_next()
    process.turn(20)
    assert announced(site, "volume:y") == 1
    assert process.tally.totals["unrouted"] == 2
    assert_settled(site)


def test_when_there_is_room_again_nothing_is_left_of_it() -> None:
    site = with_a_full_subscriber()
    process = site.process()
    site.publish(volume("v"))
    process.turn(20)
    full = site.broker.queues["full"]
    full.limit = None
    process.turn(HALF_A_MINUTE)
    assert process.tally.trouble == ""
    site.publish(volume("w"))
    process.turn(2)
    assert len(full.ready) == 1
    # What counted as unrouted is announced again when its event comes again.
    site.publish(volume("v"))
    process.turn(5)
    assert len(full.ready) == 2


def test_an_assignment_that_is_held_back_does_not_keep_a_worker_from_its_end() -> None:
    site = with_a_full_subscriber()
    site.publish(volume("v"))
    process = site.process()
    process.turn(1)
    process.run()
    assert unsettled(site) == 1
    site.broker.queues["full"].limit = None
    site.process().run()
    assert_settled(site)


def test_a_waiting_event_whose_assignment_is_refused_is_not_tried_by_the_sweep_meanwhile() -> None:
    site = with_a_full_subscriber()
    site.publish(snapshot("s", "v"))
    process = site.process()
    process.turn(2)
    site.publish(volume("v"))
    process.turn(12)
    assert announced(site, "snapshot:s") <= 3
    assert_settled(site)


# --- dead letters -----------------------------------------------------------------


def test_a_dead_letter_without_room_is_held_back_alone() -> None:
    site = Installation()
    site.broker.dead.limit = 0
    site.publish(garbage("bad"), volume("a"))
    process = site.process()
    process.turn(2)
    site.publish(volume("b"), garbage("worse"))
    process.turn(2)
    assert set(site.announced()) == {"volume:a", "volume:b"}
    assert unsettled(site) == 2
    assert process.tally.totals["dead"] == 0
    assert "kmworker.dead" in process.tally.trouble
    assert process.tally.state == RUNNING
    site.broker.dead.limit = None
    process.turn(HALF_A_MINUTE)
    assert sorted(letter.body for letter in site.letters) == [b"bad", b"worse"]
    assert process.tally.totals["dead"] == 2
    assert process.tally.trouble == ""
    assert_settled(site)


def test_only_so_many_dead_letters_are_held_back_and_then_it_is_said_why_nothing_goes_on() -> None:
    site = Installation(Limits(batch_max=4))
    site.broker.dead.limit = 0
    site.publish(*(garbage(f"bad {number}") for number in range(12)))
    site.publish(volume("a"))
    process = site.process()
    process.turn(6)
    assert process.tally.state == WAITING
    assert process.tally.last_error.startswith("BrokerUnavailable: kmworker.dead: no room")
    verdict, why = judge(seen(process, site), site.clock.now(), 60.0)
    assert verdict is Verdict.WAITING
    assert "kmworker.dead" in why
    assert unsettled(site) == 13
    site.broker.dead.limit = 9
    process.turn(2 * HALF_A_MINUTE)
    assert len(site.letters) == 9
    assert announced(site, "volume:a") == 1
    assert unsettled(site) == 3
    site.broker.dead.limit = None
    process.turn(2 * HALF_A_MINUTE)
    assert len(site.letters) == 12
    assert process.tally.state == RUNNING
    assert_settled(site)


def test_a_waiting_event_whose_letter_has_no_room_waits_on() -> None:
    site = Installation(Limits(waiting_deadline_s=5.0))
    site.publish(snapshot("s", "never"))
    process = site.process()
    process.turn(2)
    site.broker.dead.limit = 0
    site.let_pass(10.0)
    process.turn(3)
    site.publish(volume("a"))
    process.turn(2)
    assert announced(site, "volume:a") == 1
    assert len(site.waiting()) == 1
    site.broker.dead.limit = None
    for _ in range(5):
        site.let_pass(20.0)
        process.turn(2)
    assert site.reasons() == {"event-snapshot-s": "source-missing"}
    assert_settled(site)


def test_who_ends_while_letters_are_held_back_leaves_their_events_to_the_next() -> None:
    site = Installation()
    site.broker.dead.limit = 0
    site.publish(garbage("bad"), volume("a"))
    for _ in range(7):
        process = site.process()
        process.turn(2)
        process.run()
        assert unsettled(site) == 1
    site.broker.dead.limit = None
    site.process().run()
    # Whoever held it was not ended by it.
    assert site.letter_of(garbage("bad"))["x-kmworker-reason"] == "malformed"
    assert_settled(site)


def test_what_waits_for_a_source_that_came_is_found_while_letters_are_held_back() -> None:
    site = Installation(Limits(waiting_deadline_s=600.0))
    site.broker.dead.limit = 0
    site.publish(garbage("bad"), snapshot("s", "v"), snapshot("t", "never"))
    process = site.process()
    process.turn(4)
    other = site.process()
    other.troubles.at("store.take", Crash())
    process.host.hold()
    site.publish(volume("v"))
    with pytest.raises(Crash):
        other.turn(20)
    other.die()
    process.host.hold(False)
    for _ in range(80):
        site.let_pass(10.0)
        process.turn(2)
    # What is past its deadline waits for its letter.
    assert announced(site, "snapshot:s") == 1
    assert len(site.waiting()) == 1
    assert unsettled(site) == 1


@pytest.mark.parametrize("deaths", [1, 2, 4])
def test_whoever_comes_after_gets_them_back_first_and_goes_on_with_the_rest(deaths: int) -> None:
    site = Installation()
    site.broker.dead.limit = 0
    bad = [garbage(f"bad {number}") for number in range(5)]
    site.publish(*bad, volume("a"))
    for _ in range(deaths):
        process = site.process()
        process.turn(6)
        process.die()
    process = site.process()
    good = [volume(f"v{number}") for number in range(5)]
    site.publish(*good)
    process.turn(60)
    assert {f"volume:v{number}" for number in range(5)} < set(site.announced())
    assert unsettled(site) == len(bad)
    site.broker.dead.limit = None
    process.turn(HALF_A_MINUTE)
    assert sorted(letter.body for letter in site.letters) == sorted(it.body for it in bad)
    assert_settled(site)


def test_as_many_as_may_be_held_back_are_put_aside_one_by_one() -> None:
    site = Installation(Limits(batch_max=50))
    site.broker.dead.limit = 0
    site.publish(*(garbage(f"bad {number}") for number in range(49)))
    for _ in range(2):
        process = site.process()
        process.turn(60)
        process.die()
    process = site.process()
    process.turn(120)
    assert unsettled(site) == len(process.worker._pipeline.unsettled) == 49
    site.publish(*(volume(f"v{number}") for number in range(200)))
    process.turn(20)
    assert len(site.announced()) == 200
    assert unsettled(site) == 49


@pytest.mark.parametrize("at_front", [False, True])
def test_poison_takes_nothing_else_along_while_dead_letters_are_held_back(at_front: bool) -> None:
    site = Installation(Limits(max_attempts=3), requeue_at_front=at_front)
    site.broker.dead.limit = 0
    site.poison.update({"volume:poison-1": Crash(), "volume:poison-2": Crash()})
    good = [volume(f"v{number}") for number in range(30)]
    site.publish(garbage("bad"), *good[:15], volume("poison-1"), volume("poison-2"), *good[15:])
    innocent = {event.body for event in good}
    came_back = 0
    process = site.process()
    for _ in range(1_000):
        try:
            process.turn()
        except Crash:
            process.die()
            back = [it.delivery_count for it in site.broker.work.ready if it.body in innocent]
            came_back = max(came_back, *back, 0)
            process = site.process()
    assert {f"volume:v{number}" for number in range(30)} == set(site.announced())
    # Whoever was beside it before it was known to be poison, and never again.
    assert came_back <= 2
    assert unsettled(site) == 3
    process.die()
    # It was given up: whoever has it next does not die of it again.
    process = site.process()
    process.turn(60)
    assert unsettled(site) == 3
    site.broker.dead.limit = None
    process.turn(HALF_A_MINUTE)
    reasons = [it.headers["x-kmworker-reason"] for it in site.letters]
    assert sorted(reasons) == ["internal", "internal", "malformed"]
    assert_settled(site)


# --- what a broker ends the connection over ---------------------------------------


def beside(frame: Publish) -> Any:
    return (frame.properties.get("application_headers") or {}).get("x-odd")


@pytest.mark.parametrize("batch_max", [16, 2])
def test_a_message_that_ends_the_connection_is_found_and_its_neighbours_go_on(
    batch_max: int,
) -> None:
    site = Installation(Limits(batch_max=batch_max))
    site.broker.abhors = beside
    site.publish(volume("a"), volume("b", project="p2"))
    site.publish(garbage("odd"), application_headers={"x-odd": "x", "y": 1})
    site.publish(volume("c"), garbage("plain"))
    process = site.process()
    process.turn(20)
    assert set(site.announced()) == {"volume:a", "volume:b", "volume:c"}
    assert {letter.body for letter in site.letters} == {b"odd", b"plain"}
    headers = site.letter_of(garbage("odd"))
    assert headers["x-kmworker-reason"] == "malformed"
    assert "y" not in headers
    assert_settled(site)


def test_an_assignment_that_ends_the_connection_is_given_up_and_its_neighbours_are_not() -> None:
    site = Installation(Limits(max_attempts=3))
    names = site.broker.topology
    site.broker.abhors = lambda frame: frame.exchange == names.assignments and b"odd" in frame.body
    site.handle(volume("a"), volume("odd"), volume("b"))
    assert site.reasons() == {"event-volume-odd": "internal"}
    assert set(site.announced()) == {"volume:a", "volume:b"}
    # The record stands, and says what it would have been told.
    assert site.record(Item("p1", Kind.VOLUME, "odd")) is not None
    assert site.broker.is_settled


def test_a_letter_that_ends_the_connection_however_bare_is_held_back_alone() -> None:
    site = Installation()
    site.broker.abhors = lambda frame: frame.body == b"odd"
    site.publish(garbage("odd"), volume("a"), garbage("plain"))
    process = site.process()
    process.turn(10)
    assert announced(site, "volume:a")
    assert [letter.body for letter in site.letters] == [b"plain"]
    assert unsettled(site) == 1
    site.broker.abhors = lambda _frame: False
    process.turn(HALF_A_MINUTE)
    assert process.tally.totals["failures"] == 2
    assert_settled(site)


def test_one_end_of_the_connection_is_an_outage_and_costs_no_event_anything() -> None:
    site = Installation(Limits(max_attempts=1))
    ends = iter([True])
    site.broker.abhors = lambda _frame: next(ends, False)
    process = site.handle(volume("a"), garbage("bad"))
    assert process.tally.totals["failures"] == 1
    assert site.reasons() == {"": "malformed"}
    assert_settled(site)


def seen(process: Process, site: Installation) -> WorkerSeen:
    tally = process.tally
    return WorkerSeen(
        worker_id="w",
        seen_at=site.clock.now(),
        is_live=True,
        host="",
        pid=1,
        state=tally.state,
        started_at=0.0,
        last_batch_at=tally.last_batch_at,
        busy_since=tally.busy_since,
        last_error=tally.last_error,
    )
