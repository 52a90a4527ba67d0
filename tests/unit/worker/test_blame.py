"""Who is to blame for a batch that has failed: one table, and who is tried once more."""

from dataclasses import replace

import pytest

from kmworker.domain.decision import Refuse
from kmworker.domain.plan import Arrival
from kmworker.domain.resolve import Dead, dead_from
from kmworker.errors import (
    BrokerUnavailable,
    PermanentError,
    PublishRefused,
    Reason,
    ScriptFailed,
    SetupError,
    StoreUnavailable,
    UnknownKek,
    Unsendable,
)
from kmworker.worker.blame import MAX_ENDS, Fate, bare, blame
from tests.kit.builders import arrived, event_of, volume

ARRIVAL = arrived(event_of(volume()))
LAST_TRY = replace(ARRIVAL, attempts=3)
BARE = bare(dead_from(ARRIVAL, Refuse(Reason.INTERNAL, "it failed")))
PROPERTIES = {"content_type": "application/json", "user_id": "storage"}
DRESSED = replace(BARE, original=replace(BARE.original, properties=PROPERTIES))

BUG = ValueError("a bug")
BROKEN = PermanentError(Reason.INTEGRITY, "a record is broken")
REFUSED = PublishRefused("it ended the connection")


@pytest.mark.parametrize(
    ("error", "failed", "ends", "fate"),
    [
        pytest.param(BrokerUnavailable("away"), [ARRIVAL], 0, Fate.RAISE, id="no broker"),
        pytest.param(StoreUnavailable("away"), [ARRIVAL], 9, Fate.RAISE, id="no store"),
        pytest.param(UnknownKek("old keyring"), [ARRIVAL], 0, Fate.RAISE, id="unknown KEK"),
        pytest.param(SetupError("other store"), [ARRIVAL], 9, Fate.RAISE, id="setup"),
        pytest.param(BrokerUnavailable("away"), [DRESSED] * 2, 9, Fate.RAISE, id="many, away"),
        pytest.param(REFUSED, [ARRIVAL], 0, Fate.RAISE, id="first end of a connection"),
        pytest.param(REFUSED, [DRESSED], MAX_ENDS - 1, Fate.RAISE, id="an end below the bound"),
        pytest.param(REFUSED, [DRESSED] * 2, MAX_ENDS, Fate.HALVE, id="many, an end again"),
        pytest.param(REFUSED, [ARRIVAL], MAX_ENDS, Fate.TRY_AGAIN, id="event, an end again"),
        pytest.param(
            REFUSED, [DRESSED], MAX_ENDS, Fate.LEAVE_OFF_PROPERTIES, id="letter, an end again"
        ),
        pytest.param(BUG, [ARRIVAL, BARE], 0, Fate.HALVE, id="many, a bug"),
        pytest.param(BROKEN, [ARRIVAL, ARRIVAL], 0, Fate.HALVE, id="many, a broken record"),
        pytest.param(BROKEN, [ARRIVAL], 0, Fate.DEAD_LETTER, id="event, a broken record"),
        pytest.param(BROKEN, [LAST_TRY], 0, Fate.DEAD_LETTER, id="last try, a broken record"),
        pytest.param(BUG, [ARRIVAL], 0, Fate.TRY_AGAIN, id="event, a bug"),
        pytest.param(ScriptFailed("x"), [ARRIVAL], 0, Fate.TRY_AGAIN, id="event, a script"),
        pytest.param(Unsendable("x"), [ARRIVAL], 0, Fate.TRY_AGAIN, id="event, unsendable"),
        pytest.param(BUG, [LAST_TRY], 0, Fate.GIVE_UP, id="last try, a bug"),
        pytest.param(REFUSED, [LAST_TRY], MAX_ENDS, Fate.GIVE_UP, id="last try, an end again"),
        pytest.param(
            Unsendable("x"), [DRESSED], 0, Fate.LEAVE_OFF_PROPERTIES, id="letter, unsendable"
        ),
        pytest.param(BUG, [DRESSED], 0, Fate.LEAVE_OFF_PROPERTIES, id="letter, a bug"),
        pytest.param(BUG, [BARE], 0, Fate.HOLD, id="bare letter, a bug"),
        pytest.param(BROKEN, [BARE], 0, Fate.HOLD, id="bare letter, a broken record"),
    ],
)
def test_who_is_to_blame(
    error: Exception, failed: list[Arrival | Dead], ends: int, fate: Fate
) -> None:
    assert blame(error, failed, max_attempts=3, ends=ends) is fate


def test_a_bare_dead_letter_says_whose_event_it_is_and_nothing_else() -> None:
    stripped = bare(DRESSED)
    assert stripped.original.properties == {"user_id": "storage"}
    assert replace(stripped, original=DRESSED.original) == DRESSED
    assert bare(stripped) == stripped
