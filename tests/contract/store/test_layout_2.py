"""A store that the last commit before releases filled: not one record of it changes."""

import hashlib
import json
from pathlib import Path

import pytest

from kmworker.clock import rfc3339
from kmworker.crypto import Keyring, KeyringCustody
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import Step, step
from kmworker.domain.model import Held, Item, KeyRecord, KeyState, Kind, held_in
from kmworker.domain.retention import Change, Moment
from kmworker.errors import SetupError
from kmworker.janitor.project import PassResult, ProjectPass
from kmworker.store.key_states import KeyStates, holders_of
from kmworker.store.records import RecordCodec, item_at
from kmworker.store.retention import RedisRetention
from kmworker.wire.assignments import announce
from tests.kit import old_stores
from tests.kit.builders import release_of
from tests.kit.old_stores.stand import Old, run
from tests.kit.store.filling import brief, found_in
from tests.kit.store.playing import DAYS_30_S, play
from tests.kit.store.stand import Stand

PROJECTS = ("acme", "globex", "initech", "swift-eu1", "umbrella")
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
    assert changed == {old.top("layout")}
    assert before.keys() <= after.keys()
    layout = old.value(old.top("layout"))
    assert (layout[b"number"], layout[b"minimum"]) == (b"3", b"3")
    assert layout[b"installation"] == before[old.top("layout")][b"installation"]


def test_what_was_announced_is_announced_again_with_the_same_bytes(old: Old) -> None:
    old.carry_over()
    store = old.store()
    source = store.admit()
    announced = old_stores.announced(2)
    assert len(announced) == 30
    for body in announced:
        said = json.loads(body)
        item = item_at(said["data"]["project_id"], said["subject"].partition("/")[2].encode())
        held = store.look_up([item]).result()[item]
        assert isinstance(held, Held)
        assert announce(held, source, "").body == body


def test_each_dek_is_what_it_was(old: Old) -> None:
    old.carry_over()
    codec = RecordCodec(old.custody)
    for (project, scope_id), digest in old_stores.dek_digests(2).items():
        scopes = old.value(old.key(project, "scopes"))
        scope = codec.read_scope(project, scope_id, scopes[scope_id.encode()])
        blob = old.value(old.secret(project, "deks"))[scope_id.encode()]
        assert hashlib.sha256(old.custody.unwrap(project, scope, blob)).hexdigest() == digest


def test_it_has_no_finding_then(old: Old) -> None:
    old.carry_over()
    assert brief(found_in(old)) == []


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


def test_a_run_on_a_store_that_was_carried_over_changes_nothing(old: Old) -> None:
    old.carry_over()
    with old.untouched():
        migration = old.migration()
        migration.begin()
        assert migration.is_done


def test_a_rehearsal_writes_nothing(old: Old) -> None:
    with old.untouched():
        assert run(old.migration(is_rehearsal=True)) == []
