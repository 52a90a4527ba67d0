"""Copies that are kept: until they are over, ended, or in doubt."""

import random
from dataclasses import dataclass, field
from typing import Final

import pytest

from kmworker.client.copies import AGAIN_S, CLOCKS_S, Copies, GivenUp
from kmworker.delegation.buffer import KeyBuffer
from kmworker.delegation.checking import DeliveredKey
from kmworker.domain.keys import Encryption, KeyState
from kmworker.domain.model import Item
from kmworker.wire.answers.bodies import Revoked
from kmworker.wire.answers.messages import Refusal, Revoking
from tests.kit.builders import volume

V: Final = volume("v1")
KEY: Final = b"k" * 64
KEY_ID: Final = "5f0e1c9a-0000-4000-8000-000000000000"
OTHER: Final = "5f0e1c9a-0000-4000-8000-0000000000ff"
LIFE_S: Final = 1_000.0
AT_S: Final = 1_800_000_000.0
"""The key server's time of the delivery."""


@dataclass
class Time:
    """Both clocks, in step."""

    now_s: float = 50.0
    keys: list[KeyBuffer] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def copies(time: Time) -> Copies:
    made = Copies(now=time, draw=random.Random(1).uniform)
    assert made.keep(V, delivered(), AT_S, time())
    return made


def delivered(key_id: str = KEY_ID) -> DeliveredKey:
    encryption = Encryption("aes-xts-plain64", 512)
    return DeliveredKey(KeyBuffer(KEY), key_id, encryption, KeyState.ACTIVE, "", LIFE_S)


def revoked(
    item: Item | None = V, key_id: str = KEY_ID, cause: Revoking = Revoking.DETACHED
) -> Revoked:
    return Revoked(V.project, item, None, key_id, cause)


def is_usable(copies: Copies, *, is_unanswered: bool = False) -> bool:
    kept = copies.usable(V, is_unanswered=is_unanswered)
    assert kept is None or bytes(kept.key.view) == KEY
    return kept is not None


def test_whoever_gets_a_copy_wipes_his_own(copies: Copies) -> None:
    kept = copies.usable(V)
    assert kept is not None
    kept.key.wipe()
    assert is_usable(copies)


def test_a_copy_is_over_with_its_time_counted_from_when_it_was_asked_for(time: Time) -> None:
    copies = Copies(now=time)
    # The answer was held back for nearly all of it.
    since, time.now_s = time.now_s, time.now_s + LIFE_S - 10
    copies.keep(V, delivered(), AT_S, since)
    time.now_s += 9
    assert is_usable(copies)
    time.now_s += 1
    assert not is_usable(copies)
    assert not is_usable(copies, is_unanswered=True)
    assert copies.give_up_old() == [GivenUp(V, KEY_ID, Revoking.EXPIRED)]
    assert len(copies) == 0


def test_grace_is_for_when_nobody_answers(time: Time) -> None:
    copies = Copies(60.0, now=time)
    copies.keep(V, delivered(), AT_S, time())
    time.now_s += LIFE_S + 59
    assert not is_usable(copies)
    assert is_usable(copies, is_unanswered=True)
    assert copies.give_up_old() == []
    time.now_s += 1
    assert not is_usable(copies, is_unanswered=True)
    assert [it.cause for it in copies.give_up_old()] == [Revoking.EXPIRED]


def test_it_is_asked_for_anew_from_half_of_its_time_on(copies: Copies, time: Time) -> None:
    time.now_s += 0.5 * LIFE_S - 1
    assert copies.to_ask() == []
    time.now_s += 0.25 * LIFE_S + 1
    assert copies.to_ask() == [(V, KEY_ID)]
    copies.ask_later(V)
    assert copies.to_ask() == []
    time.now_s += AGAIN_S
    assert copies.to_ask() == [(V, KEY_ID)]
    assert is_usable(copies)


def test_those_that_began_together_are_not_asked_for_together(time: Time) -> None:
    copies = Copies(now=time, draw=random.Random(2).uniform)
    for number in range(100):
        copies.keep(volume(f"v{number}"), delivered(), AT_S, time())
    time.now_s += 0.625 * LIFE_S
    assert 25 < len(copies.to_ask()) < 75


def test_what_has_ended_is_wiped(copies: Copies) -> None:
    buffer = copies._copies[V].delivered.key
    assert copies.end(revoked(), AT_S) == GivenUp(V, KEY_ID, Revoking.DETACHED)
    assert buffer.is_wiped
    assert not is_usable(copies, is_unanswered=True)


@pytest.mark.parametrize(
    "other",
    [revoked(volume("v2")), revoked(key_id=OTHER), revoked(None)],
    ids=["item", "key-id", "by-key-id"],
)
def test_what_is_about_another_copy_ends_nothing(copies: Copies, other: Revoked) -> None:
    assert copies.end(other, AT_S + 1) is None
    assert is_usable(copies)


def test_an_old_end_does_not_wipe_what_was_delivered_later(copies: Copies) -> None:
    assert copies.end(revoked(), AT_S - 301) is None
    assert is_usable(copies)
    assert copies.to_ask() == []


def test_one_of_just_before_is_asked_about_and_not_believed(copies: Copies, time: Time) -> None:
    assert copies.end(revoked(), AT_S - 1) is None
    # Until somebody has said that it may be kept: not where nobody answers, nor for what else is
    # in doubt.
    assert not is_usable(copies)
    assert not is_usable(copies, is_unanswered=True)
    copies.doubt_all()
    assert not is_usable(copies, is_unanswered=True)
    assert copies.to_ask() == [(V, KEY_ID)]
    copies.keep(V, delivered(), AT_S + 10, time())
    assert is_usable(copies)
    assert copies.to_ask() == []


@pytest.mark.parametrize("later_s", [0.0, 1.0])
def test_what_ended_while_it_was_on_its_way_is_not_kept(time: Time, later_s: float) -> None:
    copies = Copies(now=time)
    assert copies.end(revoked(), AT_S + later_s) is None
    assert not copies.keep(V, delivered(), AT_S, time())
    assert not is_usable(copies, is_unanswered=True)
    assert copies.keep(V, delivered(), AT_S + later_s + CLOCKS_S, time())
    assert is_usable(copies)


def test_what_was_delivered_just_after_an_end_is_asked_for_once_more(time: Time) -> None:
    copies = Copies(now=time)
    assert copies.end(revoked(), AT_S - 1) is None
    assert copies.keep(V, delivered(), AT_S, time())
    assert not is_usable(copies, is_unanswered=True)
    time.now_s += 2 * CLOCKS_S
    assert copies.to_ask() == [(V, KEY_ID)]


def test_on_a_new_connection_all_are_asked_for_before_they_are_used(copies: Copies) -> None:
    copies.doubt_all()
    assert not is_usable(copies)
    assert is_usable(copies, is_unanswered=True)
    assert copies.to_ask() == [(V, KEY_ID)]


def test_a_refusal_gives_it_up_and_clearing_wipes_it(copies: Copies, time: Time) -> None:
    assert copies.give_up(V, Refusal.SUSPENDED) == GivenUp(V, KEY_ID, Refusal.SUSPENDED)
    assert copies.give_up(V, Refusal.SUSPENDED) is None
    copies.keep(V, delivered(), AT_S, time())
    buffer = copies._copies[V].delivered.key
    copies.clear()
    assert buffer.is_wiped
    assert len(copies) == 0


def test_what_takes_its_place_wipes_the_one_before(copies: Copies, time: Time) -> None:
    before = copies._copies[V].delivered.key
    copies.keep(V, delivered(), AT_S + 1, time())
    assert before.is_wiped
    assert is_usable(copies)
