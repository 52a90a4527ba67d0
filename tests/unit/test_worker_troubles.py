"""Servers that go away: at whatever boundary, nothing is lost and nothing contradicted.

Each test is a history that must end as if nothing had happened, played once for every
place at which a connection can break, before the call has its effect or after it.
"""

from collections.abc import Mapping
from functools import cache

import pytest

from kmworker.errors import StoreUnavailable
from kmworker.model import Item, Kind
from tests.simulation.checks import assert_safe, assert_settled
from tests.simulation.events import garbage, partition_replica, snapshot, volume
from tests.simulation.installation import Installation, Limits
from tests.simulation.troubles import Links, Lost, Troubles

S = Item("p1", Kind.SNAPSHOT, "s")

# Two batches, a waiting event, a founder, a repeat, a conflict and a dead letter.
FIRST = (
    volume("clone", S),
    volume("v"),
    garbage("first"),
    partition_replica("4711@obj-07", "4711"),
)
SECOND = (
    snapshot("s", "v"),
    volume("v"),
    volume("v", S, event_id="liar"),
    garbage("second"),
)
EVENTS = FIRST + SECOND


def play(troubles: Troubles, max_attempts: int = 1) -> Installation:
    site = Installation(Limits(batch_max=4, max_attempts=max_attempts))
    process = site.process(troubles=troubles)
    site.publish(*FIRST)
    process.turn()
    site.publish(*SECOND)
    process.run()
    return site


@cache
def crossed() -> Mapping[str, int]:
    """How often the undisturbed history crosses each boundary."""
    troubles = Troubles()
    play(troubles)
    return troubles.counts()


def boundaries(port: str) -> list[tuple[str, int]]:
    """Every boundary of a port, with its number among its like."""
    return [
        (point, number)
        for point, times in crossed().items()
        if point.startswith(port)
        for number in range(times)
    ]


def attempts_needed(point: str) -> int:
    # Tries that were counted, and whose entries never arrived, look like a crash.
    return 2 if point in {"store.take done", "store.sweep done"} else 1


def assert_told(site: Installation) -> None:
    assert_safe(site)
    assert_settled(site)
    # One attempt is allowed, so whatever was blamed on an event would be `internal`.
    assert site.reasons() == {"": "malformed", "liar": "conflict"}
    assert {letter.body for letter in site.letters} == {b"first", b"second", SECOND[2].body}
    items = ("volume:v", "snapshot:s", "volume:clone", "partition:4711", "replica:4711@obj-07")
    assert set(site.announced()) == set(items)


@pytest.mark.parametrize(("point", "number"), boundaries("store."))
def test_a_store_that_goes_away_for_a_moment_costs_nothing(point: str, number: int) -> None:
    troubles = Troubles()
    troubles.at(point, StoreUnavailable("gone"), skip=number)
    site = play(troubles, attempts_needed(point))
    assert troubles.over()
    assert_told(site)


def play_with_broker(troubles: Troubles, point: str) -> Installation:
    site = play(troubles)
    if point == "bus.acknowledge done":
        # Acknowledged, while the worker does not know it: nobody comes back but the sweep.
        site.let_pass(site.limits.sweep_s)
        site.process().run()
    return site


@pytest.mark.parametrize("links", list(Links), ids=["consumer", "publisher"])
@pytest.mark.parametrize(("point", "number"), boundaries("bus."))
def test_a_connection_that_breaks_costs_nothing(point: str, number: int, links: Links) -> None:
    troubles = Troubles()
    troubles.at(point, Lost(links), skip=number)
    site = play_with_broker(troubles, point)
    assert troubles.over()
    assert_told(site)


@pytest.mark.parametrize(("point", "number"), boundaries("bus."))
def test_a_broker_that_goes_away_for_a_while_costs_nothing(point: str, number: int) -> None:
    troubles = Troubles()
    troubles.at(point, Lost(), skip=number)
    # It takes a few attempts to connect, and the second half of it is late.
    troubles.at("bus.open", Lost(), skip=1, times=3)
    troubles.at("bus.open publisher", Lost(Links.PUBLISHER), skip=1, times=2)
    assert_told(play_with_broker(troubles, point))


@pytest.mark.parametrize(("point", "number"), boundaries("store."))
def test_a_store_that_stays_away_for_a_while_costs_nothing(point: str, number: int) -> None:
    troubles = Troubles()
    troubles.at(point, StoreUnavailable("gone"), skip=number)
    troubles.at("store.admit", StoreUnavailable("still gone"), skip=1, times=3)
    troubles.at("store.release", StoreUnavailable("gone"))
    assert_told(play(troubles, attempts_needed(point)))


def test_a_publisher_that_is_lost_alone_keeps_the_deliveries() -> None:
    site = Installation()
    process = site.process()
    process.troubles.at("bus.send done", Lost(Links.PUBLISHER))
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
    process.troubles.at("bus.open publisher", Lost(Links.PUBLISHER), skip=1)
    process.troubles.at("store.commit", StoreUnavailable("gone"), skip=2)
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
    process.bus._real._link.discard()
    process.troubles.at("store.ask", StoreUnavailable("gone"))
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
    process.troubles.at("store.projects", StoreUnavailable("gone"))
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
    process.troubles.at("store.projects", StoreUnavailable("gone"))
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
