"""Two workers at once: whatever one does while the other is anywhere, they agree.

Each race is run once for every boundary that the first worker crosses: there it stands
still, and the second one receives its events and brings them as far as it can.
"""

from dataclasses import dataclass

import pytest

from kmworker.domain.model import Item, Kind
from tests.kit.simulator.checks import assert_safe, assert_settled
from tests.kit.simulator.events import Sent, partition_replica, replica, snapshot, volume
from tests.kit.simulator.installation import Installation, Limits, Process

V = Item("p1", Kind.VOLUME, "v")
W = Item("p1", Kind.VOLUME, "w")
LIMITS = Limits(batch_max=4)


@dataclass(frozen=True, slots=True)
class Race:
    """What each of the two receives, and what must come of it."""

    first: tuple[Sent, ...]
    second: tuple[Sent, ...]
    before: tuple[Sent, ...] = ()
    keys: int = 1
    """How many key-ids there must be in the end."""
    conflicts: int = 0


RACES = {
    "the same event": Race((volume("v"),), (volume("v"),)),
    "another event for the same item": Race((volume("v"),), (volume("v", event_id="other"),)),
    "first replicas of one partition": Race(
        (partition_replica("4711@a", "4711"),), (partition_replica("4711@b", "4711"),)
    ),
    "a snapshot and its volume": Race((snapshot("s", "v"),), (volume("v"),)),
    "a volume and its snapshot": Race((volume("v"),), (snapshot("s", "v"),)),
    "a volume with its snapshot, twice": Race(
        (volume("v"), snapshot("s", "v")), (snapshot("s", "v"), volume("v"))
    ),
    "clones of one volume": Race(
        (volume("c", V),), (volume("d", V), volume("c", V)), before=(volume("v"),), keys=3
    ),
    "one item from two sources": Race(
        (volume("c", V),),
        (volume("c", W, event_id="liar"),),
        before=(volume("v"), volume("w")),
        keys=3,
        conflicts=1,
    ),
    "waiting events taken by both": Race(
        (volume("v"),), (volume("v"),), before=(snapshot("s", "v"), volume("c", V)), keys=2
    ),
    "a source in another project": Race(
        (replica("r", V, project="p2", transport="reencrypt"),), (volume("v"),), keys=2
    ),
}


def play(race: Race, boundary: int) -> Installation | None:
    """Let the second worker have its way when the first is at that boundary, if there is one."""
    site = Installation(LIMITS)
    site.publish(*race.before)
    site.process().run()
    first, second = site.process(), site.process()
    first.turn()
    site.publish(*race.first)
    start = len(first.troubles.reached)

    def reached(_point: str) -> None:
        if len(first.troubles.reached) - start == boundary:
            _interrupt(site, first, second, race.second)

    first.troubles.at_each = reached
    first.turn(5)
    if not second.troubles.reached:
        return None
    site.come_to_rest(first, second)
    assert_safe(site)
    return site


def _interrupt(
    site: Installation, first: Process, second: Process, events: tuple[Sent, ...]
) -> None:
    second.turn()
    # For a moment the first one gets nothing, so that the second one gets its events.
    first.host.hold()
    site.publish(*events)
    second.turn(5)
    first.host.hold(False)


@pytest.mark.parametrize("name", RACES)
def test_whoever_is_faster_there_is_one_answer(name: str) -> None:
    race = RACES[name]
    boundary = 0
    while (site := play(race, boundary + 1)) is not None:
        boundary += 1
        assert_settled(site)
        assert _key_ids(site) == race.keys, f"at boundary {boundary}"
        reasons = list(site.reasons().values())
        assert reasons == ["conflict"] * race.conflicts, f"at boundary {boundary}"
    assert boundary >= 12


def _key_ids(site: Installation) -> int:
    projects = [project.decode() for project in site.redis.smembers(site.names.top("projects"))]
    return sum(int(site.redis.hlen(site.names.of(project, "keys"))) for project in projects)
