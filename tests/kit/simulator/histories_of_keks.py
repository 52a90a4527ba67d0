"""Histories in which a KEK is turned over while items come, go and wait."""

from collections.abc import Mapping
from typing import Final

from kmworker.domain.model import Item, Kind
from tests.kit.simulator.errands import looks, rewraps, turns_over
from tests.kit.simulator.events import release, snapshot, volume
from tests.kit.simulator.happenings import passes
from tests.kit.simulator.history import History

A_MONTH: Final = (passes(31 * 86_400.0),)
V, W = (Item("p1", Kind.VOLUME, name) for name in "vw")

KEKS: Final[Mapping[str, History]] = {
    "a KEK is turned over as items come": History(
        (
            (volume("v"), snapshot("early", "late")),
            (snapshot("s", "v"), volume("w", V), volume("x", project="p2")),
            (volume("late"),),
        ),
        beside={1: (turns_over,)},
        tests_strike_each=3,
        ends=({"create": 3, "clone": 1, "reuse": 2},),
    ),
    "a KEK is turned over as items go": History(
        ((volume("v"), volume("w", V)), (release(V), release(W)), ()),
        before={2: A_MONTH},
        beside={1: (turns_over,), 2: (looks,)},
        tests_strike_each=3,
        is_tidied=True,
        ends=({"create": 1, "clone": 1},),
    ),
    "a KEK is turned over as a key ends": History(
        ((volume("v"), release(V)), (volume("w"),)),
        before={1: A_MONTH},
        beside={1: (turns_over, looks)},
        tests_strike_each=3,
        is_tidied=True,
        ends=({"create": 2},),
    ),
    "two turn a KEK over at once": History(
        ((volume("v"), snapshot("s", "v")), (volume("w", V),)),
        beside={1: (turns_over, rewraps)},
        tests_strike_each=3,
        ends=({"create": 1, "clone": 1, "reuse": 1},),
    ),
}
