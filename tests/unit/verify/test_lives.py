"""Keys' lives: what is wrong with them, by records that were read."""

from dataclasses import replace

import pytest

from kmworker.clock import rfc3339
from kmworker.domain.keys import KeyEvent, KeyRecord, KeyState, LastChange
from kmworker.domain.lifecycle import Step, step
from kmworker.domain.model import Assignment, DataAction, Disposition, ItemRecord
from kmworker.verify.rules.clones import Clones, clones_finding, is_unsettled
from kmworker.verify.rules.counters import has_forgotten
from kmworker.verify.rules.findings import CountRepair, IndexRepair, Problem
from kmworker.verify.rules.indexes import SKEW_S, due_findings
from kmworker.verify.rules.installation import totals_findings
from kmworker.verify.rules.keys import KeyCase, key_findings, outbox_findings, unused_findings
from kmworker.verify.rules.opened import Opened, Sound
from kmworker.verify.rules.records import Absence, ItemCase, item_findings, scope_of_source
from tests.kit.builders import EARLIER, NOW, assignment_of, held, volume

V, W = volume("v1"), volume("w1")
NOW_S = 1_795_449_600.0
LATER = rfc3339(NOW_S + 86_400)


def key_of(state: KeyState = KeyState.ACTIVE, **changes: object) -> Sound[KeyRecord]:
    key = held(V, state=state).key
    assert key is not None
    return Sound(replace(key, **changes), b"raw")  # type: ignore[arg-type]


def sound(assignment: Assignment) -> Opened[ItemRecord]:
    return Sound(ItemRecord(assignment, b"{}"), b"raw")


# --- sources that may be forgotten --------------------------------------------------------

DECRYPTED = replace(
    assignment_of(W, V, encryption=None), data_action=DataAction.DECRYPT, reencrypt_from="key-v1"
)
REENCRYPTED = replace(
    assignment_of(W, V), data_action=DataAction.REENCRYPT, reencrypt_from="key-v1"
)


@pytest.mark.parametrize(
    ("is_listed", "may_be_forgotten", "is_loss"),
    [(False, False, True), (True, False, True), (True, True, True), (False, True, False)],
)
def test_an_item_without_a_record_was_lost_unless_it_may_be_forgotten(
    is_listed: bool, may_be_forgotten: bool, is_loss: bool
) -> None:
    absence = Absence(is_listed=is_listed, may_be_forgotten=may_be_forgotten)
    case = ItemCase("p1", W.ref, sound(DECRYPTED), absence=absence)
    found = [(it.problem, it.place.field) for it in item_findings(case)]
    assert found == ([(Problem.ITEM_MISSING, V.ref)] if is_loss else [])


@pytest.mark.parametrize(
    "own", [replace(DECRYPTED, source=None), replace(DECRYPTED, reencrypt_from=None)]
)
def test_what_is_not_encrypted_was_decrypted_from_a_key_id_or_needed_nothing(
    own: Assignment,
) -> None:
    absence = Absence(may_be_forgotten=True)
    case = ItemCase("p1", W.ref, sound(own), absence=absence)
    assert [it.problem for it in item_findings(case)] == [Problem.CONTRADICTION]


@pytest.mark.parametrize("own", [DECRYPTED, REENCRYPTED], ids=["decrypted", "re-encrypted"])
def test_what_has_its_sources_name_since_is_not_its_source(own: Assignment) -> None:
    """The name was forgotten and used again; the life has the same number."""
    former, anew = assignment_of(V), assignment_of(V, key_id="another")
    scope = held(W).scope
    assert scope is not None
    origin = replace(scope, derived_from=former.scope_id)
    case = ItemCase("p1", W.ref, sound(own), scope=Sound(origin, b""), key=key_of(), score=0)
    case = replace(case, key=Sound(replace(key_of().value, scope_id=scope.scope_id), b""))
    assert list(item_findings(replace(case, source=sound(former)))) == []
    # Made at the same time, it is its source, and should be the key-id's.
    assert list(item_findings(replace(case, source=sound(anew)))) != []
    later = replace(anew, assigned_at=LATER)
    assert list(item_findings(replace(case, source=sound(later)))) == []


@pytest.mark.parametrize(
    ("stats", "forgotten"),
    [({}, False), ({"create_forgotten": b"0"}, False), ({"reuse_forgotten": b"1"}, True),
     ({"none_forgotten": b"x"}, True), ({"released": b"7"}, False)],
)  # fmt: skip
def test_whether_anything_was_forgotten(stats: dict[str, bytes | None], forgotten: bool) -> None:
    assert has_forgotten(stats) == forgotten


# --- key-ids ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "due", "is_unused"),
    [
        (key_of(), None, True),
        (key_of(), NOW_S, True),
        (key_of(active_until=LATER), None, False),
        (key_of(active_until=EARLIER), NOW_S, False),
        (key_of(active_until=EARLIER), None, True),
        (key_of(KeyState.COMPROMISED), None, True),
        (key_of(KeyState.SUSPENDED), None, False),
        (key_of(KeyState.DESTROYED), None, False),
        (key_of(KeyState.DEACTIVATED, destroy_at=LATER), NOW_S, False),
        (key_of(KeyState.DEACTIVATED, destroy_at="manual"), None, False),
        (key_of(KeyState.DEACTIVATED), None, True),
    ],
)
def test_what_nobody_holds_must_come_to_an_end(
    key: Sound[KeyRecord], due: float | None, is_unused: bool
) -> None:
    found = [it.problem for it in unused_findings("p1", key, due, NOW_S)]
    assert found == ([Problem.KEY_UNUSED] if is_unused else [])


DUE_S = NOW_S + 86_400


@pytest.mark.parametrize(
    ("key", "due", "right"),
    [
        (key_of(), None, "right"),
        (key_of(), DUE_S, None),
        (key_of(KeyState.SUSPENDED), DUE_S, None),
        (key_of(KeyState.DEACTIVATED, destroy_at="manual"), DUE_S, None),
        (key_of(KeyState.DEACTIVATED, destroy_at="manual"), None, "right"),
        (key_of(KeyState.DEACTIVATED, destroy_at=LATER), DUE_S, "right"),
        (key_of(KeyState.DEACTIVATED, destroy_at=LATER), DUE_S + 1, DUE_S),
        (key_of(KeyState.DEACTIVATED, destroy_at=LATER), None, DUE_S),
        (key_of(KeyState.DEACTIVATED, destroy_at=NOW), None, NOW_S),
        (key_of(active_until=LATER), None, DUE_S),
        (key_of(active_until=LATER), DUE_S, "right"),
        (key_of(active_until=rfc3339(NOW_S - 5)), None, "right"),
        (key_of(active_until=rfc3339(NOW_S + SKEW_S)), None, "right"),
        (key_of(active_until=rfc3339(NOW_S - 5)), NOW_S - 5, "right"),
        (key_of(active_until=rfc3339(NOW_S - 5)), NOW_S + 5, NOW_S - 5),
        (key_of(KeyState.DESTROYED), None, "right"),
        (key_of(KeyState.DESTROYED), DUE_S, "right"),
    ],
)
def test_when_something_is_to_be_done_about_a_key_id(
    key: Sound[KeyRecord], due: float | None, right: float | str | None
) -> None:
    found = list(due_findings("p1", key, due, NOW_S))
    if right == "right":
        assert found == []
        return
    (finding,) = found
    assert isinstance(finding.repair, IndexRepair)
    score = finding.repair.score
    assert (None if score is None else float(score)) == right
    assert finding.repair.record == key.raw


def test_a_key_id_does_not_outlive_the_dek_of_its_scope() -> None:
    scope = held(V).scope
    assert scope is not None
    for state in KeyState:
        if state is not KeyState.COMPROMISED:
            own = key_of(state, destroy_at="manual" if state is KeyState.DEACTIVATED else None)
            ended = Sound(replace(scope, destroyed_at=NOW), b"")
            case = KeyCase("p1", own.value.key_id, own, ended)
            found = [it.problem for it in key_findings(case)]
            is_ended = state is KeyState.DESTROYED
            assert found == ([] if is_ended else [Problem.CONTRADICTION])


def test_what_is_to_be_announced_is_no_newer_than_the_key_id() -> None:
    own = key_of()
    change = LastChange(KeyEvent.SUSPENDED, NOW, held(V).assignment.cause, KeyState.SUSPENDED)
    said = Sound(replace(own.value, version=2, changed=change), b"")
    entry = f"{own.value.key_id} 2"
    for present in (None, said, Sound(replace(said.value, version=3), b"")):
        assert list(outbox_findings("p1", entry, said, present)) == []
    (older,) = outbox_findings("p1", entry, said, own)
    assert (older.problem, older.place.field) == (Problem.CONTRADICTION, entry)


def test_each_state_that_a_step_leaves_behind_comes_to_an_end() -> None:
    """The table and the rules know the same states."""
    for what in (Step.LET_GO, Step.SUSPEND):
        after = step(key_of().value, None, what, by=held(V).assignment.cause, at=NOW,
                     destroy_at=LATER)  # fmt: skip
        assert isinstance(after, KeyRecord)
        assert list(unused_findings("p1", Sound(after, b""), None, NOW_S)) == []


# --- counters -----------------------------------------------------------------------------


def clones(before: bytes | None, after: bytes | None, living: int, **more: int | None) -> Clones:
    numbers = {"doubtful": 0, "came": 0, "length": 9, **more}
    return Clones("s", before, after, living, **numbers)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counted", "verdict"),
    [
        (clones(None, None, 1), "right"),
        (clones(None, None, 0), "right"),
        (clones(b"0", b"0", 1), "right"),
        (clones(b"2", b"2", 3), "right"),
        (clones(b"2", b"2", 4), "wrong"),
        (clones(b"2", b"2", 2), "wrong"),
        (clones(b"1", b"1", 0), "wrong"),
        (clones(b"x", b"x", 2), "wrong"),
        (clones(b"-1", b"-1", 1), "wrong"),
        (clones(b"x", b"x", 2, length=None), "moving"),
        # One came, and was counted or not.
        (clones(b"1", b"2", 2, came=1), "right"),
        (clones(b"1", b"2", 3, came=1), "right"),
        (clones(b"1", b"2", 4, came=1), "moving"),
        # One went, and was counted or not.
        (clones(b"2", b"1", 2), "right"),
        (clones(b"2", b"1", 3), "right"),
        (clones(b"2", b"1", 4), "moving"),
        (clones(b"2", b"1", 1), "moving"),
        # One came and one went.
        (clones(b"1", b"1", 1, came=1), "right"),
        (clones(b"1", b"1", 3, came=1), "right"),
        (clones(b"7", b"7", 3, came=1), "moving"),
        # The last has gone, and the counter with it.
        (clones(b"1", None, 2), "right"),
        (clones(b"3", b"3", 2, doubtful=2), "right"),
        (clones(b"4", b"4", 2, doubtful=2), "doubtful"),
    ],
)
def test_a_counter_of_clones_is_right_wrong_or_still_moving(counted: Clones, verdict: str) -> None:
    finding = clones_finding("p1", counted)
    assert (finding is None) == (verdict == "right")
    assert is_unsettled(counted) == (verdict == "moving")
    if finding is not None:
        assert (finding.repair is not None) == (verdict == "wrong")
        if isinstance(finding.repair, CountRepair):
            assert finding.repair.before == counted.after
            assert finding.repair.after == max(counted.living - 1, 0)
            assert finding.repair.counted == ("keys" if counted.after in {b"x", b"-1"} else "")


@pytest.mark.parametrize(
    ("said", "released", "wrong"),
    [(b"5", 0, False), (b"6", 0, True), (b"6", 1, False), (b"7", 1, True), (b"6", None, False),
     (b"x", None, True)],
)  # fmt: skip
def test_totals_may_say_as_many_too_much_as_were_ever_released(
    said: bytes, released: int | None, wrong: bool
) -> None:
    sums = dict.fromkeys(("items", "keys", "scopes"), 5)
    found = [it.place.field for it in totals_findings({b"keys": said}, sums, released)]
    assert found == (["keys"] if wrong else [])


def test_a_copy_joins_its_source_where_it_was() -> None:
    """What is known of a lost source's scope is that of what shares it."""
    scope = held(W).scope
    assert scope is not None
    origin = Sound(replace(scope, derived_from="from"), b"")
    own = replace(REENCRYPTED, scope_id="own")
    shared = {Disposition.REUSE, Disposition.CLONE}
    for disposition in Disposition:
        wanted = "own" if disposition in shared else "from"
        assert scope_of_source(replace(own, disposition=disposition), origin) == wanted
    assert scope_of_source(own, None) is None
