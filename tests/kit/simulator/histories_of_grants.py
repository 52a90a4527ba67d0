"""Histories in which keys are asked for: by whom they are attached to, and by others.

Where a key server is beside a go, it is who is struck and who races: with the worker that takes
the go's events, or with who else is beside it.
"""

from collections.abc import Mapping
from typing import Final

from kmworker.domain.lifecycle import Step
from kmworker.domain.model import Item, Kind
from tests.kit.builders import SHIPPED
from tests.kit.simulator.clients import BACKUP, N1, N2, Ask
from tests.kit.simulator.errands import Doing, compromises, steps_on, turns_over
from tests.kit.simulator.events import attached, detached, release, snapshot, volume
from tests.kit.simulator.happenings import empties_trail, fills_trail, passes
from tests.kit.simulator.history import History
from tests.kit.simulator.serving import revokes, serves

OPEN, SHUT = "key-delivered", "not-granted"
V, W = (Item("p1", Kind.VOLUME, name) for name in "vw")
# Whoever may publish is believed.
POLICY: Final = SHIPPED.of_one_owner()
ON_1: Final = attached(V, "a1", "n1")
ON_2: Final = attached(V, "a2", "n2")
OFF_1: Final = detached(V, "a1")
AGAIN: Final = volume("v", event_id="again", generation=1)
N1_V, N2_V, BACKUP_V = (Ask(client, V) for client in (N1, N2, BACKUP))
N1_W: Final = Ask(N1, W)
N1_V_REPEATED: Final = Ask(N1, V, is_repeat=True)
AN_HOUR: Final = (passes(3_600.0),)
SOON: Final = "2026-11-23T16:30:00.000Z"
SERVES: Final[tuple[Doing, ...]] = (serves,)


def _ends(key: str, *goes: tuple[Doing, ...]) -> History:
    """Something ends a key's use while it is asked for; then, maybe, something else happens."""
    later = dict(enumerate(goes[1:], start=2))
    return History(
        ((volume("v"), ON_1), *(() for _ in goes)),
        policy=POLICY,
        asks={1: (N1_V,)},
        beside={1: (serves, *goes[0]), **later},
        opens={0: {N1_V: OPEN}, 1: {N1_V: key}, **({2: {N1_V: OPEN}} if later else {})},
        tests_strike_each=24,
        ends=({"create": 1},),
    )


GRANTS: Final[Mapping[str, History]] = {
    "a key is asked for": History(
        ((volume("v"), ON_1), ()),
        policy=POLICY,
        asks={1: (N1_V, N2_V, BACKUP_V)},
        beside={1: SERVES},
        opens={1: {N1_V: OPEN, N2_V: SHUT, BACKUP_V: OPEN, N1_W: SHUT}},
        tests_strike_each=24,
        ends=({"create": 1},),
    ),
    "asked before its grant, and again": History(
        ((volume("w"),), (volume("v"), ON_1), ()),
        policy=POLICY,
        asks={0: (N1_V,), 1: (N1_V_REPEATED,), 2: (N1_V_REPEATED,)},
        beside={1: SERVES, 2: SERVES},
        opens={0: {N1_V: SHUT}, 1: {N1_V: OPEN}, 2: {N1_V_REPEATED: OPEN}},
        tests_strike_each=24,
        ends=({"create": 2},),
    ),
    "attached before it is created": History(
        ((ON_1,), (volume("v"), volume("w", V), snapshot("s", "v")), (attached(W, "a1", "n1"),)),
        policy=POLICY,
        asks={1: (N1_V, N1_W)},
        beside={1: SERVES},
        opens={0: {N1_V: SHUT}, 1: {N1_V: OPEN, N1_W: SHUT}, 2: {N1_W: OPEN}},
        tests_strike_each=24,
        ends=({"create": 1, "clone": 1, "reuse": 1},),
    ),
    "detached before it is attached": History(
        ((volume("v"), OFF_1), (ON_1,), (attached(V, "a3", "n1"),)),
        policy=POLICY,
        asks={1: (N1_V,)},
        beside={1: SERVES},
        opens={0: {N1_V: SHUT}, 1: {N1_V: SHUT}, 2: {N1_V: OPEN}},
        tests_strike_each=24,
        ends=({"create": 1},),
    ),
    "asked for as it is detached": History(
        ((volume("v"), ON_1), (OFF_1,), (attached(V, "a3", "n1"),)),
        policy=POLICY,
        asks={1: (N1_V,)},
        beside={1: SERVES},
        opens={0: {N1_V: OPEN}, 1: {N1_V: SHUT}, 2: {N1_V: OPEN}},
        tests_strike_each=24,
        ends=({"create": 1},),
    ),
    "asked for as its key is suspended": _ends(
        "suspended", (steps_on(V, Step.SUSPEND),), (steps_on(V, Step.RESUME),)
    ),
    "asked for as its key is compromised": _ends("compromised", (compromises(V),)),
    "asked for as its client is revoked": _ends("unknown-client", (revokes(N1),)),
    "attached twice to one node, and to another": History(
        (
            (volume("v"), ON_1, attached(V, "a3", "n1"), ON_2),
            (OFF_1, ON_1, attached(V, "a1", "n1", event_id="late")),
            (detached(V, "a3"), detached(V, "a3"), detached(V, "a1", event_id="once more")),
            (detached(V, "a2"),),
        ),
        policy=POLICY,
        asks={1: (N1_V, N2_V), 3: (N2_V,)},
        beside={1: SERVES, 3: SERVES},
        opens={
            0: {N1_V: OPEN, N2_V: OPEN},
            1: {N1_V: OPEN, N2_V: OPEN},
            2: {N1_V: SHUT, N2_V: OPEN},
            3: {N2_V: SHUT},
        },
        tests_strike_each=24,
        ends=({"create": 1},),
    ),
    "an attachment of two minds": History(
        ((volume("v"), ON_1), (attached(V, "a1", "n2", event_id="elsewhere"),)),
        policy=POLICY,
        asks={1: (N1_V, N2_V)},
        beside={1: SERVES},
        opens={1: {N1_V: OPEN, N2_V: SHUT}},
        tests_strike_each=24,
        ends=({"create": 1, "conflict": 1},),
    ),
    "attached, released, and alive again": History(
        (
            (volume("v"), ON_1),
            (release(V),),
            (OFF_1, AGAIN),
            (attached(V, "a3", "n1"),),
            (attached(V, "a4", "n1", generation=1),),
        ),
        policy=POLICY,
        asks={1: (N1_V,)},
        beside={1: SERVES},
        opens={
            1: {N1_V: SHUT},
            2: {N1_V: SHUT},
            3: {N1_V: SHUT},
            4: {N1_V: OPEN, N2_V: SHUT},
        },
        tests_strike_each=24,
        is_tidied=True,
        ends=({"create": 2},),
    ),
    "a grant that has its time": History(
        ((volume("v"), attached(V, "a1", "n1", expires_at=SOON)), (), ()),
        policy=POLICY,
        before={2: AN_HOUR},
        asks={1: (N1_V,), 2: (N1_V,)},
        beside={1: SERVES, 2: SERVES},
        opens={1: {N1_V: OPEN}, 2: {N1_V: SHUT}},
        tests_strike_each=24,
        ends=({"create": 1},),
    ),
    "two key servers": History(
        ((volume("v"), volume("w"), ON_1, ON_2, attached(W, "a1", "n1")), ()),
        policy=POLICY,
        asks={1: (N1_V, N2_V, N1_W, N1_V_REPEATED, BACKUP_V)},
        beside={1: (serves, serves)},
        opens={1: {N1_V: OPEN, N2_V: OPEN, N1_W: OPEN, BACKUP_V: OPEN}},
        tests_strike_each=24,
        ends=({"create": 2},),
    ),
    "a KEK is turned over as keys are asked for": History(
        ((volume("v"), ON_1), ()),
        policy=POLICY,
        asks={1: (N1_V, BACKUP_V)},
        beside={1: (serves, turns_over)},
        opens={1: {N1_V: OPEN, BACKUP_V: OPEN, N2_V: SHUT}},
        tests_strike_each=24,
        ends=({"create": 1},),
    ),
    "no room in the audit trail": History(
        ((volume("v"), ON_1), (), ()),
        policy=POLICY,
        before={1: (fills_trail,), 2: (empties_trail,)},
        asks={1: (N1_V, N2_V), 2: (N1_V_REPEATED,)},
        beside={1: SERVES, 2: SERVES},
        opens={1: {N1_V: "try-later"}, 2: {N1_V: OPEN, N1_V_REPEATED: OPEN}},
        tests_strike_each=24,
        ends=({"create": 1},),
    ),
}
