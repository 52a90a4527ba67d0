"""What a worker that waits has to say, without a line for each try."""

from kmworker.worker.repeats import AGAIN_S, MAX_KNOWN, Repeats
from tests.kit.simulator.clock import SettableClock


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
