"""Events that overtake their source: they wait, and none of them for ever."""

import random

import pytest

from kmworker.domain.model import Item, Kind
from tests.kit.simulator.checks import assert_all_assigned, assert_settled
from tests.kit.simulator.events import Sent, snapshot, volume
from tests.kit.simulator.installation import Installation, Limits
from tests.kit.simulator.troubles import Crash

V = Item("p1", Kind.VOLUME, "v")


def chain(length: int) -> list[Sent]:
    """Volumes each of which was made from the one before."""
    made = [volume("v0")]
    for number in range(1, length):
        made.append(volume(f"v{number}", made[-1].item))
    return made


# --- sources that come ------------------------------------------------------------


def test_a_chain_of_fifty_that_comes_backwards_needs_no_sweep() -> None:
    site = Installation(Limits(batch_max=4))
    events = chain(50)
    process = site.process()
    process.turn()
    site.publish(*reversed(events))
    process.run()
    assert_all_assigned(site, *events)
    assert process.troubles.counts()["store.sweep"] == 0
    assert site.clock.slept_s == 0


@pytest.mark.parametrize("seed", range(4))
def test_two_workers_resolve_a_chain_that_comes_in_any_order(seed: int) -> None:
    site = Installation(Limits(batch_max=4))
    events = chain(50)
    shuffled = random.Random(seed).sample(events, len(events))
    first, second = site.process(), site.process()
    site.come_to_rest(first, second)
    site.publish(*(reversed(events) if seed == 0 else shuffled))
    site.come_to_rest(first, second)
    assert_all_assigned(site, *events)
    assert first.troubles.counts()["store.sweep"] == second.troubles.counts()["store.sweep"] == 0


def test_more_waiting_events_than_a_batch_holds_are_all_taken() -> None:
    site = Installation(Limits(batch_max=4))
    crowd = [snapshot(f"s{number}", "v") for number in range(30)]
    site.handle(*crowd)
    site.handle(volume("v"))
    assert_all_assigned(site, volume("v"), *crowd)


def test_a_waiting_event_that_comes_twice_waits_once(site: Installation) -> None:
    site.handle(snapshot("s", "v"), snapshot("s", "v"))
    (first,) = site.waiting().values()
    site.clock.advance(60)
    site.handle(snapshot("s", "v"))
    assert list(site.waiting().values()) == [first]


# --- deadlines --------------------------------------------------------------------


def test_an_event_past_its_deadline_is_dead_lettered_as_it_was(site: Installation) -> None:
    headers = {"x-request": "r-1", "CC": ["elsewhere"]}
    site.handle(snapshot("s", "v"), application_headers=headers, correlation_id="c-1")
    site.let_pass(site.limits.waiting_deadline_s - 1)
    site.process().run()
    assert not site.letters
    site.let_pass(11)
    site.process().run()
    (letter,) = site.letters
    assert letter.body == snapshot("s", "v").body
    assert letter.routing_key == "source-missing.snapshot-taken"
    assert letter.properties["correlation_id"] == "c-1"
    told = letter.headers
    assert told["x-request"] == "r-1"
    assert told["x-kmworker-reason"] == "source-missing"
    assert told["x-kmworker-attempts"] == 1
    assert told["x-kmworker-routing-key"] == "snapshot-taken"
    assert "CC" not in told
    assert_settled(site)


def test_more_events_than_a_batch_holds_expire_without_another_sweep() -> None:
    site = Installation(Limits(batch_max=4))
    crowd = [snapshot(f"s{number}", "v") for number in range(30)]
    site.handle(*crowd)
    site.let_pass(site.limits.waiting_deadline_s + 1)
    process = site.process()
    process.turn(10)
    assert {letter.body for letter in site.letters} == {event.body for event in crowd}
    # The sweep's, and the outboxes'.
    assert process.troubles.counts()["store.lease"] == 2
    assert_settled(site)


def test_a_source_that_comes_at_the_last_moment_wins(site: Installation) -> None:
    site.handle(snapshot("s", "v"))
    dying = site.process()
    dying.troubles.at("bus.send", Crash())
    site.publish(volume("v"))
    with pytest.raises(Crash):
        dying.run()
    site.let_pass(site.limits.waiting_deadline_s + 1)
    # The sweep finds it due, and its source there.
    site.process().run()
    assert set(site.announced()) == {"snapshot:s"}
    dying.die()
    site.process().run()
    assert_all_assigned(site, volume("v"), snapshot("s", "v"))
