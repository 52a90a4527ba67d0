"""A key-id's states: every cell of the table, written down once more, and what holds for all."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.domain.keys import (
    JANITOR,
    MANUAL,
    Cause,
    Compromise,
    KeyEvent,
    KeyRecord,
    KeyState,
    Operator,
    ScopeRecord,
)
from kmworker.domain.lifecycle import (
    NAMED_AT_MOST,
    TABLE,
    NoStep,
    Step,
    compromise,
    compromised,
    destroyed,
    joined,
    let_go,
    state_of,
    step,
)
from tests.kit.builders import EARLIER, NOW, XTS

ALICE = Operator("alice", "a drill")
RELEASE = Cause("e1", "/cinder", "volume-deleted")
LATER = "2026-12-23T16:00:00.000Z"
MUCH_LATER = "2027-12-23T16:00:00.000Z"
KEY = KeyRecord("key-1", "scope-1", "dek-1", KeyState.ACTIVE, None, EARLIER)
SCOPE = ScopeRecord("scope-1", "volume:v1", "dek-1", XTS, "kek-1", None, EARLIER)
LEAKED = replace(SCOPE, compromised=Compromise(EARLIER, ALICE))

ACTIVE, DEACTIVATED = KeyState.ACTIVE, KeyState.DEACTIVATED
SUSPENDED, COMPROMISED, DESTROYED = KeyState.SUSPENDED, KeyState.COMPROMISED, KeyState.DESTROYED
OWN = (ACTIVE, DEACTIVATED, SUSPENDED, DESTROYED)
STAYS = "stays"
REFUSED = "refused"

#  step, state: without holders, with one
EXPECTED = {
    (Step.LET_GO, ACTIVE): (DEACTIVATED, DEACTIVATED),
    (Step.LET_GO, DEACTIVATED): (STAYS, STAYS),
    (Step.LET_GO, SUSPENDED): (STAYS, STAYS),
    (Step.LET_GO, DESTROYED): (STAYS, STAYS),
    (Step.JOIN, ACTIVE): (STAYS, STAYS),
    (Step.JOIN, DEACTIVATED): (ACTIVE, ACTIVE),
    (Step.JOIN, SUSPENDED): (STAYS, STAYS),
    (Step.JOIN, DESTROYED): (REFUSED, REFUSED),
    (Step.RESTORE, ACTIVE): (REFUSED, REFUSED),
    (Step.RESTORE, DEACTIVATED): (ACTIVE, ACTIVE),
    (Step.RESTORE, SUSPENDED): (REFUSED, REFUSED),
    (Step.RESTORE, DESTROYED): (REFUSED, REFUSED),
    (Step.LAPSE, ACTIVE): (DEACTIVATED, STAYS),
    (Step.LAPSE, DEACTIVATED): (STAYS, STAYS),
    (Step.LAPSE, SUSPENDED): (STAYS, STAYS),
    (Step.LAPSE, DESTROYED): (STAYS, STAYS),
    (Step.SUSPEND, ACTIVE): (SUSPENDED, SUSPENDED),
    (Step.SUSPEND, DEACTIVATED): (SUSPENDED, SUSPENDED),
    (Step.SUSPEND, SUSPENDED): (REFUSED, REFUSED),
    (Step.SUSPEND, DESTROYED): (REFUSED, REFUSED),
    (Step.RESUME, ACTIVE): (REFUSED, REFUSED),
    (Step.RESUME, DEACTIVATED): (REFUSED, REFUSED),
    (Step.RESUME, SUSPENDED): (DEACTIVATED, ACTIVE),
    (Step.RESUME, DESTROYED): (REFUSED, REFUSED),
    (Step.ORDER, ACTIVE): (REFUSED, REFUSED),
    (Step.ORDER, DEACTIVATED): (DEACTIVATED, REFUSED),
    (Step.ORDER, SUSPENDED): (DEACTIVATED, REFUSED),
    (Step.ORDER, DESTROYED): (REFUSED, REFUSED),
    (Step.EXPIRE, ACTIVE): (STAYS, STAYS),
    (Step.EXPIRE, DEACTIVATED): (DESTROYED, STAYS),
    (Step.EXPIRE, SUSPENDED): (STAYS, STAYS),
    (Step.EXPIRE, DESTROYED): (STAYS, STAYS),
    (Step.DESTROY, ACTIVE): (REFUSED, REFUSED),
    (Step.DESTROY, DEACTIVATED): (DESTROYED, REFUSED),
    (Step.DESTROY, SUSPENDED): (DESTROYED, REFUSED),
    (Step.DESTROY, DESTROYED): (REFUSED, REFUSED),
}
ANNOUNCED = {
    Step.LET_GO: KeyEvent.DEACTIVATED,
    Step.JOIN: KeyEvent.RESTORED,
    Step.RESTORE: KeyEvent.RESTORED,
    Step.LAPSE: KeyEvent.DEACTIVATED,
    Step.SUSPEND: KeyEvent.SUSPENDED,
    Step.RESUME: KeyEvent.RESUMED,
    Step.ORDER: KeyEvent.DEACTIVATED,
    Step.EXPIRE: KeyEvent.DESTROYED,
    Step.DESTROY: KeyEvent.DESTROYED,
}


def stepped(
    key: KeyRecord, what: Step, holders: int = 0, scope: ScopeRecord = SCOPE
) -> KeyRecord | NoStep | None:
    return step(key, scope, what, by=ALICE, at=NOW, destroy_at=LATER, holders=holders)


def outcome(found: KeyRecord | NoStep | None) -> object:
    if isinstance(found, KeyRecord):
        return found.state
    return REFUSED if isinstance(found, NoStep) else STAYS


def test_the_table_is_whole() -> None:
    assert set(EXPECTED) == {(what, state) for what in Step for state in OWN}
    assert set(TABLE) == set(Step)


@pytest.mark.parametrize("holders", [0, 1])
@pytest.mark.parametrize(("what", "state"), EXPECTED)
def test_every_cell(what: Step, state: KeyState, holders: int) -> None:
    found = stepped(replace(KEY, state=state), what, holders)
    assert outcome(found) == EXPECTED[what, state][holders]


@pytest.mark.parametrize(("what", "state"), EXPECTED)
def test_what_changes_says_so(what: Step, state: KeyState) -> None:
    before = replace(KEY, state=state, version=7)
    found = stepped(before, what)
    if not isinstance(found, KeyRecord):
        return
    assert found.version == 8
    assert found.changed is not None
    assert found.changed.event is ANNOUNCED[what]
    assert (found.changed.at, found.changed.by) == (NOW, ALICE)
    assert found.changed.state is found.state
    assert (found.destroy_at == LATER) is (found.state is DEACTIVATED)


def test_what_is_refused_says_why() -> None:
    for (what, state), expected in EXPECTED.items():
        for holders, one in enumerate(expected):
            found = stepped(replace(KEY, state=state), what, holders)
            assert (one == REFUSED) is isinstance(found, NoStep)
            if isinstance(found, NoStep):
                assert found.why
    assert stepped(replace(KEY, state=DEACTIVATED), Step.DESTROY, 2) == NoStep("2 items hold it")


def test_a_key_id_is_as_its_scope_if_that_is_worse() -> None:
    assert [state_of(replace(KEY, state=it), LEAKED) for it in OWN] == [
        COMPROMISED, COMPROMISED, COMPROMISED, DESTROYED,
    ]  # fmt: skip
    assert [state_of(replace(KEY, state=it), SCOPE) for it in OWN] == list(OWN)


def test_what_is_compromised_can_be_destroyed_if_nobody_holds_it() -> None:
    assert outcome(stepped(KEY, Step.DESTROY, 0, LEAKED)) is DESTROYED
    assert outcome(stepped(KEY, Step.ORDER, 0, LEAKED)) is DEACTIVATED
    assert outcome(stepped(KEY, Step.DESTROY, 1, LEAKED)) is REFUSED


def test_what_becomes_of_a_compromised_key_id_is_said_as_compromised() -> None:
    found = let_go(KEY, LEAKED, RELEASE, NOW, LATER)
    assert found is not None
    assert found.changed is not None
    assert (found.state, found.changed.state, found.shown) == (
        DEACTIVATED, COMPROMISED, COMPROMISED,
    )  # fmt: skip


def test_a_scope_is_compromised_once() -> None:
    marked = compromise(SCOPE, ALICE, NOW)
    assert isinstance(marked, ScopeRecord)
    assert marked.compromised == Compromise(NOW, ALICE)
    assert isinstance(compromise(marked, ALICE, LATER), NoStep)


def test_its_key_ids_say_so_once_each_but_for_what_is_gone() -> None:
    marked = compromised(KEY, LEAKED)
    assert marked is not None
    assert marked.changed is not None
    assert (marked.state, marked.is_compromised, marked.version) == (ACTIVE, True, 2)
    assert marked.changed.event is KeyEvent.COMPROMISED
    assert compromised(marked, LEAKED) is None
    assert compromised(replace(KEY, state=DESTROYED), LEAKED) is None
    assert compromised(KEY, SCOPE) is None


def test_an_order_never_puts_off_what_was_due_sooner() -> None:
    soon = replace(KEY, state=DEACTIVATED, destroy_at=NOW)
    found = stepped(soon, Step.ORDER)
    assert isinstance(found, KeyRecord)
    assert found.destroy_at == NOW
    manual = replace(KEY, state=DEACTIVATED, destroy_at=MANUAL)
    found = stepped(manual, Step.ORDER)
    assert isinstance(found, KeyRecord)
    assert found.destroy_at == LATER


def test_restored_until_a_date() -> None:
    found = step(
        replace(KEY, state=DEACTIVATED, destroy_at=LATER), SCOPE, Step.RESTORE,
        by=ALICE, at=NOW, destroy_at=LATER, active_until=MUCH_LATER,
    )  # fmt: skip
    assert isinstance(found, KeyRecord)
    assert (found.state, found.destroy_at, found.active_until) == (ACTIVE, None, MUCH_LATER)
    suspended = stepped(found, Step.SUSPEND)
    assert isinstance(suspended, KeyRecord)
    assert suspended.active_until is None


def test_the_end_says_what_becomes_of_the_dek() -> None:
    ended = stepped(replace(KEY, state=DEACTIVATED), Step.EXPIRE)
    assert isinstance(ended, KeyRecord)
    alone = destroyed(ended, ()).changed
    assert alone is not None
    assert (alone.dek_destroyed, alone.dek_named_by) == (True, ())
    many = tuple(f"key-{number:03}" for number in range(300))
    shared = destroyed(ended, many).changed
    assert shared is not None
    assert (shared.dek_destroyed, shared.dek_named_by) == (False, many[:NAMED_AT_MOST])


@given(st.lists(st.tuples(st.sampled_from(Step), st.integers(0, 1)), max_size=12))
def test_whatever_is_done_what_is_destroyed_stays_so_and_versions_grow(
    steps: list[tuple[Step, int]],
) -> None:
    key = KEY
    for what, holders in steps:
        found = stepped(key, what, holders)
        if isinstance(found, KeyRecord):
            assert key.state is not DESTROYED
            assert found.version == key.version + 1
            assert found.state is not DESTROYED or not holders
            key = found


def test_what_workers_do_needs_no_person() -> None:
    gone = let_go(KEY, SCOPE, RELEASE, NOW, LATER)
    assert gone is not None
    assert gone.changed is not None
    assert (gone.state, gone.destroy_at, gone.changed.by) == (DEACTIVATED, LATER, RELEASE)
    back = joined(gone, SCOPE, RELEASE, LATER)
    assert back is not None
    assert (back.state, back.destroy_at, back.version) == (ACTIVE, None, 3)
    assert joined(KEY, SCOPE, RELEASE, NOW) is None
    assert let_go(replace(KEY, state=SUSPENDED), SCOPE, RELEASE, NOW, LATER) is None


def test_the_janitor_lets_lapse() -> None:
    lapsed = step(KEY, SCOPE, Step.LAPSE, by=JANITOR, at=NOW, destroy_at=LATER)
    assert isinstance(lapsed, KeyRecord)
    assert lapsed.changed is not None
    assert lapsed.changed.by is JANITOR
