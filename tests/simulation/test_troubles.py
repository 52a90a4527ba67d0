"""Servers that go away: what a worker does then, and what it tells.

That nothing is lost wherever a connection breaks is played in tests/simulation, step by step.
"""

import pytest

from kmworker.errors import StoreUnavailable
from tests.kit.simulator.checks import assert_settled
from tests.kit.simulator.events import garbage, volume
from tests.kit.simulator.installation import Installation
from tests.kit.simulator.troubles import Links, Lost


def test_a_publisher_that_is_lost_alone_keeps_the_deliveries() -> None:
    site = Installation()
    process = site.process()
    process.troubles.at("bus.send result", Lost(Links.PUBLISHER))
    site.publish(volume("v"))
    process.turn(4)
    assert process.bus.generation == 1
    (message,) = site.announcements[1:]
    assert message.body == site.announcements[0].body
    assert_settled(site)


def test_a_consumer_that_is_lost_voids_its_deliveries() -> None:
    site = Installation()
    process = site.process()
    process.troubles.at("bus.send", Lost(Links.CONSUMER))
    site.publish(volume("v"), volume("w"))
    process.turn(2)
    assert sorted(message.delivery_count for message in site.broker.work.ready) == [1, 1]
    process.run()
    assert process.bus.generation == 2
    assert len(site.announcements) == 2
    assert_settled(site)


def test_tags_of_a_lost_channel_are_not_mistaken_for_new_ones() -> None:
    """A publisher that is late to come back must not hide that the consumer has changed."""
    site = Installation()
    process = site.process()
    process.troubles.at("bus.acknowledge", Lost())
    process.troubles.at("publisher.connect", Lost(Links.PUBLISHER), skip=1)
    process.troubles.at("store.commit result", StoreUnavailable("gone"), skip=2)
    site.publish(volume("v"))
    process.turn(2)
    # The broker hands out the newer one first: it now has the tag that the older one had.
    redelivered = site.broker.work.ready.popleft()
    site.publish(volume("w"))
    site.broker.work.ready.append(redelivered)
    process.turn(2)
    process.run()
    assert {ref: len(bodies) for ref, bodies in site.announced().items()} == {
        "volume:v": 2,
        "volume:w": 1,
    }
    assert_settled(site)


def test_what_is_under_way_on_a_lost_channel_settles_nothing_on_the_next() -> None:
    """The report's look at the queues may meet the loss, and it says nothing of it."""
    site = Installation()
    process = site.process()
    site.publish(volume("v"))
    process.turn()
    process.host.cut(Links.CONSUMER)
    process.bus._link.discard()
    process.troubles.at("store.look_up", StoreUnavailable("gone"))
    process.turn(2)
    process.run()
    assert process.troubles.over()
    assert process.bus.generation == 2
    assert_settled(site)


def test_failures_are_answered_with_pauses_that_grow_to_five_seconds() -> None:
    site = Installation()
    longest: list[float] = []

    def at_least(least: float, most: float) -> float:
        longest.append(most)
        return least

    process = site.process()
    process.worker._jitter = at_least
    process.troubles.at("store.admit", StoreUnavailable("gone"), times=8)
    process.turn(10)
    assert longest == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    process.troubles.at("store.lease", StoreUnavailable("gone"))
    site.let_pass(100)
    process.turn()
    assert longest[8:] == [0.2]


def test_heartbeats_go_on_while_the_worker_pauses() -> None:
    site = Installation()
    process = site.process()
    process.turn()
    process.worker._jitter = lambda _least, _most: 4.0
    site.let_pass(100)
    ticks = process.troubles.counts()["bus.tick"]
    process.troubles.at("store.lease", StoreUnavailable("gone"))
    process.turn()
    assert process.troubles.counts()["bus.tick"] - ticks in {4, 5}
    assert site.clock.slept_s == pytest.approx(4.0)


def test_a_dead_letter_that_no_queue_is_bound_for_has_the_names_declared_again() -> None:
    site = Installation()
    process = site.process()
    process.turn()
    site.broker.unbind(site.broker.topology.dead)
    site.publish(garbage(), volume("v"))
    process.turn()
    assert not site.letters
    assert not site.broker.is_settled
    process.run()
    assert [letter.body for letter in site.letters] == [garbage().body]
    assert_settled(site)


def test_last_error_and_failures_are_told_to_dashboards() -> None:
    site = Installation()
    process = site.process()
    process.troubles.at("bus.receive", Lost())
    process.run()
    assert process.tally.last_error == "BrokerUnavailable: lost at bus.receive"
    assert process.tally.totals["failures"] == 1
