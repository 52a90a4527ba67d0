"""Histories in which items go, names live again, and keys come to their end.

What is done beside the workers, by janitors and operators, is in `errands.py`. Where that races
with an event, either may be first: then there are several ends that a history may come to.
"""

from collections.abc import Mapping
from typing import Final

from kmworker.domain.lifecycle import Step
from kmworker.domain.model import Item, Kind
from tests.kit.simulator.errands import compromises, destroys_now, looks, steps_on
from tests.kit.simulator.events import Sent, partition_replica, release, replica, snapshot, volume
from tests.kit.simulator.happenings import miscounts, passes
from tests.kit.simulator.history import LIMITS, NARROW, ROOMY, History

DAY_S: Final = 86_400.0
A_MONTH: Final = (passes(31 * DAY_S),)
V, W, X = (Item("p1", Kind.VOLUME, name) for name in "vwx")
S, T = (Item("p1", Kind.SNAPSHOT, name) for name in "st")
IMAGE: Final = Item("p1", Kind.REPLICA, "image")
AGAIN: Final = volume("v", event_id="again", generation=1)
UNUSABLE: Final = {"create": 1, "source-unusable": 1}


def _chain(length: int) -> tuple[Sent, ...]:
    events = [volume("v0")]
    for number in range(1, length):
        events.append(volume(f"v{number}", events[-1].item))
    return tuple(events)


def _replica(name: str) -> Item:
    return Item("p1", Kind.REPLICA, name)


TEN_DEEP: Final = _chain(11)

LIVES: Final[Mapping[str, History]] = {
    "the last release, and the end of its key": History(
        ((volume("v"), snapshot("s", "v")), (release(V), release(S)), (), ()),
        before={2: A_MONTH, 3: A_MONTH},
        beside={2: (looks,), 3: (looks,)},
        is_tidied=True,
        ends=({"create": 1, "reuse": 1},),
    ),
    "a clone as its source's key falls due": History(
        ((volume("v"), release(V)), (volume("w", V),)),
        before={1: A_MONTH},
        beside={1: (looks,)},
        is_tidied=True,
        ends=({"create": 1, "clone": 1}, UNUSABLE),
    ),
    "a reuse as its source's key falls due": History(
        ((volume("v"), release(V)), (snapshot("s", "v"),)),
        before={1: A_MONTH},
        beside={1: (looks,)},
        tests_strike_each=2,
        is_tidied=True,
        ends=({"create": 1, "reuse": 1}, UNUSABLE),
    ),
    "the last of two key-ids as a third is made": History(
        ((volume("v"), volume("w", V), release(V), release(W)), (volume("x", W),)),
        before={1: A_MONTH},
        beside={1: (looks,)},
        tests_strike_each=2,
        is_tidied=True,
        ends=({"create": 1, "clone": 2}, {"create": 1, "clone": 1, "source-unusable": 1}),
    ),
    "released and joined in a hurry": History(
        ((volume("v"), release(V), snapshot("s", "v"), release(S), snapshot("t", "v")),),
        limits=NARROW,
        is_tidied=True,
        ends=({"create": 1, "reuse": 2},),
    ),
    "clones ten deep whose origin goes first": History(
        (TEN_DEEP, (release(TEN_DEEP[0].item), release(TEN_DEEP[5].item)), ()),
        limits=ROOMY,
        before={2: A_MONTH},
        beside={2: (looks,)},
        tests_strike_each=3,
        is_tidied=True,
        ends=({"create": 1, "clone": 10},),
    ),
    "two janitors": History(
        ((volume("v"), volume("w", V), volume("x")), (release(V), release(W), release(X)), (), ()),
        before={2: A_MONTH, 3: A_MONTH},
        beside={2: (looks, looks), 3: (looks, looks)},
        tests_strike_each=3,
        is_tidied=True,
        ends=({"create": 2, "clone": 1},),
    ),
    "a name that lives again as its old key ends": History(
        ((volume("v"), release(V)), (AGAIN, snapshot("t", "v", source_generation=1))),
        before={1: A_MONTH},
        beside={1: (looks,)},
        is_tidied=True,
        ends=({"create": 2, "reuse": 1},),
    ),
    "a life that nobody ended, and late news of it": History(
        (
            (volume("v"), snapshot("s", "v")),
            (AGAIN, snapshot("t", "v", source_generation=1)),
            (volume("v"), release(V), snapshot("late", "v"), release(V, 1)),
        ),
        limits=NARROW,
        tests_strike_each=3,
        is_tidied=True,
        ends=({"create": 2, "reuse": 2, "source-unusable": 1},),
    ),
    "a release, and the next life on its heels": History(
        ((volume("v"), snapshot("s", "v")), (release(V), AGAIN)),
        is_tidied=True,
        ends=({"create": 2, "reuse": 1},),
    ),
    "early ends, and their forgetting": History(
        ((release(V), release(W)), (volume("w"),), ()),
        before={2: A_MONTH},
        beside={2: (looks,)},
        tests_strike_each=2,
        is_tidied=True,
        ends=({"create": 1},),
    ),
    "siblings of one image": History(
        (
            (
                volume("v"), replica("image", V, transport="file", disposition="clone"),
                volume("w", IMAGE), volume("x", IMAGE),
            ),
            (release(V), release(W)),
            (volume("y", IMAGE), release(IMAGE)),
        ),
        limits=ROOMY,
        before={2: A_MONTH},
        beside={2: (looks,)},
        tests_strike_each=3,
        is_tidied=True,
        ends=({"create": 1, "clone": 4},),
    ),
    "a partition whose replicas leave and come back": History(
        (
            (partition_replica("4711@a", "4711"), partition_replica("4711@b", "4711")),
            (release(_replica("4711@a")), release(_replica("4711@b"))),
            (partition_replica("4711@a", "4711", event_id="back", generation=2),),
        ),
        before={2: A_MONTH},
        beside={2: (looks,)},
        tests_strike_each=3,
        is_tidied=True,
        ends=({"create": 1, "reuse": 3},),
    ),
    "a key that is suspended as its last holder goes": History(
        ((volume("v"),), (release(V),), (), (), ()),
        before={2: A_MONTH},
        beside={
            1: (steps_on(V, Step.SUSPEND),),
            2: (looks,),
            3: (steps_on(V, Step.RESUME),),
            4: (steps_on(V, Step.ORDER, after_s=5 * DAY_S),),
        },
        tests_strike_each=3,
        is_tidied=True,
        ends=({"create": 1},),
    ),
    "a key that is restored as an item joins it": History(
        ((volume("v"), release(V)), (snapshot("s", "v"),), (release(S),), (), ()),
        before={3: A_MONTH, 4: A_MONTH},
        beside={
            1: (steps_on(V, Step.RESTORE, keep_s=40 * DAY_S),), 3: (looks,), 4: (looks,),
        },
        tests_strike_each=3,
        is_tidied=True,
        ends=({"create": 1, "reuse": 1},),
    ),
    "a key that is compromised as it is copied": History(
        ((volume("v"), volume("x", V)), (volume("w", V), snapshot("s", "v")), (release(V),)),
        beside={1: (compromises(V),)},
        tests_strike_each=3,
        is_tidied=True,
        ends=(
            {"create": 1, "clone": 2, "reuse": 1}, {"create": 2, "clone": 1, "reuse": 1},
        ),
    ),
    "a key that is destroyed at once as an item joins it": History(
        ((volume("v"), release(V)), (snapshot("s", "v"),)),
        beside={1: (destroys_now(V),)},
        tests_strike_each=3,
        is_tidied=True,
        ends=({"create": 1, "reuse": 1}, UNUSABLE),
    ),
    "a suspended key that is destroyed as an item joins it": History(
        ((volume("v"),), (release(V),), (snapshot("s", "v"),)),
        beside={1: (steps_on(V, Step.SUSPEND),), 2: (destroys_now(V),)},
        tests_strike_each=3,
        is_tidied=True,
        ends=({"create": 1, "reuse": 1}, UNUSABLE),
    ),
    "a counter of holders that lies": History(
        ((volume("v"), snapshot("s", "v")), (release(V),), (), (release(S),)),
        before={1: (miscounts(V, -1),), 2: A_MONTH},
        beside={2: (looks,)},
        tests_strike_each=2,
        is_tidied=True,
        ends=({"create": 1, "reuse": 1},),
    ),
    "copies that come when the key is gone": History(
        ((volume("v"), release(V)), (), (snapshot("s", "v"), volume("w", V))),
        limits=LIMITS,
        before={1: A_MONTH},
        beside={1: (looks,)},
        tests_strike_each=3,
        is_tidied=True,
        ends=({"create": 1, "source-unusable": 2},),
    ),
}  # fmt: skip
