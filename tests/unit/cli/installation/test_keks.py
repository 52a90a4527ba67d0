"""What is told of KEKs: what a person has to do, and nothing of what is as it should be."""

import pytest

from kmworker.cli.installation.keks import (
    MANY_WRAPS,
    janitor_trouble,
    keks_in_words,
    not_taken_up,
    problems_of,
)
from kmworker.clock import rfc3339
from kmworker.domain.keks import KekEntry, KekState, KekStates
from kmworker.store.spread import UNKNOWN
from kmworker.store.views.janitor import JanitorSeen
from kmworker.store.views.keks import KekSeen, counted_fields, keks_in

NOW_S = 1_795_449_600.0
DAY_S = 86_400.0


def states(**keks: KekState) -> KekStates:
    entries = {it: KekEntry(state, rfc3339(NOW_S - 10 * DAY_S)) for it, state in keks.items()}
    return KekStates(1, 1, {"act": KekEntry(KekState.ACTIVE, rfc3339(NOW_S - DAY_S)), **entries})


def problems(
    those: KekStates, *, max_age_days: float = 400.0, kek_ids: str = "act", **totals: int
) -> list[tuple[str, str]]:
    """What is told where so much was counted, as in ``records__old=1``."""
    said = {name.replace("__", ":"): str(number) for name, number in totals.items()}
    seen = keks_in(those.keks, said)
    return list(problems_of(those, seen, kek_ids.split(), now=NOW_S, max_age_days=max_age_days))


def test_nothing_is_told_where_all_is_under_a_young_kek() -> None:
    old = states(old=KekState.KNOWN, over=KekState.RETIRED, gone=KekState.REMOVED)
    assert problems(old, records__act=9, deks__act=3, wraps__act=MANY_WRAPS - 1) == []


@pytest.mark.parametrize(("max_age_days", "is_told"), [(1.0, False), (0.99, True)])
def test_an_active_kek_that_is_too_old_is_told(max_age_days: float, *, is_told: bool) -> None:
    found = problems(states(), max_age_days=max_age_days)
    assert bool(found) == is_told
    for said, hint in found:
        assert said == "KEK act is active for 1 d, of 1 (keyring.max_age_days)"
        assert "Turning a KEK over" in hint


@pytest.mark.parametrize("state", [KekState.KNOWN, KekState.COMPROMISED])
def test_what_is_not_rewrapped_is_told_with_the_kek_and_since_when(state: KekState) -> None:
    ((said, hint),) = problems(states(old=state), records__old=1200, deks__old=1, projects__old=2)
    assert said == (
        "1,200 records and 1 DEK in 2 projects under KEK old, not rewrapped since another is"
        f" active ({rfc3339(NOW_S - DAY_S)})"
    )
    assert hint == "kmworker rewrap"


@pytest.mark.parametrize("state", [KekState.RETIRED, KekState.REMOVED])
def test_what_is_under_a_kek_that_is_over_is_told_as_what_verify_names(state: KekState) -> None:
    ((said, hint),) = problems(states(old=state), records__old=1, projects__old=1)
    assert said == f"1 record and 0 DEKs in 1 project under the {state} KEK old"
    assert hint == "kmworker verify names them"


def test_what_is_under_keks_that_the_store_does_not_know_is_told() -> None:
    ((said, hint),) = problems(states(), deks__unknown=1, projects__unknown=1)
    assert said == "0 records and 1 DEK in 1 project under KEKs that the store does not know"
    assert hint == "kmworker verify names them"


def test_wraps_are_told_long_before_there_are_too_many() -> None:
    ((said, hint),) = problems(states(), wraps__act=MANY_WRAPS)
    assert said == "a project may have 2,147,483,648 wraps under KEK act, and 2^32 are good"
    assert "Turning a KEK over" in hint
    # Nothing is wrapped under it any more; but it may be made active again.
    assert len(problems(states(old=KekState.KNOWN), wraps__old=MANY_WRAPS)) == 1


def test_a_kek_of_the_file_that_the_store_does_not_know_is_told() -> None:
    ((said, hint),) = problems(states(), kek_ids="act other")
    assert said == "KEK other of the file is not known to the store"
    assert hint == "kmworker keyring add"


def test_keks_are_shown_with_what_is_under_them_and_those_that_are_over_only_then() -> None:
    those = states(old=KekState.KNOWN, over=KekState.RETIRED, gone=KekState.REMOVED)
    totals = {"records:act": "1200", "deks:act": "1", "projects:act": "1", "wraps:act": "2048",
              "records:gone": "1", "records:unknown": "2", "projects:unknown": "1"}  # fmt: skip
    assert list(keks_in_words(keks_in(those.keks, totals), is_counted=True)) == [
        "act active: 1,200 records, 1 DEK, 1 project; up to 2,048 wraps in one",
        "gone removed: 1 record, 0 DEKs, 0 projects; up to 0 wraps in one",
        "old known: 0 records, 0 DEKs, 0 projects; up to 0 wraps in one",
        "unknown: 2 records, 0 DEKs, 1 project",
    ]
    assert list(keks_in_words(keks_in(states().keks, {}), is_counted=False)) == [
        "act active: not counted yet"
    ]


@pytest.mark.parametrize("text", ["text", "", "1e999", "nan"])
def test_a_number_that_somebody_wrote_over_is_none(text: str) -> None:
    (kek,) = keks_in(states().keks, dict.fromkeys(counted_fields(["act"]), text))
    assert (kek.records, kek.deks, kek.projects, kek.wraps) == (0, 0, 0, 0)


def test_all_that_is_shown_is_asked_for() -> None:
    wanted = counted_fields(["act"])
    totals = {name: str(number) for number, name in enumerate(wanted, 1)}
    known, unknown = keks_in(states().keks, totals)
    assert isinstance(known, KekSeen)
    assert 0 not in {known.records, known.deks, known.projects, known.wraps}
    assert unknown.kek_id == UNKNOWN
    assert unknown.records


@pytest.mark.parametrize(
    ("flaw", "why"),
    [
        ("root-away", "its root of trust does not answer"),
        ("unusable", "it cannot be used, and its log says why"),
        # What is no word of ours is not passed on.
        ("\x1b[31mred", "it cannot be used, and its log says why"),
    ],
)
def test_a_keyring_file_that_is_not_taken_up_is_told_in_fixed_words(flaw: str, why: str) -> None:
    assert not_taken_up("w1", flaw, NOW_S) == (
        f"w1 has not taken up its keyring file since {rfc3339(NOW_S)}: {why}"
    )


def test_a_janitors_keyring_file_is_told_too() -> None:
    seen = JanitorSeen("j1", NOW_S, 0, 0, 0, 0, 0)
    assert not janitor_trouble(seen)
    behind = JanitorSeen("j1", NOW_S, 0, 0, 0, 0, 0, (), "root-away", NOW_S - 60)
    assert janitor_trouble(behind).startswith("janitor j1 has not taken up its keyring file")
