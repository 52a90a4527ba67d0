"""Waiting events when something goes wrong: tried again, given up in time, never lost."""

from collections.abc import Sequence
from typing import Any

import pytest

from kmworker.decision import decide
from kmworker.errors import StoreUnavailable
from kmworker.events import Event
from kmworker.model import Item, Kind
from kmworker.outcomes import Dead
from kmworker.path import Asked
from kmworker.plan import Arrival
from tests.simulation.checks import assert_all_assigned, assert_settled
from tests.simulation.events import Sent, snapshot, volume
from tests.simulation.installation import Installation, Limits, Process
from tests.simulation.troubles import Crash, Lost

V = Item("p1", Kind.VOLUME, "v")


def test_what_a_crash_leaves_behind_is_found_by_the_sweep() -> None:
    site = Installation()
    site.publish(snapshot("s", "v"))
    site.process().run()
    dying = site.process()
    dying.turn()
    # Acknowledged, and what waits for it is taken and not settled.
    dying.troubles.at("bus.acknowledge done", Crash())
    site.publish(volume("v"))
    with pytest.raises(Crash):
        dying.turn(2)
    dying.die()
    site.let_pass(site.limits.sweep_s)
    site.process().run()
    assert_all_assigned(site, volume("v"), snapshot("s", "v"))


@pytest.mark.parametrize("max_attempts", [1, 3])
def test_a_waiting_event_that_ends_every_worker_is_given_up(max_attempts: int) -> None:
    site = Installation(Limits(max_attempts=max_attempts))
    neighbours = [snapshot(f"s{number}", "v") for number in range(8)]
    site.publish(snapshot("poison", "v"), *neighbours)
    site.process().run()
    site.publish(volume("v"))
    crashes = 0
    while not site.letters:
        site.let_pass(site.limits.sweep_s)
        process = site.process()
        _deadly(process, snapshot("poison", "v"))
        try:
            process.run()
        except Crash:
            process.die()
            crashes += 1
    # Once with its neighbours, then alone.
    assert crashes == 1 + max_attempts
    assert site.reasons() == {"event-snapshot-poison": "internal"}
    (letter,) = site.letters
    assert letter.properties["application_headers"]["x-kmworker-attempts"] == crashes
    for neighbour in neighbours:
        assert neighbour.item.ref in site.announced()
    assert_settled(site)


def test_waiting_events_that_were_tried_before_are_tried_one_by_one() -> None:
    site = Installation()
    early = [snapshot(f"s{number}", "v") for number in range(5)]
    site.publish(*early)
    site.process().run()
    site.publish(volume("v"))
    dying = site.process()
    dying.troubles.at("bus.send", Crash(), skip=1)
    dying.run_into_crash()
    site.let_pass(site.limits.sweep_s)
    process = site.process()
    sizes: list[int] = []
    ask = process.path.ask

    def asked(arrivals: Sequence[Arrival], dead: Sequence[Dead]) -> Asked:
        sizes.append(len(arrivals))
        return ask(arrivals, dead)

    process.path.ask = asked  # type: ignore[method-assign]
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

    monkeypatch.setattr("kmworker.batch.decide", cursed)
    site = Installation(Limits(max_attempts=max_attempts, batch_max=4))
    neighbours = [snapshot(f"s{number}", "v") for number in range(10)]
    site.publish(*neighbours[:5], snapshot("cursed", "v"), *neighbours[5:])
    site.process().run()
    site.publish(volume("v"))
    site.process().run()
    (letter,) = site.letters
    assert letter.body == snapshot("cursed", "v").body
    headers = letter.properties["application_headers"]
    assert headers["x-kmworker-reason"] == "internal"
    assert headers["x-kmworker-attempts"] == max_attempts
    assert len(site.announced()) == 11
    assert_settled(site)


def test_a_waiting_event_between_two_tries_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = Installation()
    site.publish(snapshot("s", "v"))
    site.process().run()
    process = site.process()
    site.publish(volume("v"))
    process.turn()

    def broken(*_known: Any) -> Any:
        raise ValueError

    with monkeypatch.context() as patch:
        patch.setattr("kmworker.batch.decide", broken)
        process.turn()
    process.troubles.at("bus.receive", Lost())
    process.run()
    assert process.troubles.over()
    assert_all_assigned(site, volume("v"), snapshot("s", "v"))


def test_servers_that_go_away_do_not_count_against_a_waiting_event() -> None:
    site = Installation(Limits(max_attempts=1))
    site.publish(snapshot("s", "v"))
    site.process().run()
    process = site.process()
    for point in ("store.look_up", "store.commit"):
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
    site.publish(snapshot("s", "v"))
    site.process().run()
    site.publish(volume("v"))
    dying = site.process()
    dying.troubles.at("store.commit", Crash(), skip=1)
    dying.run_into_crash()
    process = site.process()
    process.turn()
    site.publish(volume("w"))
    process.turn()
    # It is taken, to be tried alone, while the other one is still under way.
    process.troubles.at("store.commit", StoreUnavailable("gone"))
    site.let_pass(site.limits.sweep_s)
    process.run()
    assert process.troubles.over()
    assert_all_assigned(site, volume("v"), volume("w"), snapshot("s", "v"))


def test_events_of_an_absent_source_are_not_taken_again_and_again() -> None:
    """Only the sweep names their source, and it was interrupted."""
    site = Installation(Limits(batch_max=2, waiting_deadline_s=100))
    site.publish(*(snapshot(f"s{number}", "v") for number in range(8)))
    site.process().run()
    site.let_pass(60)
    site.publish(*(snapshot(f"t{number}", "v") for number in range(8)))
    site.process().run()
    site.let_pass(60)
    process = site.process()
    process.troubles.at("bus.send", Lost(), times=2)
    process.run()
    assert len(site.letters) == 8
    assert len(site.waiting()) == 8
    assert {entry["attempts"] for entry in site.waiting().values()} == {0}


def test_a_full_waiting_room_stops_the_intake_until_there_is_room() -> None:
    site = Installation(Limits(waiting_max=2, batch_max=2))
    early = [snapshot(f"s{number}", "v") for number in range(9)]
    process = site.process()
    site.publish(*early[:3], volume("w"), *early[3:])
    process.turn(10)
    assert len(site.waiting()) == 2
    assert "WaitingRoomFull" in process.tally.last_error
    assert "p1" in process.tally.last_error
    received = process.troubles.counts()["bus.receive"]
    process.turn(10)
    assert process.troubles.counts()["bus.receive"] == received
    assert not site.broker.is_settled
    # Its prefetch is used up, so the source goes to another worker.
    second = site.process()
    second.turn()
    site.publish(volume("v"))
    site.come_to_rest(second, process)
    assert_all_assigned(site, *early, volume("v"), volume("w"))


def test_a_full_waiting_room_empties_as_deadlines_pass() -> None:
    site = Installation(Limits(waiting_max=2, batch_max=4))
    early = [snapshot(f"s{number}", "v") for number in range(4)]
    process = site.process()
    site.publish(*early)
    process.turn(3)
    site.let_pass(site.limits.waiting_deadline_s + 1)
    process.turn(3)
    assert len(site.letters) == 2
    assert len(site.waiting()) == 2
    assert site.broker.is_settled


def _deadly(process: Process, poison: Sent) -> None:
    ask = process.path.ask

    def asked(arrivals: Sequence[Arrival], dead: Sequence[Dead]) -> Asked:
        if any(arrival.original.body == poison.body for arrival in arrivals):
            process.troubles.crash()
        return ask(arrivals, dead)

    process.path.ask = asked  # type: ignore[method-assign]
