"""Key-ids that come to their end: what a janitor does, as it is stored."""

from typing import Any

import pytest
from redis.exceptions import RedisError

from kmworker.clock import rfc3339
from kmworker.domain.event import UNENCRYPTED, Event
from kmworker.domain.keys import JANITOR
from kmworker.domain.lifecycle import Step
from kmworker.domain.model import (
    Disposition,
    Held,
    KeyState,
    Transport,
)
from kmworker.domain.retention import Moment
from kmworker.janitor.project import PassResult
from kmworker.store.records import RecordCodec
from kmworker.store.retention import RedisRetention
from tests.kit.builders import event_of, release_of
from tests.kit.store.builders import CUSTODY, partition, replica, snapshot, volume
from tests.kit.store.key_life import (
    ALICE,
    after_30_days,
    command,
    deks,
    due,
    key_of,
    outbox,
    retention,
    seen,
    tidy,
)
from tests.kit.store.playing import DAYS_30_S, play
from tests.kit.store.stand import Stand

V, S, W, C = volume("v1"), snapshot("s1"), volume("w1"), volume("c1")
PARTITION = partition("policy-0/18/4711")


@pytest.fixture(autouse=True)
def admitted(stand: Stand) -> None:
    """A worker was there, or the store would be nobody's."""
    stand.first.admit()


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
    # What has ended stays so, though nothing is left of it.
    assert left == {stand.key("p1", it) for it in ("stats", "outbox", "endings")}
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
