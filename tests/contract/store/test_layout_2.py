"""A store that the last commit before releases filled: not one record of it changes."""

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fakeredis import FakeRedis

from kmworker.clock import rfc3339
from kmworker.crypto import Keyring, KeyringCustody
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import Step, step
from kmworker.domain.model import Item, KeyRecord, KeyState, Kind, held_in
from kmworker.domain.retention import Change, Moment
from kmworker.errors import SetupError, StoreUnavailable
from kmworker.janitor.project import PassResult, ProjectPass
from kmworker.store.key_states import KeyStates, holders_of
from kmworker.store.records import RecordCodec
from kmworker.store.retention import RedisRetention
from tests.kit import old_stores
from tests.kit.builders import event_of, release_of
from tests.kit.old_stores.stand import MIGRATOR, PROJECTS, Old, run
from tests.kit.store.filling import brief, found_in
from tests.kit.store.playing import DAYS_30_S, play
from tests.kit.store.stand import Stand

DB = Item("acme", Kind.VOLUME, "db")
SHARES_ITS_KEY_ID = [
    Item("acme", Kind.SNAPSHOT, "mon"), Item("acme", Kind.SNAPSHOT, "tue"),
    Item("acme", Kind.REPLICA, "db@nyc"), Item("acme", Kind.REPLICA, "mon@nyc"),
]  # fmt: skip
BESIDE_IT = [
    Item("acme", Kind.VOLUME, name)
    for name in ("db-test", "db-copy", "copy-of-copy", "thin", "from-backup")
] + [Item("acme", Kind.REPLICA, "backup"), Item("acme", Kind.SNAPSHOT, "of-copy")]
# The clock of the stands is before the time at which the store was filled.
LATER_S = 30 * 86_400


@pytest.fixture
def old(stand: Stand, tmp_path: Path) -> Old:
    stand.__class__ = Old
    assert isinstance(stand, Old)
    stand.keyring = Keyring.load(old_stores.lay_keyring(2, tmp_path / "keyring"))
    fill(stand)
    installation = stand.value(stand.top("layout"))[b"installation"].decode()
    stand.custody = KeyringCustody(stand.keyring, installation)
    stand.clock.sleep(LATER_S)
    return stand


def fill(old: Stand) -> None:
    old_stores.fill(old.raw, 2, old.prefix)


def key_of(old: Old, item: Item) -> KeyRecord:
    state = old.look_up(item)[item]
    held = held_in(state)
    assert held is not None
    assert held.key is not None
    return held.key


def test_a_worker_refuses_it_and_names_the_command(old: Old) -> None:
    with old.untouched(), pytest.raises(SetupError, match="the store is of layout 2") as refused:
        old.store().admit()
    assert refused.value.hint.endswith("and run: kmworker migrate")


def test_no_record_changes(old: Old) -> None:
    before = old.contents()
    assert old.carry_over() == []
    after = old.contents()
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {old.top("layout"), old.top("keyring"), old.key("acme", "clones")}
    assert before.keys() <= after.keys()
    layout = old.value(old.top("layout"))
    assert (layout[b"number"], layout[b"minimum"]) == (b"3", b"3")
    assert layout[b"installation"] == before[old.top("layout")][b"installation"]


def test_what_was_announced_is_announced_again_with_the_same_bytes(old: Old) -> None:
    old.carry_over()
    assert old.assert_announced_again(2) == 30


def test_each_dek_is_what_it_was(old: Old) -> None:
    old.carry_over()
    old.assert_deks_kept(2)


def test_it_has_no_finding_then(old: Old) -> None:
    old.carry_over()
    assert brief(found_in(old)) == []


def test_key_ids_beside_the_first_of_a_scope_are_counted(old: Old) -> None:
    old.carry_over()
    for project in PROJECTS:
        keys = (old.value(old.key(project, "keys")) or {}).values()
        named = Counter(json.loads(record)["scope_id"] for record in keys)
        beside = {scope_id.encode(): b"%d" % (n - 1) for scope_id, n in named.items() if n > 1}
        assert (old.value(old.key(project, "clones")) or {}) == beside


def test_events_that_waited_are_taken_whoevers_they_are(old: Old) -> None:
    old.carry_over()
    (found,) = old.first.take([Item("acme", Kind.VOLUME, "comes-later")], 9)
    assert isinstance(found, list)
    (taken,) = found
    assert not taken.problem
    assert b'"project_id": "globex"' in taken.original.body
    (late,) = old.store().sweep("initech", 9, "").due
    assert late.entry.expired
    assert not late.problem


# --- a key's life, afterwards -----------------------------------------------------------


def tidy(old: Old) -> PassResult:
    """Let a janitor go over acme once."""
    now = old.clock.now()
    moment = Moment(rfc3339(now), rfc3339(now + DAYS_30_S))
    return ProjectPass(
        RedisRetention(old.views("janitor"), RecordCodec(old.custody)), "acme", moment,
        now_s=now, tombstone_s=DAYS_30_S, may_destroy=True, on_page=lambda _size: None,
    ).run()  # fmt: skip


def test_what_is_in_it_is_released_and_in_the_end_destroyed(old: Old) -> None:
    old.carry_over()
    old.first.admit()
    deks = old.raw.hlen(old.secret("acme", "deks"))
    *others, last = play(old, *(release_of(it) for it in [*SHARES_ITS_KEY_ID, DB]))
    assert [it.has_deactivated for it in [*others, last]] == [False] * 4 + [True]
    assert (key_of(old, DB).state, key_of(old, DB).version) == (KeyState.DEACTIVATED, 2)
    old.clock.sleep(DAYS_30_S + 1)
    assert tidy(old) == PassResult(destroyed=1)
    # Others name the DEK.
    assert old.raw.hlen(old.secret("acme", "deks")) == deks
    assert brief(found_in(old)) == []
    play(old, *(release_of(it) for it in BESIDE_IT))
    old.clock.sleep(DAYS_30_S + 1)
    assert tidy(old) == PassResult(destroyed=6)
    assert old.raw.hlen(old.secret("acme", "deks")) == deks - 1
    assert old.value(old.key("acme", "clones")) is None


def test_a_person_suspends_what_is_in_it(old: Old) -> None:
    old.carry_over()
    old.first.admit()
    states = KeyStates(old.views("key-operator"), RecordCodec(old.custody))
    key_id = key_of(old, DB).key_id
    seen = states.read("acme", [key_id])[key_id]
    now = old.clock.now()
    after = step(
        seen.key, seen.scope, Step.SUSPEND, by=Operator("alice", "a drill"), at=rfc3339(now),
        destroy_at=rfc3339(now), holders=holders_of(seen),
    )  # fmt: skip
    assert isinstance(after, KeyRecord)
    assert states.change("acme", [Change(seen, after, compares_holders=True)]) == [True]
    assert key_of(old, SHARES_ITS_KEY_ID[0]).state is KeyState.SUSPENDED
    assert brief(found_in(old)) == []


# --- stopped, repeated, rehearsed, beside others ----------------------------------------

MORE_TRIPS_THAN_A_RUN_HAS = 200


def test_a_run_that_is_killed_at_any_request_is_finished_by_the_next(old: Old) -> None:
    whole = None
    # On a real server every third: each is a migration of its own.
    stride = 1 if isinstance(old.raw, FakeRedis) else 3
    for at in range(0, MORE_TRIPS_THAN_A_RUN_HAS, stride):
        old.clear()
        fill(old)
        tap = old.tap(MIGRATOR)
        left = iter([False] * at + [True])

        def before_trip(_: object, left: Any = left) -> None:
            if next(left, False):
                raise StoreUnavailable("killed")

        tap.before_trip = before_trip
        try:
            old.carry_over(tap)
        except StoreUnavailable:
            with pytest.raises(SetupError) as refused:
                old.store().admit()
            assert "kmworker migrate" in refused.value.hint
            assert old.carry_over() == []
            assert brief(found_in(old)) == []
        else:
            break
        whole = whole or old.contents()
        assert old.contents() == whole
    assert whole is not None
    assert at > 10


def test_from_its_first_step_on_no_worker_of_any_release_takes_it(old: Old) -> None:
    migration = old.migration()
    migration.begin()
    layout = old.value(old.top("layout"))
    # What layout 2 looks at: a minimum that it does not know.
    assert (layout[b"number"], layout[b"minimum"]) == (b"2", b"3")
    with pytest.raises(SetupError, match="the store's change to layout 3 is not finished"):
        old.store().admit()


@pytest.mark.parametrize("at", [2, 4, 8, 12])
def test_a_run_beside_workers_that_another_has_let_in_undoes_nothing_of_theirs(
    old: Old, at: int
) -> None:
    tap, left = old.tap(MIGRATOR), [at]

    def before_trip(_: object) -> None:
        left[0] -= 1
        if left[0] == -1:
            old.carry_over()
            old.first.admit()
            play(old, event_of(Item("acme", Kind.VOLUME, "new"), DB))
            play(old, event_of(Item("globex", Kind.VOLUME, "n"), Item("globex", Kind.VOLUME, "db")))
            play(old, release_of(SHARES_ITS_KEY_ID[0]))

    tap.before_trip = before_trip
    # Whoever comes second to the layout itself is told so.
    with suppress(SetupError):
        old.carry_over(tap)
    assert left[0] < 0
    assert brief(found_in(old)) == []
    scope = {it: key_of(old, it).scope_id.encode() for it in (DB, Item("globex", Kind.VOLUME, "n"))}
    for item, scope_id in scope.items():
        keys = old.value(old.key(item.project, "keys")).values()
        named = sum(b'"scope_id":"%b"' % scope_id in record for record in keys)
        assert old.value(old.key(item.project, "clones"))[scope_id] == b"%d" % (named - 1)


def test_a_run_on_a_store_that_was_carried_over_changes_nothing(old: Old) -> None:
    old.carry_over()
    with old.untouched():
        migration = old.migration()
        migration.begin()
        assert migration.is_done


def test_a_rehearsal_writes_nothing(old: Old) -> None:
    with old.untouched():
        assert run(old.migration(is_rehearsal=True)) == []


def test_a_key_id_that_fails_authentication_counts_for_no_scope(old: Old) -> None:
    key = old.key("acme", "keys")
    field = key_of_clone(old)
    old.raw.hset(key, field, old.raw.hget(key, field).replace(b'"version":1', b'"version":2'))
    assert old.carry_over() == []
    assert sum(map(int, old.value(old.key("acme", "clones")).values())) == 5


def key_of_clone(old: Old) -> bytes:
    records = old.value(old.key("acme", "keys"))
    return bytes(min(it for it, record in records.items() if b'"cloned_from":null' not in record))


def test_its_deks_are_counted_as_wraps(old: Old) -> None:
    old.carry_over()
    scopes = sum(len(old.value(old.key(it, "scopes")) or {}) for it in PROJECTS)
    assert scopes
    assert {old.reserved(kek_id) for kek_id in old.keyring.keks} == {scopes}
