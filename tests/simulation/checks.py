"""What must be true of an installation: at every moment, and when all is done."""

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Final

from kmworker.model import Item, Kind
from tests.simulation.events import Sent
from tests.simulation.installation import Installation

__all__ = ["assert_all_assigned", "assert_safe", "assert_settled", "watched"]

VISIBLE: Final = frozenset({"bus.publish half", "bus.publish done", "bus.acknowledge done"})


def assert_safe(site: Installation, events: Iterable[Sent]) -> None:
    """Check what no failure at any moment may break.

    What is announced is in the store, always with the same bytes; and an event that was
    acknowledged has left something behind: a record that was announced, a dead letter,
    or an entry of the waiting room.
    """
    announced = site.announced()
    for ref, bodies in announced.items():
        assert len(set(bodies)) == 1, f"{ref} was announced in several ways"
    for body in (bodies[0] for bodies in announced.values()):
        data = json.loads(body)["data"]
        item = Item(data["project_id"], Kind(data["item"]["kind"]), data["item"]["id"])
        record = site.record(item)
        assert record is not None, f"{item.ref} was announced before it was stored"
        assert record["data"] == data
    acknowledged = {entry[1] for entry in site.broker.journal if entry[0] == "acknowledged"}
    buried = {letter.body for letter in site.letters}
    for event in events:
        if event.body.decode() not in acknowledged or event.body in buried:
            continue
        left = event.item.ref in announced or _is_parked(site, event)
        assert left, f"{event.event_id} was acknowledged too early"


def watched(site: Installation, *events: Sent) -> Callable[[str], None]:
    """Return a `Troubles.at_each` that checks whenever the broker has got something."""

    def watch(point: str) -> None:
        if point in VISIBLE:
            assert_safe(site, events)

    return watch


def assert_settled(site: Installation) -> None:
    """Check that nothing is left to do."""
    assert site.broker.is_settled, "some events are unacknowledged"
    assert not site.waiting(), "some events still wait"
    assert int(site.redis.hget(site.names.of("p1", "stats"), "waiting") or 0) == 0
    for short in ("waiting:deadlines", "waiting:sources", "parked", "expired"):
        assert not site.redis.exists(site.names.of("p1", short)), f"{short} is not empty"


def assert_all_assigned(site: Installation, *events: Sent) -> None:
    """Check that all of these are assigned and announced, and that nothing is left to do."""
    assert_safe(site, events)
    assert_settled(site)
    announced = site.announced()
    for event in events:
        assert event.item.ref in announced, f"{event.item.ref} was not announced"
    assert not site.letters


def _is_parked(site: Installation, event: Sent) -> bool:
    name = hashlib.sha256(event.item.ref.encode() + b"\0" + event.body).hexdigest()[:32]
    projects = [project.decode() for project in site.redis.smembers(site.names.top("projects"))]
    return any(site.redis.hexists(site.names.of(project, "parked"), name) for project in projects)
