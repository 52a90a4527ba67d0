"""Histories that the enumeration goes through: what is published, and in how many goes.

Each is short, because it is played once for every step in it, and has one thing that can
go wrong. Whatever strikes, its items end with the assignments and letters listed here.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from kmworker.domain.model import Item, Kind
from kmworker.domain.policy_file import load_policy
from kmworker.wire.events.definition import CREATING_TYPES, EVENT_TYPES
from tests.kit.simulator.events import Sent, garbage, partition_replica, replica, snapshot, volume
from tests.kit.simulator.happenings import (
    hands_over,
    loses_project,
    loses_records,
    passes,
    receives_record,
)
from tests.kit.simulator.histories_of_grants import GRANTS
from tests.kit.simulator.histories_of_keks import KEKS
from tests.kit.simulator.histories_of_lives import LIVES
from tests.kit.simulator.history import FULL, NARROW, ROOMY, History
from tests.kit.simulator.installation import SHIPPED_POLICY
from tests.kit.simulator.steps import Crash
from tests.kit.simulator.wire import Publish


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
ODD: Final = garbage("odd")
# Whoever misses one of these has lost more than two crashes can keep from being counted.
OF_P2: Final = tuple(volume(name, project="p2") for name in ("b", "c", "d"))
CINDER: Final = load_policy(
    SHIPPED_POLICY.read_text("utf-8")
    + """
[[producer]]
user = "cinder"
projects = "p1"
types = ["volume-created", "snapshot-taken"]
""",
    "policy.toml",
    EVENT_TYPES,
    CREATING_TYPES,
)


def _is_odd_letter(frame: Publish) -> bool:
    """Return whether it is a certain dead letter, with what stood beside its event."""
    return frame.body == ODD.body and "content_type" in frame.properties


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
    "another encryption, and another node": History(
        (
            (volume("a"), replica("r", _volume("a"))),
            (
                volume("a", event_id="two", encryption=None),
                replica("r", _volume("a"), event_id="two", node="obj-12"),
            ),
        ),
        limits=NARROW,
        ends=({"create": 1, "reuse": 1, "conflict": 2},),
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
        before={1: (passes(700.0),)},
        ends=({"create": 1, "source-missing": 1},),
    ),
    "a source that comes as its event expires": History(
        ((EARLY,), (CREATE,)),
        before={1: (passes(700.0),)},
        ends=({"create": 1, "source-missing": 1}, {"create": 1, "reuse": 1}),
    ),
    "a record that someone deleted": History(
        ((CREATE, volume("w")), (CREATE, EARLY)),
        before={1: (loses_records(CREATE.item),)},
        ends=({"create": 2, "integrity": 1},),
    ),
    "a full waiting room": History(
        (
            (snapshot("s1", "v1"), snapshot("s2", "v2"), snapshot("s3", "v3"), volume("w")),
            (volume("v1"), volume("v2"), volume("v3")),
        ),
        limits=FULL,
        ends=({"create": 4, "reuse": 2, "no-room": 1},),
    ),
    "a flood that waits for another project's volumes": History(
        (
            (
                *(
                    replica(f"r{n}", _volume(f"v{n}"), project="p2", transport="reencrypt")
                    for n in range(3)
                ),
                *(snapshot("s0", "v0"), snapshot("s1", "v1")),
            ),
            (volume("v0"), volume("v1"), volume("v2")),
        ),
        limits=FULL,
        ends=({"create": 4, "reuse": 2, "no-room": 2},),
    ),
    "no room for dead letters": History(
        ((garbage("bad"), CREATE, garbage("worse")), (volume("w"), EARLY)),
        # Each twice, in a race.
        limits=ROOMY,
        is_dead_full=True,
        ends=({"create": 2, "reuse": 1, "malformed": 2},),
    ),
    "workers whose clocks are hours apart": History(
        ((EARLY,), (), (CREATE,)),
        clocks_ahead_s=(0.0, 7200.0, -7200.0),
        before={1: (hands_over,)},
        tests_strike_each=3,
        ends=({"create": 1, "reuse": 1},),
    ),
    "a record of another installation": History(
        ((volume("w"),), (CREATE, EARLY)),
        before={1: (receives_record(CREATE),)},
        tests_strike_each=3,
        ends=({"create": 1, "integrity": 2},),
    ),
    "a project whose records are gone": History(
        (*((event,) for event in OF_P2), OF_P2),
        before={3: (loses_project("p2"),)},
        tests_strike_each=3,
        ends=(),
    ),
    "events that kill, where what came back often is thrown away": History(
        ((POISON, volume("poison2"), volume("poison3"), CREATE, volume("w")),),
        poison={f"volume:{name}": Crash() for name in ("poison", "poison2", "poison3")},
        limits=ROOMY,
        # Each comes back five times of its own; an outage lets its tries begin anew.
        delivery_limit=10,
        tests_strike_each=5,
        ends=({"create": 2, "internal": 3},),
    ),
    "a letter that ends the connection": History(
        ((ODD, CREATE),),
        limits=ROOMY,
        abhors=_is_odd_letter,
        tests_strike_each=3,
        ends=({"create": 1, "malformed": 1},),
    ),
    "producers that may not say everything": History(
        (
            (
                *(EARLY.by("cinder"), replace(snapshot("x", "none"), is_beyond_user=True)),
                snapshot("y", "none").by("nova", is_beyond=True),
                volume("z", project="p2").by("cinder", is_beyond=True),
            ),
            (CREATE.by("cinder"),),
        ),
        policy=CINDER,
        tests_strike_each=3,
        ends=({"create": 1, "reuse": 1, "not-allowed": 3},),
    ),
    "two projects, and what nobody can read": History(
        ((replica("r", _volume("v"), project="p2", transport="reencrypt"), garbage(), CREATE),),
        limits=NARROW,
        ends=({"create": 2, "malformed": 1},),
    ),
    **LIVES,
    **KEKS,
    **GRANTS,
}
