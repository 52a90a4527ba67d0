"""Requests that wait for their grants: how many, for how long, and how often they are looked at."""

from types import SimpleNamespace
from typing import Any

import pytest

from kmworker.keyserver.waiting import LOOK_S, MAX_WAITING, MAX_WAITING_OF_ONE, WaitingRequests
from kmworker.wire.answers.messages import Refusal
from tests.kit.simulator.clock import SettableClock

WAIT_S = 25.0


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def waiting(clock: SettableClock) -> WaitingRequests:
    return WaitingRequests(clock.monotonic, WAIT_S)


def asking(clock: SettableClock, number: int) -> Any:
    """Of one client for each hundred."""
    client = SimpleNamespace(name=f"c{number // MAX_WAITING_OF_ONE}")
    return SimpleNamespace(
        client=client, delivery=SimpleNamespace(received_at=clock.monotonic()), number=number
    )


def kept(waiting: WaitingRequests, *later: Any) -> list[tuple[int, Refusal]]:
    return [(it.asking.number, it.reason) for it in waiting.keep(later)]  # type: ignore[attr-defined]


def test_there_is_room_for_so_many_of_all_clients_together(
    clock: SettableClock, waiting: WaitingRequests
) -> None:
    later = [asking(clock, number) for number in range(MAX_WAITING + 2)]
    assert kept(waiting, *later) == [
        (MAX_WAITING, Refusal.TRY_LATER), (MAX_WAITING + 1, Refusal.TRY_LATER),
    ]  # fmt: skip
    assert len(waiting) == MAX_WAITING


def test_those_that_have_waited_long_enough_make_room(
    clock: SettableClock, waiting: WaitingRequests
) -> None:
    later = [asking(clock, number) for number in range(MAX_WAITING)]
    assert kept(waiting, *later) == []
    clock.advance(WAIT_S)
    after = kept(waiting, *waiting.due(is_busy=False), asking(clock, 0))
    assert after == [(number, Refusal.NOT_GRANTED) for number in range(MAX_WAITING)]
    assert len(waiting) == 1


def test_they_are_looked_at_now_and_then_or_when_nothing_else_is_to_do(
    clock: SettableClock, waiting: WaitingRequests
) -> None:
    one = asking(clock, 0)
    assert waiting.due(is_busy=True) == []
    assert kept(waiting, one) == []
    assert waiting.due(is_busy=True) == []
    assert waiting.due(is_busy=False) == [one]
    assert kept(waiting, one) == []
    clock.advance(LOOK_S)
    assert waiting.due(is_busy=True) == [one]
