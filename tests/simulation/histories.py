"""Histories that the enumeration goes through: what is published, and in how many goes.

Each is short, because it is played once for every step in it, and has one thing that can
go wrong. Whatever strikes, its items end with the assignments and letters listed here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from kmworker.model import Item, Kind
from tests.simulation.events import Sent, garbage, partition_replica, replica, snapshot, volume
from tests.simulation.installation import Limits
from tests.simulation.steps import Crash

__all__ = ["HISTORIES", "History"]

# Two tries in company, and then an innocent event has as many alone as there are faults.
LIMITS: Final = Limits(batch_max=4, max_attempts=3, waiting_deadline_s=600.0)
NARROW: Final = Limits(batch_max=2, max_attempts=3, waiting_deadline_s=600.0)


@dataclass(frozen=True, slots=True)
class History:
    """What happens to an installation, apart from faults."""

    goes: tuple[tuple[Sent, ...], ...]
    """Each is published when the one before has come to rest."""
    ends: tuple[Mapping[str, int], ...]
    """What it may come to: items by disposition, and refused events by reason."""
    limits: Limits = LIMITS
    poison: Mapping[str, BaseException] = field(default_factory=dict)
    waits_s: float = 0.0
    """Passes before the second go."""
    loses: tuple[Item, ...] = ()
    """Whose records someone deletes before the second go."""


def _volume(name: str) -> Item:
    return Item("p1", Kind.VOLUME, name)


def _chain(length: int) -> tuple[Sent, ...]:
    events = [volume("v0")]
    for number in range(1, length):
        events.append(volume(f"v{number}", events[-1].item))
    return tuple(reversed(events))


CREATE: Final = volume("v")
EARLY: Final = snapshot("s", "v")
POISON: Final = volume("poison")

HISTORIES: Final[Mapping[str, History]] = {
    "create": History(((CREATE,),), ends=({"create": 1},)),
    "a snapshot before its volume": History(
        ((EARLY,), (CREATE,)), ends=({"create": 1, "reuse": 1},)
    ),
    "a chain of five in reverse": History(
        (_chain(5),), limits=NARROW, ends=({"create": 1, "clone": 4},)
    ),
    "duplicates": History(
        ((CREATE, EARLY, CREATE), (EARLY, volume("v", event_id="again"))),
        limits=NARROW,
        ends=({"create": 1, "reuse": 1},),
    ),
    "three batches at once, of two projects": History(
        (
            (
                *(volume("a"), volume("b", project="p2")),
                *(snapshot("s", "a"), volume("a")),
                *(volume("c", Item("p2", Kind.VOLUME, "b"), project="p2"), volume("d")),
            ),
        ),
        limits=NARROW,
        ends=({"create": 3, "reuse": 1, "clone": 1},),
    ),
    "a conflict": History(
        (
            (volume("a"), volume("b")),
            (volume("c", _volume("a"), event_id="one"), volume("c", _volume("b"), event_id="two")),
        ),
        limits=NARROW,
        ends=({"create": 2, "clone": 1, "conflict": 1},),
    ),
    "an event that raises amid good ones": History(
        ((CREATE, POISON, EARLY, volume("w")),),
        poison={"volume:poison": ValueError("poison")},
        limits=NARROW,
        ends=({"create": 2, "reuse": 1, "internal": 1},),
    ),
    "an event that kills amid good ones": History(
        ((CREATE, POISON, EARLY),),
        poison={"volume:poison": Crash()},
        limits=NARROW,
        ends=({"create": 1, "reuse": 1, "internal": 1},),
    ),
    "a waiting event that kills": History(
        ((EARLY, snapshot("poison", "v")), (CREATE,)),
        poison={"snapshot:poison": Crash()},
        ends=({"create": 1, "reuse": 1, "internal": 1},),
    ),
    "partition replicas": History(
        (
            (partition_replica("4711@a", "4711"), partition_replica("4711@b", "4711")),
            (partition_replica("4711@a", "4711"),),
        ),
        limits=NARROW,
        ends=({"create": 1, "reuse": 2},),
    ),
    "a source that is too late": History(
        ((EARLY,), (), (CREATE,)),
        waits_s=700.0,
        ends=({"create": 1, "source-missing": 1},),
    ),
    "a source that comes as its event expires": History(
        ((EARLY,), (CREATE,)),
        waits_s=700.0,
        ends=({"create": 1, "source-missing": 1}, {"create": 1, "reuse": 1}),
    ),
    "a record that someone deleted": History(
        ((CREATE, volume("w")), (CREATE, EARLY)),
        loses=(CREATE.item,),
        ends=({"create": 2, "integrity": 1},),
    ),
    "two projects, and what nobody can read": History(
        ((replica("r", _volume("v"), project="p2"), garbage(), CREATE),),
        limits=NARROW,
        ends=({"create": 2, "malformed": 1},),
    ),
}
