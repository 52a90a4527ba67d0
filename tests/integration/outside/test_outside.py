"""Whole days of several projects, told to real workers over a real broker."""

from dataclasses import replace
from random import Random

import pytest

from tests.integration.outside.conftest import NewSite
from tests.kit.outside.history import History, Sent, Shape, compose, history
from tests.kit.outside.lineage import Grower
from tests.kit.outside.stage import perform, reproducible, scene, seeds, send, settle
from tests.kit.outside.words import Event, Item
from tests.kit.outside.worker import Worker, started, stop_all, working
from tests.kit.polling import none_of

DEADLINE_S = 8
SMALL = Shape(
    grown=90,
    partitions=4,
    orphans=4,
    denied=2,
    repeats=20,
    seconds=12,
    bad=15,
    conflicts=10,
    later_repeats=10,
    later_seconds=8,
)


def seed_name(seed: int) -> str:
    return f"seed-{seed}"


@pytest.mark.parametrize("seed", seeds(1, 2), ids=seed_name)
def test_a_random_lineage_with_two_workers_leaves_exactly_the_contract(
    new_site: NewSite, seed: int
) -> None:
    site = new_site(deadline_s=DEADLINE_S)
    with (
        reproducible(seed),
        working(site, 2) as workers,
        scene(site, compose(seed)) as played,
    ):
        perform(played)
        played.check_while_working(workers)
        stop_all(workers)
        played.check_after_work(Random(seed))


@pytest.mark.parametrize("seed", seeds(11), ids=seed_name)
def test_a_worker_killed_half_way_changes_nothing_but_the_number_of_repeats(
    new_site: NewSite, seed: int
) -> None:
    site = new_site(deadline_s=DEADLINE_S)
    with (
        reproducible(seed),
        working(site, 2) as workers,
        scene(site, compose(seed, SMALL), exactly=False) as played,
    ):

        def replace_one() -> None:
            workers[0].kill()
            # Nobody waits for its successor: what is half told must not wait that long.
            workers.append(Worker(site))

        perform(played, replace_one)
        played.check_while_working(workers[1:])
        stop_all(workers)
        played.check_after_work(Random(seed))


@pytest.mark.parametrize("seed", seeds(21), ids=seed_name)
def test_what_was_sent_while_nobody_worked_is_not_lost(new_site: NewSite, seed: int) -> None:
    site = new_site(deadline_s=DEADLINE_S)
    with (
        reproducible(seed),
        working(site) as workers,
        scene(site, compose(seed, SMALL).opening) as played,
    ):
        stop_all(workers)
        send(played, played.history.first)
        workers.append(started(site))
        settle(played)
        stop_all(workers)
        played.check_after_work(Random(seed))


def _family(grower: Grower) -> list[Event]:
    volume = grower.item("volume")
    return [
        Event(volume, grower.event_id(), "/race"),
        Event(Item("race", "snapshot", "s"), grower.event_id(), "/race", volume),
        Event(Item("race", "volume", "w"), grower.event_id(), "/race", volume),
        Event(
            Item("race", "replica", "r"),
            grower.event_id(),
            "/race",
            Item("race", "partition", "p"),
            node="n",
        ),
    ]


def _partition(number: int) -> Item:
    return Item("race", "partition", f"policy-0/{number}")


def _member(partition: int, node: int) -> Event:
    replica = Item("race", "replica", f"policy-0/{partition}@obj-{node:02}")
    return Event(replica, f"added {replica.id}", "/ring", _partition(partition), node=f"obj-{node}")


def _races() -> dict[str, History]:
    """What several workers get at one time: they must agree on one truth."""
    # Neighbours in the queue go to different workers, which then look for one partition at once.
    crowd = [_member(partition, node) for partition in range(60) for node in range(4)]
    told = [_member(partition, node) for partition in range(40) for node in range(2)]
    # Each is told again with a partition that nobody knows, again and again.
    liars = [
        replace(event, event_id=f"{event.event_id} {again}", source=_partition(1_000 + at))
        for at, event in enumerate(told)
        for again in range(3)
    ]
    return {
        "one event, over and over": history(_family(Grower(Random(31), ("race",))) * 12),
        "replicas that bring their partition": history(crowd),
        "contradictions": history(told, liars),
    }


RACES = _races()


@pytest.mark.parametrize("told", RACES.values(), ids=RACES)
def test_workers_that_race_agree(new_site: NewSite, told: History) -> None:
    site = new_site()
    with working(site, 3) as workers, scene(site, told) as played:
        perform(played)
        played.check_while_working(workers)
        stop_all(workers)
        played.check_after_work(Random(31))


def test_a_stopping_worker_takes_nothing_with_it(new_site: NewSite) -> None:
    site = new_site()
    grower = Grower(Random(41))
    grower.grow(120)
    with working(site) as workers, scene(site, history(grower.events)) as played:
        # Each worker is stopped in the middle of the work, and another one goes on.
        for part in _parts(played.history.first, 4):
            send(played, part)
            stop_all(workers)
            workers.append(started(site))
        settle(played)
        none_of(played.announcement_problems())
        none_of(played.store_problems())


def _parts(whole: tuple[Sent, ...], count: int) -> list[tuple[Sent, ...]]:
    size = -(-len(whole) // count)
    return [whole[at : at + size] for at in range(0, len(whole), size)]
