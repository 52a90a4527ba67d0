"""Key-ids that nobody holds, or that are held again, as workers and people leave them."""

import json

import pytest

from kmworker.clock import rfc3339
from kmworker.domain.lifecycle import Step, compromise, compromised, step
from kmworker.domain.model import (
    Disposition,
    Held,
    KeyRecord,
    KeyState,
    ScopeRecord,
)
from kmworker.domain.plan import Fresh, WriteStatus
from kmworker.domain.planner import plan_batch
from kmworker.domain.retention import Change
from kmworker.store.key_states import ScopeChange
from tests.kit.builders import SHIPPED, arrived, event_of, release_of
from tests.kit.store.builders import CUSTODY, snapshot, volume
from tests.kit.store.key_life import (
    ALICE,
    after_30_days,
    command,
    deks,
    due,
    key_of,
    keys_unsaid,
    outbox,
    seen,
    states,
)
from tests.kit.store.playing import DAYS_30_S, play
from tests.kit.store.stand import Stand

V, S, C = volume("v1"), snapshot("s1"), volume("c1")


@pytest.fixture(autouse=True)
def admitted(stand: Stand) -> None:
    """A worker was there, or the store would be nobody's."""
    stand.first.admit()


# --- what workers do ------------------------------------------------------------------


def test_the_last_release_deactivates_the_key_id(stand: Stand) -> None:
    play(stand, event_of(V), event_of(S, V))
    (first,) = play(stand, release_of(V))
    assert not first.has_deactivated
    assert key_of(stand, V).state is KeyState.ACTIVE
    (last,) = play(stand, release_of(S))
    assert last.has_deactivated
    key = key_of(stand, V)
    assert (key.state, key.version) == (KeyState.DEACTIVATED, 2)
    assert key.destroy_at == rfc3339(stand.clock.now() + DAYS_30_S)
    assert outbox(stand) == [f"{key.key_id} 2"]
    assert due(stand) == {key.key_id: pytest.approx(stand.clock.now() + DAYS_30_S)}
    assert deks(stand) == 1


def test_both_released_in_one_batch_is_once(stand: Stand) -> None:
    play(stand, event_of(V), event_of(S, V))
    answers = play(stand, release_of(V), release_of(S))
    assert [it.has_deactivated for it in answers] == [False, True]
    assert key_of(stand, V).version == 2


def test_what_joins_it_makes_it_active_again(stand: Stand) -> None:
    play(stand, event_of(V))
    play(stand, release_of(V))
    play(stand, event_of(S, V))
    key = key_of(stand, S)
    assert (key.state, key.version, key.destroy_at) == (KeyState.ACTIVE, 3, None)
    assert outbox(stand) == [f"{key.key_id} 2", f"{key.key_id} 3"]
    assert due(stand) == {}
    assert stand.value(stand.key("p1", "holders")) == {key.key_id.encode(): b"1"}


def test_a_join_in_the_batch_of_the_release_is_looked_up_again(stand: Stand) -> None:
    play(stand, event_of(V))
    _gone, late = play(stand, release_of(V), event_of(S, V))
    assert late.status is WriteStatus.STALE
    play(stand, event_of(S, V))
    assert key_of(stand, S).state is KeyState.ACTIVE


def test_a_clone_leaves_its_origin_as_it_is(stand: Stand) -> None:
    play(stand, event_of(V))
    play(stand, release_of(V))
    play(stand, event_of(C, V, requested=Disposition.CLONE))
    assert key_of(stand, V).state is KeyState.DEACTIVATED
    assert key_of(stand, C).state is KeyState.ACTIVE
    scope = key_of(stand, C).scope_id.encode()
    assert stand.value(stand.key("p1", "clones")) == {scope: b"1"}


def test_a_suspended_key_id_stays_so_when_its_last_holder_goes(stand: Stand) -> None:
    play(stand, event_of(V))
    assert command(stand, V, Step.SUSPEND)
    (answer,) = play(stand, release_of(V))
    assert not answer.has_deactivated
    assert key_of(stand, V).state is KeyState.SUSPENDED
    assert due(stand) == {}


def test_a_release_that_rests_on_another_state_is_looked_up_again(stand: Stand) -> None:
    play(stand, event_of(V))
    stale = stand.look_up(V)
    assert command(stand, V, Step.SUSPEND)
    fresh = Fresh(rfc3339(stand.clock.now()), lambda: "", CUSTODY.kek_id)
    plan = plan_batch([arrived(release_of(V), 1)], stale, SHIPPED, fresh)
    (answer,) = stand.commit(*plan.writes)
    assert answer.status is WriteStatus.STALE
    assert isinstance(stand.look_up(V)[V], Held)


def test_what_is_to_be_announced_is_found_until_it_was(stand: Stand) -> None:
    play(stand, event_of(V))
    play(stand, release_of(V))
    assert stand.first.unsaid() == []
    stand.clock.sleep(3600)
    (changed,) = keys_unsaid(stand)
    assert (changed.project, changed.key) == ("p1", key_of(stand, V))
    assert stand.first.unsaid() == []
    stand.clock.sleep(3600)
    assert stand.first.unsaid() == [changed]
    stand.first.said([changed])
    stand.clock.sleep(3600)
    assert stand.first.unsaid() == []
    assert not stand.raw.exists(stand.top("outboxes"))


def test_what_no_worker_put_into_an_outbox_is_not_announced(stand: Stand) -> None:
    play(stand, event_of(V))
    play(stand, release_of(V))
    (name,) = outbox(stand)
    record = stand.value(stand.key("p1", "outbox"))[name.encode()]
    key_id = name.partition(" ")[0]
    stand.raw.hset(stand.key("p1", "outbox"), f"{key_id} 7", record)
    forged = record.replace(b'"deactivated"', b'"destroyed"', 1)
    stand.raw.hset(stand.key("p1", "outbox"), name, forged)
    stand.clock.sleep(3600)
    assert stand.first.unsaid() == []


# --- what people do -------------------------------------------------------------------


def test_what_a_person_changes_is_announced_by_a_worker_at_once(stand: Stand) -> None:
    play(stand, event_of(V))
    assert command(stand, V, Step.SUSPEND)
    # The server's own time is a little later than the test's.
    after_30_days(stand)
    (changed,) = keys_unsaid(stand)
    assert changed.change.by == ALICE
    assert stand.raw.get(stand.key("p1", "commits")) == b"2"


def test_who_is_beaten_to_it_changes_nothing(stand: Stand) -> None:
    play(stand, event_of(V))
    it = seen(stand, V)
    after = step(it.key, it.scope, Step.SUSPEND, by=ALICE, at=rfc3339(0), destroy_at="")
    assert isinstance(after, KeyRecord)
    change = Change(it, after, compares_holders=True)
    play(stand, event_of(S, V))
    assert states(stand).change("p1", [change]) == [False]
    assert states(stand).change("p1", [Change(it, after)]) == [True]
    assert states(stand).change("p1", [Change(it, after)]) == [False]


def test_compromise_is_of_the_scope_and_told_of_each_key_id(stand: Stand) -> None:
    play(stand, event_of(V), event_of(C, V, requested=Disposition.CLONE))
    it = seen(stand, V)
    marked = compromise(it.scope, ALICE, rfc3339(stand.clock.now()))
    assert isinstance(marked, ScopeRecord)
    assert states(stand).change("p1", [ScopeChange(it.scope, it.scope_record, marked)]) == [True]
    for item in (V, C):
        held = stand.known(item)
        assert held.key_state is KeyState.COMPROMISED
    changes = [
        Change(one, after)
        for one in (it, seen(stand, C))
        if (after := compromised(one.key, marked)) is not None
    ]
    assert states(stand).change("p1", changes) == [True, True]
    assert key_of(stand, C).is_compromised
    record = json.loads(stand.value(stand.key("p1", "keys"))[key_of(stand, C).key_id.encode()])
    assert (record["state"], record["own_state"]) == ("compromised", "active")
    # What shares it as it is joins it, and says so.
    play(stand, event_of(S, V))
    assert stand.known(S).key_state is KeyState.COMPROMISED
