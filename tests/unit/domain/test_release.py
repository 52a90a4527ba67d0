"""Items that are gone: the contract's table, row by row, and what comes of several in a batch."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from kmworker.domain.answers import Already, Bury, Create, Decision, Gone, Join, Late, Refuse, Wait
from kmworker.domain.decision import decide, decide_release
from kmworker.domain.event import Event, Happening
from kmworker.domain.look_up import Presumed
from kmworker.domain.model import (
    Broken,
    Disposition,
    Held,
    Item,
    KeyReleased,
    KeyState,
    Released,
    State,
    scope_id_for,
)
from kmworker.domain.plan import (
    AssignWrite,
    Committed,
    Later,
    Lives,
    Nothing,
    ParkWrite,
    Plan,
    ReleaseWrite,
    Repeat,
    WriteStatus,
)
from kmworker.domain.planner import plan_batch
from kmworker.domain.resolve import Done, resolve
from kmworker.errors import Reason
from tests.kit.builders import (
    SHIPPED,
    arrived,
    event_of,
    fresh,
    held,
    policy_of,
    release_of,
    released,
    rule_of,
    snapshot,
    volume,
)
from tests.unit.domain.plans import events, folded, outcomes

V, S = volume("v1"), snapshot("s1")
HELD = held(V)
SECOND = held(V, generation=2)
TOLD = policy_of(rule_of() + '[[producer]]\nuser = "cinder"\nprojects = "p1"\ntypes = "*"\n')


def ending(own: State, generation: int = 0) -> Decision:
    return decide_release(release_of(V, generation), own, SHIPPED)


def beginning(own: State, generation: int = 0, event_id: str | None = None) -> Decision:
    return decide(event_of(V, generation=generation, event_id=event_id), own, None, SHIPPED)


def deriving(source: State, source_generation: int = 0) -> Decision:
    return decide(event_of(S, V, source_generation=source_generation), None, source, SHIPPED)


# --- an event that releases -----------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "generation", "answer"),
    [
        (HELD, 0, Bury(HELD)),
        (SECOND, 2, Bury(SECOND)),
        (released(HELD), 0, Gone(released(HELD))),
        (released(V, 3), 3, Gone(released(V, 3))),
        (SECOND, 1, Late()),
        (released(SECOND), 1, Late()),
        (released(V, 3), 2, Late()),
        (HELD, 2, Bury(HELD)),
        (released(HELD), 2, Bury(released(HELD))),
        (released(V, 1), 2, Bury(released(V, 1))),
        (None, 0, Bury(None)),
        (None, 7, Bury(None)),
    ],
)
def test_a_release_is_decided_by_the_table(own: State, generation: int, answer: Decision) -> None:
    assert ending(own, generation) == answer


def test_a_tombstone_takes_the_generation_of_the_release() -> None:
    plan = folded(arrived(release_of(V, 4)), known={V: HELD})
    (write,) = plan.writes
    assert isinstance(write, ReleaseWrite)
    assert (write.released.generation, write.released.held) == (4, HELD)


def test_only_who_may_speak_for_a_project_releases_in_it() -> None:
    event = release_of(V)
    for own in (HELD, released(HELD), None):
        refused = decide_release(event, own, TOLD, {"user_id": "mallory"})
        assert isinstance(refused, Refuse)
        assert refused.reason is Reason.NOT_ALLOWED
    assert decide_release(event, HELD, TOLD, {"user_id": "cinder"}) == Bury(HELD)


def test_a_broken_record_is_not_buried() -> None:
    assert ending(Broken("its seal is wrong")) == Refuse(Reason.INTEGRITY, "its seal is wrong")


# --- an event that creates ------------------------------------------------------------


def test_the_event_that_created_what_is_gone_hears_of_its_release() -> None:
    assert beginning(released(HELD)) == Gone(released(HELD))


def test_another_event_of_that_life_is_a_conflict() -> None:
    refused = beginning(released(HELD), event_id="another")
    assert isinstance(refused, Refuse)
    assert refused.reason is Reason.CONFLICT
    assert "was deleted" in refused.detail


@pytest.mark.parametrize("own", [SECOND, released(SECOND), released(V, 2)])
def test_a_late_creation_changes_nothing(own: State) -> None:
    assert beginning(own, 1) == Late()


def test_what_is_assigned_is_repeated_in_its_own_life_alone() -> None:
    assert beginning(SECOND, 2) == Already(SECOND)
    assert isinstance(beginning(HELD, 2), Create)


def test_a_name_that_is_used_again_gets_a_new_dek_and_its_former_life_is_released_first() -> None:
    plan = folded(arrived(event_of(V, generation=1, event_id="again")), known={V: HELD})
    ended, begun = plan.writes
    assert isinstance(ended, ReleaseWrite)
    assert isinstance(begun, AssignWrite)
    assert ended.before == HELD
    assert begun.before == ended.released
    assert begun.assignment.scope_id == scope_id_for(V, 1) != HELD.assignment.scope_id
    assert begun.scope is not None
    assert begun.scope.generation == 1
    assert begun.assignment.former == ended.released.told
    assert outcomes(plan) == [Lives((ended, begun))]


def test_after_its_release_a_name_is_used_again_in_one_write() -> None:
    gone = released(HELD)
    plan = folded(arrived(event_of(V, generation=1)), known={V: gone})
    (begun,) = plan.writes
    assert isinstance(begun, AssignWrite)
    assert begun.before == gone
    # Its own event may not have told of its release, and will not find it again.
    assert begun.assignment.former == gone.told


def test_what_was_released_before_it_was_heard_of_is_assigned_and_at_once_released() -> None:
    early = released(V)
    plan = folded(arrived(event_of(V)), known={V: early})
    begun, ended = plan.writes
    assert isinstance(begun, AssignWrite)
    assert isinstance(ended, ReleaseWrite)
    assert (begun.before, ended.before) == (early, begun.stored())
    assert ended.released.tombstone == replace(early.tombstone, was_early=True)
    assert outcomes(plan) == [Lives((begun, ended))]


# --- an event that derives ------------------------------------------------------------


def test_what_is_gone_can_be_derived_from_as_long_as_its_key_is_there() -> None:
    assert deriving(released(HELD)) == deriving(HELD)
    assert isinstance(deriving(released(HELD)), Join)


def test_of_a_destroyed_key_nothing_derives() -> None:
    destroyed = held(V, state=KeyState.DESTROYED)
    for source in (destroyed, released(destroyed)):
        refused = deriving(source)
        assert isinstance(refused, Refuse)
        assert refused.reason is Reason.SOURCE_UNUSABLE


def test_a_late_event_of_a_former_life_does_not_join_the_new_one() -> None:
    for source in (SECOND, released(SECOND), released(V, 1)):
        refused = deriving(source, 0)
        assert isinstance(refused, Refuse)
        assert refused.reason is Reason.SOURCE_UNUSABLE


@pytest.mark.parametrize(
    ("source", "wanted"),
    [(None, 0), (HELD, 1), (released(HELD), 1), (released(V), 0), (released(V), 1)],
)
def test_an_event_waits_for_the_life_that_it_means(source: State, wanted: int) -> None:
    assert deriving(source, wanted) == Wait()


def test_a_tombstone_that_skipped_lives_still_has_the_one_it_knew() -> None:
    skipped = released(HELD, 5)
    assert isinstance(deriving(skipped, 0), Join)
    assert isinstance(deriving(skipped, 3), Refuse)


def test_a_life_that_was_released_before_it_was_heard_of_is_early_whatever_came_before() -> None:
    skipped = released(HELD, 5)
    assert deriving(skipped, 5) == Wait()
    plan = folded(arrived(event_of(V, generation=5, event_id="fifth")), known={V: skipped})
    begun, ended = plan.writes
    assert isinstance(begun, AssignWrite)
    assert isinstance(ended, ReleaseWrite)
    assert begun.before == skipped
    assert ended.released.held == begun.stored()


def test_what_waits_for_another_life_waits_under_another_name() -> None:
    plan = folded(arrived(event_of(S, V, source_generation=1)), known={V: HELD})
    (write,) = plan.writes
    assert isinstance(write, ParkWrite)
    assert write.source_ref == "volume:v1{1}"


# --- several in one batch -------------------------------------------------------------


def told(
    *all_events: Happening, known: Mapping[Item, State] | None = None
) -> list[tuple[str, str]]:
    """What is announced of a batch, in order, if the store writes it all."""
    plan = folded(*events(*all_events), known=known or {})
    done = sorted_out(plan)
    return [
        (it.item.ref, "released" if isinstance(it, KeyReleased) else "assigned")
        for it in done.announce
    ]


def sorted_out(plan: Plan, *statuses: WriteStatus) -> Done:
    answers = [
        Committed(status, write.assignment if isinstance(write, AssignWrite) else None, b"{}")
        for write, status in zip(
            plan.writes, statuses or [WriteStatus.WRITTEN] * len(plan.writes), strict=True
        )
    ]
    done, _left = resolve(plan, answers, {}, [])
    return done


def test_a_life_may_begin_and_end_in_one_batch() -> None:
    assert told(event_of(V), release_of(V)) == [
        ("volume:v1", "assigned"),
        ("volume:v1", "released"),
    ]


def test_many_lives_may_pass_in_one_batch_each_with_a_scope_of_its_own() -> None:
    lives: list[Happening] = []
    for generation in range(60):
        lives.append(event_of(V, generation=generation, event_id=f"c{generation}"))
        lives.append(release_of(V, generation, event_id=f"d{generation}"))
    plan = folded(*events(*lives))
    assert len(plan.writes) == 120
    scopes = {it.assignment.scope_id for it in plan.writes if isinstance(it, AssignWrite)}
    assert len(scopes) == 60


def test_a_snapshot_may_come_after_its_volumes_release_in_one_batch() -> None:
    plan = folded(*events(event_of(V), release_of(V), event_of(S, V)))
    _made, gone, taken = plan.writes
    assert isinstance(gone, ReleaseWrite)
    assert isinstance(taken, AssignWrite)
    assert taken.assignment.disposition is Disposition.REUSE
    assert isinstance(taken.source, Held)


def test_a_second_release_in_a_batch_shares_the_first_ones_write() -> None:
    plan = folded(*events(release_of(V), release_of(V, event_id="twice")), known={V: HELD})
    first, second = outcomes(plan)
    assert first is second
    assert len(plan.writes) == 1
    assert sorted_out(plan).repeats == 1


def test_a_former_life_is_announced_before_the_new_one() -> None:
    assert told(event_of(V, generation=1, event_id="again"), known={V: HELD}) == [
        ("volume:v1", "released"),
        ("volume:v1", "assigned"),
    ]


def test_an_early_release_is_announced_with_its_key_id_after_the_assignment() -> None:
    plan = folded(arrived(event_of(V)), known={V: released(V)})
    assigned, gone = sorted_out(plan).announce
    assert assigned.item == gone.item == V
    assert isinstance(gone, KeyReleased)
    assert gone.key_id is not None


def test_a_redelivered_creation_announces_what_it_may_not_have_announced() -> None:
    early = released(V)
    gone = Released(V, replace(early.tombstone, was_early=True), HELD)
    plan = folded(arrived(event_of(V)), known={V: gone})
    assert outcomes(plan) == [Repeat(gone)]
    assert [type(it).__name__ for it in sorted_out(plan).announce] == ["Held", "KeyReleased"]
    begun = held(V, generation=1)
    former = replace(begun.assignment, former=released(HELD).told)
    plan = folded(arrived(event_of(V, generation=1)), known={V: replace(begun, assignment=former)})
    assert [type(it).__name__ for it in sorted_out(plan).announce] == ["KeyReleased", "Held"]


def test_what_has_changed_meanwhile_is_decided_again() -> None:
    plan = folded(arrived(event_of(V, generation=1)), known={V: HELD})
    answers = [Committed(WriteStatus.STALE)] * 2
    done, left = resolve(plan, answers, {}, [])
    assert not done.announce
    assert len(left.carried) == 1


def test_late_events_are_settled_and_nothing_is_said() -> None:
    plan = folded(arrived(release_of(V, 1)), known={V: SECOND})
    assert outcomes(plan) == [Nothing()]
    done = sorted_out(plan)
    assert (done.announce, len(done.deliveries), done.repeats) == ([], 1, 1)


def test_what_rests_on_memory_alone_is_looked_up_before_anything_is_said() -> None:
    presumed = Presumed(recalled={V: SECOND})
    plan = plan_batch([arrived(release_of(V, 1))], {}, SHIPPED, fresh(), presumed)
    assert outcomes(plan) == [Later()]
    plan = plan_batch([arrived(release_of(V, 2))], {}, SHIPPED, fresh(), presumed)
    assert isinstance(outcomes(plan)[0], ReleaseWrite)


def test_any_number_may_be_the_first_that_is_heard_of() -> None:
    for generation in (0, 1, 2**53):
        plan = folded(arrived(event_of(V, generation=generation)))
        (write,) = plan.writes
        assert isinstance(write, AssignWrite)
        assert write.assignment.generation == generation


def test_a_release_says_nothing_of_a_source() -> None:
    assert release_of(V).derived_from is None
    assert isinstance(event_of(V), Event)
