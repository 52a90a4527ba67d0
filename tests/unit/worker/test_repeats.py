"""What a worker that waits has to say, without a line for each try."""

import pytest
from structlog.testing import capture_logs

from kmworker.errors import BrokerUnavailable, StoreUnavailable, TransientError
from kmworker.worker.repeats import AGAIN_S, MAX_KNOWN, Repeats
from tests.kit.simulator.clock import SettableClock
from tests.kit.simulator.events import volume
from tests.kit.simulator.installation import Installation, Limits
from tests.kit.simulator.troubles import Troubles


def test_a_state_is_told_at_once_and_then_once_a_minute_with_how_often() -> None:
    clock = SettableClock()
    repeats = Repeats(clock)
    assert [repeats.to_tell("away") for _ in range(3)] == [1, 0, 0]
    clock.advance(AGAIN_S)
    assert [repeats.to_tell("away") for _ in range(2)] == [3, 0]


def test_a_changed_reason_is_told_at_once() -> None:
    repeats = Repeats(SettableClock())
    assert [repeats.to_tell(it) for it in ("a", "b", "a", "c")] == [1, 1, 0, 1]
    repeats.forget()
    assert repeats.to_tell("a") == 1


def test_reasons_that_are_never_the_same_fill_no_memory() -> None:
    repeats = Repeats(SettableClock())
    for number in range(5 * MAX_KNOWN):
        assert repeats.to_tell(number) == 1
        assert len(repeats._known) <= MAX_KNOWN


@pytest.mark.parametrize(
    ("point", "error"),
    [
        ("bus.open", BrokerUnavailable("Login was refused")),
        ("store.admit", StoreUnavailable("cannot reach the store")),
        ("store.look_up", StoreUnavailable("cannot reach the store")),
    ],
)
def test_a_worker_that_waits_logs_why_and_not_each_try(point: str, error: TransientError) -> None:
    site, troubles = Installation(Limits()), Troubles()
    troubles.at(point, error, times=12)
    site.publish(volume("v"))
    process = site.process(troubles=troubles)
    with capture_logs() as logs:
        process.turn(12)
    told = [it for it in logs if it["event"] in {"store admitted", "waiting"}]
    # Its time in the simulator is less than a minute, or little more.
    waiting = [it for it in told if it["event"] == "waiting"]
    assert waiting[0]["detail"] == str(error)
    assert len(waiting) <= 2, waiting
    assert sum(it["event"] == "store admitted" for it in told) <= 1
    assert process.tally.last_error
