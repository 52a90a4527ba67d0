"""Key-ids that nobody holds, that are held again, that come to their end: as they are stored."""

import json
from typing import Any

import pytest
from redis.exceptions import RedisError

from kmworker.clock import rfc3339, unix_s
from kmworker.domain.event import UNENCRYPTED, Event
from kmworker.domain.keys import JANITOR, Operator
from kmworker.domain.lifecycle import Step, compromise, compromised, step
from kmworker.domain.model import (
    Disposition,
    Held,
    Item,
    KeyRecord,
    KeyState,
    Released,
    ScopeRecord,
    Transport,
    held_in,
)
from kmworker.domain.plan import WriteStatus
from kmworker.domain.retention import Change, KeySeen, Moment
from kmworker.janitor.project import PassResult, ProjectPass
from kmworker.store.key_states import KeyStates, ScopeChange, holders_of
from kmworker.store.records import RecordCodec
from kmworker.store.retention import RedisRetention
from tests.kit.builders import event_of, release_of
from tests.kit.store.builders import CUSTODY, partition, replica, snapshot, volume
from tests.kit.store.playing import DAYS_30_S, play
from tests.kit.store.stand import Stand

V, S, W, C = volume("v1"), snapshot("s1"), volume("w1"), volume("c1")
PARTITION = partition("policy-0/18/4711")
ALICE = Operator("alice", "a drill")


@pytest.fixture(autouse=True)
def admitted(stand: Stand) -> None:
    """A worker was there, or the store would be nobody's."""
    stand.first.admit()


def key_of(stand: Stand, item: Item) -> KeyRecord:
    state = stand.look_up(item)[item]
    assert isinstance(state, Held | Released)
    held = held_in(state)
    assert held is not None
    assert held.key is not None
    return held.key


def outbox(stand: Stand) -> list[str]:
    return sorted(it.decode() for it in stand.value(stand.key("p1", "outbox")) or ())


def due(stand: Stand) -> dict[str, float]:
    found = stand.raw.zrange(stand.key("p1", "keys:due"), 0, -1, withscores=True)
    return {name.decode(): score for name, score in found}


def deks(stand: Stand) -> int:
    return int(stand.raw.hlen(stand.secret("p1", "deks")))


def states(stand: Stand, role: str = "key-operator") -> KeyStates:
    return KeyStates(stand.views(role), RecordCodec(CUSTODY))


def seen(stand: Stand, item: Item) -> KeySeen:
    key_id = key_of(stand, item).key_id
    return states(stand).read("p1", [key_id])[key_id]


def command(stand: Stand, item: Item, what: Step) -> bool:
    """Do what ``kmworker key`` does."""
    it = seen(stand, item)
    now = stand.clock.now()
    after = step(
        it.key, it.scope, what,
        by=ALICE, at=rfc3339(now), destroy_at=rfc3339(now + DAYS_30_S), holders=holders_of(it),
        active_until=rfc3339(now + DAYS_30_S),
    )  # fmt: skip
    assert isinstance(after, KeyRecord), after
    return states(stand).change("p1", [Change(it, after, compares_holders=True)]) == [True]


def retention(stand: Stand) -> RedisRetention:
    return RedisRetention(stand.views("janitor"), RecordCodec(CUSTODY))


def tidy(stand: Stand, found: RedisRetention | None = None, **options: Any) -> PassResult:
    """Let a janitor go over the project once."""
    now = stand.clock.now()
    one = ProjectPass(
        found or retention(stand),
        "p1",
        Moment(rfc3339(now), rfc3339(now + DAYS_30_S)),
        now_s=now,
        tombstone_s=DAYS_30_S,
        **{"may_destroy": True, "on_page": lambda _size: None, **options},
    )
    return one.run()


def after_30_days(stand: Stand) -> None:
    stand.clock.sleep(DAYS_30_S + 1)


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
    from kmworker.domain.plan import Fresh  # noqa: PLC0415
    from kmworker.domain.planner import plan_batch  # noqa: PLC0415
    from tests.kit.builders import SHIPPED, arrived  # noqa: PLC0415

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
    (changed,) = stand.first.unsaid()
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
    (changed,) = stand.first.unsaid()
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
        for page in states(stand).of_scope("p1", it.scope.scope_id)
        for one in page
        if (after := compromised(one.key, marked)) is not None
    ]
    assert states(stand).change("p1", changes) == [True, True]
    assert key_of(stand, C).is_compromised
    record = json.loads(stand.value(stand.key("p1", "keys"))[key_of(stand, C).key_id.encode()])
    assert (record["state"], record["own_state"]) == ("compromised", "active")
    # What shares it as it is joins it, and says so.
    play(stand, event_of(S, V))
    assert stand.known(S).key_state is KeyState.COMPROMISED


# --- what the janitor does ------------------------------------------------------------


def test_nothing_happens_before_its_time(stand: Stand) -> None:
    play(stand, event_of(V))
    play(stand, release_of(V))
    assert tidy(stand) == PassResult()
    assert list(retention(stand).projects_due(stand.clock.now(), 0)) == []
    after_30_days(stand)
    assert list(retention(stand).projects_due(stand.clock.now(), 0)) == ["p1"]


def test_what_nobody_holds_is_destroyed_after_its_time_and_the_dek_with_it(stand: Stand) -> None:
    play(stand, event_of(V))
    play(stand, release_of(V))
    key_id = key_of(stand, V).key_id
    after_30_days(stand)
    assert tidy(stand) == PassResult(destroyed=1)
    key = key_of(stand, V)
    assert (key.state, key.version) == (KeyState.DESTROYED, 3)
    assert key.changed is not None
    assert (key.changed.by, key.changed.dek_destroyed) == (JANITOR, True)
    assert deks(stand) == 0
    assert f"{key_id} 3" in outbox(stand)
    assert stand.value(stand.key("p1", "holders")) in (None, {})
    assert tidy(stand) == PassResult()


def test_a_dek_goes_with_the_last_key_id_that_names_it(stand: Stand) -> None:
    play(stand, event_of(V), event_of(C, V, requested=Disposition.CLONE))
    play(stand, release_of(V))
    after_30_days(stand)
    assert tidy(stand) == PassResult(destroyed=1)
    change = key_of(stand, V).changed
    assert change is not None
    assert (change.dek_destroyed, change.dek_named_by) == (False, (key_of(stand, C).key_id,))
    assert deks(stand) == 1
    play(stand, release_of(C))
    after_30_days(stand)
    assert tidy(stand) == PassResult(destroyed=1)
    assert deks(stand) == 0


def test_all_key_ids_of_a_scope_in_one_pass(stand: Stand) -> None:
    play(stand, event_of(V), event_of(C, V, requested=Disposition.CLONE))
    play(stand, event_of(W, C, requested=Disposition.CLONE))
    play(stand, release_of(V), release_of(C), release_of(W))
    after_30_days(stand)
    assert tidy(stand) == PassResult(destroyed=3)
    assert deks(stand) == 0
    assert {key_of(stand, it).state for it in (V, C, W)} == {KeyState.DESTROYED}


def test_a_counter_that_says_nobody_destroys_nothing(stand: Stand) -> None:
    play(stand, event_of(V), event_of(S, V))
    key_id = key_of(stand, V).key_id
    stand.raw.hset(stand.key("p1", "holders"), key_id, 1)
    play(stand, release_of(V))
    assert key_of(stand, S).state is KeyState.DEACTIVATED
    after_30_days(stand)
    assert tidy(stand) == PassResult(put_right=1)
    key = key_of(stand, S)
    assert (key.state, key.version) == (KeyState.ACTIVE, 3)
    assert stand.value(stand.key("p1", "holders")) == {key_id.encode(): b"1"}
    assert due(stand) == {}


def test_a_record_that_fails_authentication_keeps_all_from_being_destroyed(stand: Stand) -> None:
    play(stand, event_of(V), event_of(W))
    play(stand, release_of(V))
    record = stand.value(stand.key("p1", "items"))[W.ref.encode()]
    stand.raw.hset(stand.key("p1", "items"), W.ref, record.replace(b"w1", b"w2", 1))
    after_30_days(stand)
    assert tidy(stand) == PassResult(stopped=1)
    assert deks(stand) == 2


@pytest.mark.parametrize("requested", [Disposition.REUSE, Disposition.CLONE])
def test_what_joins_between_the_count_and_the_step_stops_it(
    stand: Stand, requested: Disposition
) -> None:
    play(stand, event_of(V))
    play(stand, release_of(V))
    after_30_days(stand)

    class Overtaken(RedisRetention):
        def destroy(self, *args: Any, **options: Any) -> bool:
            play(stand, event_of(W, V, requested=requested))
            return super().destroy(*args, **options)

    found = Overtaken(stand.views("janitor"), RecordCodec(CUSTODY))
    assert tidy(stand, found) == PassResult(stopped=1)
    assert deks(stand) == 1
    assert key_of(stand, W).state is KeyState.ACTIVE


def test_two_janitors_destroy_once(stand: Stand) -> None:
    play(stand, event_of(V), event_of(C, V, requested=Disposition.CLONE))
    play(stand, release_of(V), release_of(C))
    after_30_days(stand)

    class Overtaken(RedisRetention):
        def count(self, *args: Any) -> Any:
            found = super().count(*args)
            tidy(stand)
            return found

    late = Overtaken(stand.views("janitor"), RecordCodec(CUSTODY))
    assert tidy(stand, late) == PassResult(stopped=2)
    assert deks(stand) == 0
    assert [key_of(stand, it).version for it in (V, C)] == [3, 3]


def test_what_was_restored_lapses_if_nobody_joins_it(stand: Stand) -> None:
    play(stand, event_of(V))
    play(stand, release_of(V))
    assert command(stand, V, Step.RESTORE)
    assert key_of(stand, V).state is KeyState.ACTIVE
    after_30_days(stand)
    assert tidy(stand) == PassResult(lapsed=1)
    assert key_of(stand, V).state is KeyState.DEACTIVATED
    after_30_days(stand)
    assert tidy(stand) == PassResult(destroyed=1)


def test_what_was_restored_and_joined_stays(stand: Stand) -> None:
    play(stand, event_of(V))
    play(stand, release_of(V))
    assert command(stand, V, Step.RESTORE)
    play(stand, event_of(S, V))
    after_30_days(stand)
    assert tidy(stand).lapsed == 0
    assert key_of(stand, S).state is KeyState.ACTIVE
    assert due(stand) == {}


def test_what_is_let_go_of_while_it_is_counted_stays_due(stand: Stand) -> None:
    play(stand, event_of(V))
    play(stand, release_of(V))
    assert command(stand, V, Step.RESTORE)
    play(stand, event_of(S, V))
    after_30_days(stand)

    class Overtaken(RedisRetention):
        def count(self, *args: Any) -> Any:
            found = super().count(*args)
            play(stand, release_of(S))
            return found

    tidy(stand, Overtaken(stand.views("janitor"), RecordCodec(CUSTODY)))
    key = key_of(stand, S)
    assert key.state is KeyState.DEACTIVATED
    assert due(stand) == {key.key_id: pytest.approx(stand.clock.now() + DAYS_30_S)}


def test_without_an_inventory_nothing_is_destroyed_where_one_is_demanded(stand: Stand) -> None:
    play(stand, event_of(V))
    play(stand, release_of(V))
    after_30_days(stand)
    assert tidy(stand, may_destroy=False) == PassResult(stopped=1)
    assert deks(stand) == 1


def test_what_derives_from_the_destroyed_is_source_unusable(stand: Stand) -> None:
    play(stand, event_of(V))
    play(stand, release_of(V))
    after_30_days(stand)
    tidy(stand)
    assert play(stand, event_of(S, V)) == []


def test_a_scope_and_its_tombstones_are_forgotten_together(stand: Stand) -> None:
    play(stand, event_of(V), event_of(S, V), event_of(C, V, requested=Disposition.CLONE))
    play(stand, release_of(V), release_of(S), release_of(C))
    after_30_days(stand)
    assert tidy(stand).destroyed == 2
    after_30_days(stand)
    assert tidy(stand) == PassResult(forgotten=3)
    left = {name for name in stand.contents() if "p1" in name}
    assert left == {
        stand.key("p1", "stats"), stand.key("p1", "outbox")
    }  # fmt: skip
    # The name is free: it gets a DEK of its own, and no old one.
    play(stand, event_of(V))
    assert deks(stand) == 1


def test_what_has_no_scope_is_forgotten_by_itself(stand: Stand) -> None:
    play(stand, release_of(V), event_of(W, encryption=UNENCRYPTED), release_of(S))
    play(stand, release_of(W), event_of(C, S))
    after_30_days(stand)
    assert list(retention(stand).projects_due(0, stand.clock.now())) == ["p1"]
    assert tidy(stand) == PassResult(forgotten=2)
    found = stand.look_up(V, W, S)
    # Of that one something waits.
    assert [it for it, state in found.items() if state is not None] == [S]


def test_a_new_life_is_not_forgotten_with_the_old_one(stand: Stand) -> None:
    play(stand, release_of(V))
    play(stand, event_of(V, generation=1))
    after_30_days(stand)
    assert tidy(stand) == PassResult()
    assert isinstance(stand.look_up(V)[V], Held)


def replica_at(node: str) -> Event:
    name = f"policy-0/18/4711@{node}"
    return event_of(replica(name), PARTITION, transport=Transport.BLOCK)


def test_a_partitions_key_stays_while_its_replicas_come_and_go(stand: Stand) -> None:
    play(stand, replica_at("obj-1"), replica_at("obj-2"))
    key_id = key_of(stand, PARTITION).key_id
    play(stand, *(release_of(it.item) for it in (replica_at("obj-1"), replica_at("obj-2"))))
    after_30_days(stand)
    assert tidy(stand).destroyed == 0
    play(stand, replica_at("obj-3"))
    assert key_of(stand, replica_at("obj-3").item).key_id == key_id


def test_a_partition_holds_its_key_whatever_the_counter_says(stand: Stand) -> None:
    play(stand, replica_at("obj-1"))
    key_id = key_of(stand, PARTITION).key_id
    stand.raw.hset(stand.key("p1", "holders"), key_id, 1)
    play(stand, release_of(replica_at("obj-1").item))
    assert key_of(stand, PARTITION).state is KeyState.DEACTIVATED
    after_30_days(stand)
    assert tidy(stand) == PassResult(put_right=1)
    assert key_of(stand, PARTITION).state is KeyState.ACTIVE
    assert stand.value(stand.key("p1", "holders")) == {key_id.encode(): b"1"}
    assert due(stand) == {}


def test_a_partition_that_a_person_has_ended_is_founded_anew(stand: Stand) -> None:
    play(stand, replica_at("obj-1"))
    play(stand, release_of(replica_at("obj-1").item))
    it, now = seen(stand, PARTITION), stand.clock.now()
    moment = Moment(rfc3339(now), rfc3339(now))
    assert retention(stand).end_partition("p1", PARTITION, it, moment, ALICE)
    assert not retention(stand).end_partition("p1", PARTITION, it, moment, ALICE)
    stand.clock.sleep(1)
    assert tidy(stand).destroyed == 1
    play(stand, replica_at("obj-2"))
    anew = key_of(stand, PARTITION)
    assert anew.state is KeyState.ACTIVE
    assert (anew.key_id, anew.dek_id) != (it.key.key_id, it.key.dek_id)
    assert key_of(stand, replica_at("obj-2").item).key_id == anew.key_id
    assert deks(stand) == 1
    # And it lives: another joins it.
    play(stand, replica_at("obj-3"))
    assert key_of(stand, replica_at("obj-3").item).key_id == anew.key_id


def test_the_janitor_may_not_read_a_wrapped_dek(stand: Stand) -> None:
    if type(stand.client("janitor")).__name__ == "FakeClient":
        return
    play(stand, event_of(V))
    client: Any = stand.client("janitor")
    for read in ("hget", "hexists"):
        scope_id = key_of(stand, V).scope_id
        if read == "hexists":
            assert client.hexists(stand.secret("p1", "deks"), scope_id)
            continue
        with pytest.raises(RedisError, match=r"(?i)no permissions|NOPERM"):
            client.hget(stand.secret("p1", "deks"), scope_id)


def test_times_are_read_as_they_are_written() -> None:
    assert unix_s(rfc3339(1_795_449_600.125)) == 1_795_449_600.125
