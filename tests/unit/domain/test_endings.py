"""A chain of endings: each entry follows the one before, and an older record is over for ever."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kmworker.domain.endings import (
    NOTHING_ENDED,
    Chain,
    ChainEnd,
    EndingEntry,
    is_end,
    newly_over,
)
from kmworker.domain.grants import NO_GRANTS, Grants, GrantsSeen, granted
from kmworker.domain.keys import KeyRecord, KeyState
from tests.kit.builders import NOW, attach, detach

FIRST = EndingEntry(1, "", {"grants volume:v1": 5})
KEY = KeyRecord("k1", "s1", "d1", KeyState.ACTIVE, None, NOW)


def after(*events: object, before: Grants = NO_GRANTS, now: str = NOW) -> Grants:
    for event in events:
        found = granted(before, event, now, 30.0)  # type: ignore[arg-type]
        assert isinstance(found, Grants)
        before = found
    return before


def test_what_follows_is_taken_up() -> None:
    chain = Chain()
    assert chain.takes(FIRST, "d1")
    assert chain.takes(EndingEntry(2, "d1", {"keys k1": 2}), "d2")
    assert chain.end == ChainEnd(2, "d2")
    assert chain.is_over("grants volume:v1", 4)
    assert not chain.is_over("grants volume:v1", 5)
    assert not chain.is_over("grants volume:v2", 0)


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(FIRST, id="once-more"),
        pytest.param(EndingEntry(3, "d1", {}), id="one-is-left-out"),
        pytest.param(EndingEntry(2, "d0", {}), id="of-another-chain"),
        pytest.param(EndingEntry(2, "", {}), id="the-first-of-another"),
    ],
)
def test_what_does_not_follow_is_not(entry: EndingEntry) -> None:
    chain = Chain()
    assert chain.takes(FIRST, "d1")
    assert not chain.takes(entry, "d2")
    assert chain.end == ChainEnd(1, "d1")


def test_of_two_endings_of_one_thing_the_newer_holds() -> None:
    chain = Chain()
    chain.takes(FIRST, "d1")
    chain.takes(EndingEntry(2, "d1", {"grants volume:v1": 3}), "d2")
    assert chain.is_over("grants volume:v1", 4)


def test_a_chain_begins_with_nothing() -> None:
    assert Chain().end == NOTHING_ENDED


def test_a_detachment_ends_and_an_attachment_does_not() -> None:
    attached = after(attach())
    assert not newly_over(None, attached)
    assert newly_over(None, after(attach(), detach()))
    assert newly_over(None, after(detach("early")))
    seen = GrantsSeen(after(detach("early")), b"")
    assert not newly_over(seen, after(attach(), before=seen.grants))


def test_a_new_record_of_grants_is_newer_than_all_that_were_forgotten() -> None:
    former = after(attach(), detach())
    later = datetime.fromisoformat(NOW).replace(tzinfo=UTC).timestamp() + 60
    reborn = after(attach(), now=datetime.fromtimestamp(later, UTC).isoformat())
    assert reborn.version > former.version


@pytest.mark.parametrize(
    ("before", "after_", "ends"),
    [
        (KeyState.ACTIVE, KeyState.SUSPENDED, True),
        (KeyState.DEACTIVATED, KeyState.DESTROYED, True),
        (KeyState.SUSPENDED, KeyState.ACTIVE, False),
        (KeyState.ACTIVE, KeyState.DEACTIVATED, False),
        (KeyState.SUSPENDED, KeyState.SUSPENDED, False),
    ],
)
def test_a_key_id_ends_when_it_is_withheld(before: KeyState, after_: KeyState, ends: bool) -> None:
    assert is_end(replace(KEY, state=before), replace(KEY, state=after_)) is ends


def test_what_is_compromised_ends_whatever_it_was() -> None:
    suspended = replace(KEY, state=KeyState.SUSPENDED)
    assert is_end(KEY, replace(KEY, is_compromised=True))
    assert is_end(suspended, replace(suspended, is_compromised=True))
