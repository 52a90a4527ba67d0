"""Stores of former layouts, as they were written, become stores of this one, and lose nothing."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fakeredis import FakeRedis

from kmworker.crypto import FormerCustody, Keyring, KeyringCustody
from kmworker.domain.model import Item, Kind, Place
from kmworker.errors import SetupError, StoreUnavailable
from kmworker.store.scripts import Scripts
from kmworker.wire.assignments import decode_data, encode_data
from tests.kit import old_stores
from tests.kit.old_stores.stand import MIGRATOR, PROJECTS, Old
from tests.kit.store.builders import INSTALLATION, KEYRING
from tests.kit.store.filling import brief, found_in
from tests.kit.store.stand import Stand

RECORDS = ("items", "keys", "scopes")


@pytest.fixture
def old(stand: Stand, tmp_path: Path) -> Old:
    stand.__class__ = Old
    assert isinstance(stand, Old)
    stand.keyring = Keyring.load(old_stores.lay_keyring(1, tmp_path / "keyring"))
    stand.custody = KeyringCustody(stand.keyring, INSTALLATION)
    old_stores.fill(stand.raw, 1, stand.prefix)
    return stand


def test_a_worker_refuses_the_first_layout_and_names_the_command(old: Old) -> None:
    with old.untouched():
        with pytest.raises(SetupError, match="the store is of layout 1") as refused:
            old.store().admit()
        assert refused.value.hint.endswith("and run: kmworker migrate")


def test_what_the_first_layout_announced_is_announced_again_with_the_same_bytes(old: Old) -> None:
    assert old.carry_over() == []
    old.assert_announced_again(1)


def test_each_dek_of_the_first_layout_is_what_it_was(old: Old) -> None:
    old.carry_over()
    old.assert_deks_kept(1)


def test_a_store_that_was_carried_over_has_no_finding(old: Old) -> None:
    old.carry_over()
    assert brief(found_in(old)) == []


def test_nothing_else_changes(old: Old) -> None:
    before = old.contents()
    old.carry_over()
    after = old.contents()
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed <= {
        *(old.key(project, key) for project in PROJECTS for key in RECORDS),
        *(old.secret(project, key) for project in PROJECTS for key in ("deks", "parked")),
        *(old.key(project, "commits") for project in PROJECTS),
        old.key("acme", "clones"),
        old.top("keyring"),
        old.top("layout"),
    }
    assert before.keys() <= after.keys()


def test_key_ids_beside_the_first_of_a_scope_are_counted(old: Old) -> None:
    old.carry_over()
    (counted,) = old.value(old.key("acme", "clones")).values()
    assert counted == b"3"


def test_commits_are_counted_on_and_a_project_that_is_lost_later_is_missed(old: Old) -> None:
    old.carry_over()
    assert int(old.raw.hget(old.top("commits"), "number")) >= 24
    old.store(allow_volatile=False).refuse_if_behind(24)
    old.raw.delete(old.key("acme", "commits"))
    (lost,) = [it for it in brief(found_in(old)) if it[2] == "commits"]
    assert lost == ("commits-lost", "", "commits", "number")


def test_items_without_encryption_say_so_in_two_more_fields(old: Old) -> None:
    before = old.raw.hget(old.key("acme", "items"), "volume:scratch")
    old.carry_over()
    after = old.raw.hget(old.key("acme", "items"), "volume:scratch")
    assert isinstance(before, bytes)
    assert isinstance(after, bytes)
    nulls = b'"project_id":"acme","key_id":null,"scope_id":null,"disposition":"none",'
    assert after[:-63] == before[:-63].replace(b'"project_id":"acme","disposition":"none",', nulls)
    # And so they are what this release would have written.
    data = after[len(b'{"data":') : after.rindex(b',"state":')]
    assert encode_data(decode_data(data)) == data


def test_events_that_waited_are_taken_and_marks_of_the_expired_stay(old: Old) -> None:
    old.carry_over()
    store = old.store()
    store.admit()
    (found,) = store.take([Item("umbrella", Kind.VOLUME, "comes-later")], 9)
    assert isinstance(found, list)
    (taken,) = found
    assert not taken.problem
    assert b'"snapshot_id": "early"' in taken.original.body
    old.clock.sleep(10 * 365 * 86_400)
    (late,) = store.sweep("initech", 9, "").due
    assert late.entry.expired
    assert not late.problem


# --- stopped, repeated, rehearsed -------------------------------------------------------

MORE_TRIPS_THAN_A_RUN_HAS = 200


def test_a_run_that_is_killed_at_any_request_is_finished_by_the_next(old: Old) -> None:
    whole = None
    # On a real server every third: each is a migration of its own.
    stride = 1 if isinstance(old.raw, FakeRedis) else 3
    for at in range(0, MORE_TRIPS_THAN_A_RUN_HAS, stride):
        old.clear()
        old_stores.fill(old.raw, 1, old.prefix)
        tap = old.tap(MIGRATOR)
        left = iter([False] * at + [True])

        def before_trip(_: object, left: Any = left) -> None:
            if next(left, False):
                raise StoreUnavailable("killed")

        tap.before_trip = before_trip
        try:
            old.carry_over(tap)
        except StoreUnavailable:
            if old.raw.exists(old.top("layout")):
                with pytest.raises(SetupError):
                    old.store().admit()
            assert old.carry_over() == []
            assert brief(found_in(old)) == []
        else:
            break
        whole = whole or old.records()
        assert old.records() == whole
    assert whole is not None
    assert at > 20


@pytest.mark.parametrize("at", [3, 9, 15, 20, 30])
def test_two_runs_at_a_time_come_to_one_store(old: Old, at: int) -> None:
    tap, left = old.tap(MIGRATOR), [at]

    def before_trip(_: object) -> None:
        left[0] -= 1
        if left[0] == -1:
            old.carry_over()

    tap.before_trip = before_trip
    # Whoever comes second to the layout itself is told so.
    with suppress(SetupError):
        old.carry_over(tap)
    assert left[0] < 0
    assert old.store().admit() == "/kmworker/layout-1"
    assert brief(found_in(old)) == []


def test_a_run_on_a_store_that_was_carried_over_changes_nothing(old: Old) -> None:
    old.carry_over()
    with old.untouched():
        migration = old.migration()
        migration.begin()
        assert migration.is_done


def test_a_rehearsal_finds_what_a_run_would_and_writes_nothing(old: Old) -> None:
    with old.untouched():
        rehearsal = old.migration(is_rehearsal=True)
        rehearsal.begin()
        carried = sum(step.carried for step in rehearsal.steps())
        rehearsal.finish()
    migration = old.migration()
    migration.begin()
    assert sum(step.carried for step in migration.steps()) == carried == 50


def test_a_record_that_has_changed_since_it_was_read_is_not_written_over(old: Old) -> None:
    key = old.key("acme", "items")
    argv = [1, "volume:db", "what was read", "new", 1, "volume:gone", "what was read", "new"]
    assert Scripts(old.client(MIGRATOR)).run([("carry", [key], argv)]) == [0]
    found = old.value(key)
    assert found[b"volume:db"].startswith(b'{"data"')
    assert b"volume:gone" not in found


# --- what is not authentic --------------------------------------------------------------


def _edit(old: Old, name: str, field: str, before: bytes, after: bytes) -> None:
    record = old.raw.hget(name, field)
    assert before in record
    old.raw.hset(name, field, record.replace(before, after, 1))


def _first(old: Old, name: str) -> str:
    return str(min(old.value(name)), "utf-8")


def _flawed_dek(old: Old) -> Place:
    name = old.secret("globex", "deks")
    field = _first(old, name)
    old.raw.hset(name, field, old.raw.hget(name, field)[:-1] + b"x")
    return Place("globex", "deks", field)


def _flawed(project: str, key: str, before: bytes, after: bytes) -> Callable[[Old], Place]:
    def spoil(old: Old) -> Place:
        name = old.secret(project, key) if key == "parked" else old.key(project, key)
        field = _first(old, name)
        _edit(old, name, field, before, after)
        return Place(project, key, field)

    return spoil


FLAWS: dict[str, Callable[[Old], Place]] = {
    "item": _flawed("globex", "items", b"/fixture", b"/forged!"),
    "key": _flawed("umbrella", "parked", b"snapshot-taken", b"snapshot-faked"),
    "dek": _flawed_dek,
}


@pytest.mark.parametrize("spoil", FLAWS.values(), ids=FLAWS)
def test_what_is_not_authentic_gets_no_new_seal(old: Old, spoil: Callable[[Old], Place]) -> None:
    place = spoil(old)
    (flaw,) = old.carry_over()
    assert flaw.place == place
    assert ("seal-broken" if place.key != "deks" else "dek-broken", *place) in brief(found_in(old))


def test_a_key_id_that_was_put_back_beside_a_scope_minted_anew_is_not_given_its_dek(
    old: Old,
) -> None:
    """Layout 1 could not tell; that they were not made in one step can be seen."""
    project, raw = "swift-eu1", old.raw
    former = FormerCustody(old.keyring, INSTALLATION)
    scope_id = _first(old, old.key(project, "scopes"))
    place = Place(project, "scopes", scope_id)
    untyped: Any = raw
    body = former.check_seal(place, untyped.hget(old.key(project, "scopes"), scope_id))
    later = former._sealer.seal(place, body.replace(b'"created_at":"2026', b'"created_at":"2027'))
    untyped.hset(old.key(project, "scopes"), scope_id, later)
    (flaw,) = old.carry_over()
    assert (flaw.place.project, flaw.place.key) == (project, "keys")
    assert "one of them was put back" in flaw.says


def test_a_store_of_another_keyring_is_not_touched(old: Old) -> None:
    old.keyring = KEYRING
    with old.untouched(), pytest.raises(SetupError, match="which this keyring lacks"):
        old.carry_over()


@pytest.mark.parametrize("gone", ["keyring", "layout"])
def test_records_without_what_says_whose_they_are_are_not_carried_over(old: Old, gone: str) -> None:
    if gone == "layout":
        old.carry_over()
    old.raw.delete(old.top(gone))
    with old.untouched(), pytest.raises(SetupError, match=f"{gone} is missing"):
        old.carry_over()


def test_its_deks_are_counted_as_wraps(old: Old) -> None:
    old.carry_over()
    scopes = sum(len(old.value(old.key(it, "scopes")) or {}) for it in PROJECTS)
    assert scopes
    assert {old.reserved(kek_id) for kek_id in old.keyring.keks} == {scopes}
