"""Everything goes under another KEK, while workers write: nothing is lost, forged or left over."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from kmworker.crypto import Keyring, KeyringCustody
from kmworker.domain.keks import KekStep
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import NoStep
from kmworker.domain.model import Broken, Place
from kmworker.domain.plan import WriteStatus
from kmworker.errors import SetupError, StoreUnavailable
from kmworker.store.admission import enter
from kmworker.store.inspection import Views
from kmworker.store.kek_register import KekRegister
from kmworker.store.layout import LayoutAltered
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec
from kmworker.store.redis_store import RedisStore
from kmworker.store.rewrapping import RewrappedPage, Rewrapping
from kmworker.store.wraps import FIRST_BLOCK
from tests.kit.store.builders import (
    BOTH_KEYRINGS,
    INSTALLATION,
    KEYRING,
    OTHER_KEYRING,
    Drafts,
    draft,
    volume,
)
from tests.kit.store.filling import fill, found_in
from tests.kit.store.stand import Stand
from tests.kit.store.wiretap import Wiretap

OLD, NEW = KEYRING.newest, OTHER_KEYRING.newest
BOTH = Keyring(OLD, BOTH_KEYRINGS.keks)
BY = Operator("test", "a test")
REWRAPPER = "rewrapper"
SEALED = ("items", "keys", "scopes", "outbox")


def custody() -> KeyringCustody:
    """A keyring with both KEKs, the old one active until a store says otherwise."""
    return KeyringCustody(BOTH, INSTALLATION)


@pytest.fixture(autouse=True)
def filled(stand: Stand) -> None:
    """A store with a little of everything, under the old KEK; the new one is active since then."""
    fill(stand)
    turn_over(stand)


def turn_over(stand: Stand) -> None:
    stand.register(KeyringCustody(OTHER_KEYRING, INSTALLATION))
    stand.step_kek(NEW, KekStep.ACTIVATE)


def run_on(stand: Stand, client: Any = None, *, is_rehearsal: bool = False) -> Rewrapping:
    names = Names(stand.prefix)
    views = stand.views(REWRAPPER) if client is None else Views(client, names)
    ours = custody()
    enter(ours, views)
    return Rewrapping(views, ours, is_rehearsal=is_rehearsal)


def rewrap(stand: Stand, client: Any = None) -> list[RewrappedPage]:
    run = run_on(stand, client)
    pages = [page for project in run.projects() for page in run.rewrap(project)]
    run.finish()
    return pages


def projects(stand: Stand) -> list[str]:
    return sorted(name.decode() for name in stand.value(stand.top("projects")))


def records(stand: Stand) -> Iterator[tuple[str, str, bytes, bytes]]:
    """Every sealed record with where it is."""
    for project in projects(stand):
        for key in SEALED:
            for field, raw in (stand.value(stand.key(project, key)) or {}).items():
                yield project, key, field, raw
        for field, raw in (stand.value(stand.secret(project, "parked")) or {}).items():
            yield project, "parked", field, raw
        for at, raw in enumerate(stand.value(stand.key(project, "endings")) or ()):
            yield project, "endings", b"%d" % at, raw


def without_former(raw: bytes) -> bytes:
    """A record but for what it says of KEKs that its DEK is under no more."""
    return re.sub(rb',"former_keks":\[[^]]*\]', b"", raw)


def without_seals(stand: Stand) -> dict[tuple[str, str, bytes], bytes]:
    """What all records say but for the KEK."""
    return {
        (project, key, field): without_former(raw[:-63]).replace(NEW.encode(), OLD.encode())
        for project, key, field, raw in records(stand)
    }


def deks(stand: Stand) -> dict[str, bytes]:
    """Every DEK, by its scope-id."""
    ours = custody()
    found = enter(ours, stand.views("key-operator"))
    assert found.keks.active == NEW
    codec, opened = RecordCodec(ours), {}
    for project in projects(stand):
        scopes = stand.value(stand.key(project, "scopes")) or {}
        for scope_id, blob in (stand.value(stand.secret(project, "deks")) or {}).items():
            name = scope_id.decode()
            scope = codec.read_scope(project, name, scopes[scope_id])
            opened[name] = ours.unwrap(project, scope, blob)
    return opened


def names_of_old(stand: Stand) -> list[tuple[str, str, bytes]]:
    """What is under the old KEK still."""
    return [it[:3] for it in records(stand) if OLD.encode() in without_former(it[3])]


def test_no_dek_no_key_id_and_nothing_announced_changes(stand: Stand) -> None:
    before, keys = without_seals(stand), deks(stand)
    assert len(names_of_old(stand)) == len(before)
    pages = rewrap(stand)
    assert sum(page.rewrapped for page in pages) == len(before)
    assert not [flaw for page in pages for flaw in page.flaws]
    assert names_of_old(stand) == []
    assert (without_seals(stand), deks(stand)) == (before, keys)
    assert f".{NEW}." in stand.value(stand.top("layout"))[b"seal"].decode()
    stand.custody = KeyringCustody(OTHER_KEYRING, INSTALLATION)
    assert found_in(stand) == []


def test_what_is_wrapped_anew_is_reserved_before_and_counted_in_its_project(stand: Stand) -> None:
    list(run_on(stand, is_rehearsal=True).rewrap("p1"))
    assert stand.reserved(NEW) == 0
    rewrap(stand)
    for project in projects(stand):
        deks_there = stand.raw.hlen(stand.secret(project, "deks"))
        assert stand.wraps(project, NEW) == deks_there
    assert stand.reserved(NEW) == FIRST_BLOCK
    # Nothing is wrapped by who finds it done.
    rewrap(stand)
    assert stand.reserved(NEW) == FIRST_BLOCK


def test_a_worker_without_the_old_kek_goes_on_when_all_is_rewrapped_and_retired(
    stand: Stand,
) -> None:
    rewrap(stand)
    stand.step_kek(OLD, KekStep.RETIRE)
    newcomer = stand.store(custody=KeyringCustody(OTHER_KEYRING, INSTALLATION))
    newcomer.admit()
    (known,) = newcomer.look_up([volume("v1")]).result().values()
    assert not isinstance(known, Broken)


def test_it_can_be_run_again_and_does_nothing_then(stand: Stand) -> None:
    rewrap(stand)
    with stand.untouched():
        assert sum(page.rewrapped for page in rewrap(stand)) == 0


def test_a_rehearsal_writes_nothing(stand: Stand) -> None:
    run = run_on(stand, is_rehearsal=True)
    with stand.untouched():
        made = [page.rewrapped for it in run.projects() for page in run.rewrap(it)]
        run.finish()
    assert sum(made) == len(names_of_old(stand))


def test_killed_at_each_request_it_goes_on(stand: Stand) -> None:
    before, keys = without_seals(stand), deks(stand)
    for at in range(10_000):
        tap = stand.tap(REWRAPPER)
        if _is_whole(stand, tap, at):
            break
    assert at > 10
    assert names_of_old(stand) == []
    assert (without_seals(stand), deks(stand)) == (before, keys)


def _is_whole(stand: Stand, tap: Wiretap, at: int) -> bool:
    """Rewrap until the request of this number; return whether that was the end."""
    left = iter(range(at + 1))

    def cut(_commands: object) -> None:
        if next(left, None) is None:
            raise redis.ConnectionError

    tap.before_trip = cut
    try:
        rewrap(stand, tap)
    except StoreUnavailable:
        return False
    return True


def test_two_at_once_rewrap_each_record_once(stand: Stand) -> None:
    number = len(names_of_old(stand))
    one, other = run_on(stand), run_on(stand)
    made = 0
    for project in one.projects():
        assert one.take(project, "one")
        assert not other.take(project, "other")
        for page, beside in zip(one.rewrap(project), other.rewrap(project), strict=True):
            made += page.rewrapped + beside.rewrapped
    assert made == number
    assert names_of_old(stand) == []


def sleeper(stand: Stand) -> RedisStore:
    """A worker's store that has taken up nothing since the old KEK was active."""
    store = stand.store(custody=custody())
    ours = store._admission._custody
    store.admit()
    store.look_up([volume("v1")]).result()
    assert isinstance(ours, KeyringCustody)
    ours.use(OLD, {OLD, NEW}, 1)
    store._admission._states = "of then"
    return store


@pytest.mark.parametrize("project", ["p1", "born-later"])
def test_a_writer_that_slept_writes_nothing_under_the_old_kek(stand: Stand, project: str) -> None:
    store = sleeper(stand)
    if project == "born-later":
        # It had come as far as to list the project.
        stand.raw.sadd(stand.top("projects"), project)
        store._admission.history.listed([project])
    rewrap(stand)
    stand.step_kek(OLD, KekStep.RETIRE)
    (result,) = store.commit([Drafts(OLD).create(volume("late", project))]).result()
    assert result.status is WriteStatus.STALE
    assert names_of_old(stand) == []
    # It has taken up which KEK is active, and plans again.
    (result,) = store.commit([Drafts(NEW).create(volume("late", project))]).result()
    assert result.status is WriteStatus.WRITTEN
    assert names_of_old(stand) == []


def test_who_lists_a_project_after_that_takes_up_which_kek_is_active(stand: Stand) -> None:
    store = sleeper(stand)
    rewrap(stand)
    (result,) = store.commit([Drafts(OLD).create(volume("late", "born-later"))]).result()
    assert result.status is WriteStatus.STALE
    (result,) = store.commit([Drafts(NEW).create(volume("late", "born-later"))]).result()
    assert result.status is WriteStatus.WRITTEN


def test_a_forged_record_is_not_laundered(stand: Stand) -> None:
    key = stand.key("p1", "items")
    forged = stand.value(key)[b"volume:v1"].replace(b'"rule":"', b'"rule":"x')
    stand.raw.hset(key, "volume:v1", forged)
    (flaw,) = [flaw for page in rewrap(stand) for flaw in page.flaws]
    assert flaw.place == Place("p1", "items", "volume:v1")
    assert stand.value(key)[b"volume:v1"] == forged
    (named,) = [it for page in run_on(stand).references("p1", OLD) for it in page]
    assert named == (flaw.place, False)


def test_a_scope_and_its_dek_go_together_or_stay(stand: Stand) -> None:
    scope_id = str(stand.known(volume("v1")).assignment.scope_id)
    blob = stand.secret("p1", "deks")
    stand.raw.hset(blob, scope_id, b"\x02" + bytes(92))
    flaws = [flaw for page in rewrap(stand) for flaw in page.flaws]
    assert [it.place for it in flaws] == [Place("p1", "scopes", scope_id)]
    assert OLD.encode() in stand.value(stand.key("p1", "scopes"))[scope_id.encode()]


def test_what_is_not_fenced_is_not_counted(stand: Stand) -> None:
    with pytest.raises(StoreUnavailable, match="not rewrapped yet"):
        list(run_on(stand).references("p1", OLD))


def test_what_is_under_a_retired_kek_is_forged(stand: Stand) -> None:
    store = stand.store(custody=custody())
    store.admit()
    old = stand.value(stand.key("p1", "items"))[b"volume:v1"]
    rewrap(stand)
    stand.step_kek(OLD, KekStep.RETIRE)
    store.follow_keyring()
    stand.raw.hset(stand.key("p1", "items"), "volume:v1", old)
    (known,) = store.look_up([volume("v1")]).result().values()
    assert isinstance(known, Broken)
    assert "it is forged" in known.detail


def test_a_layout_under_a_retired_kek_is_not_believed(stand: Stand) -> None:
    before = stand.value(stand.top("layout"))
    rewrap(stand)
    stand.step_kek(OLD, KekStep.RETIRE)
    stand.store(custody=custody()).admit()
    stand.raw.hset(stand.top("layout"), mapping=before)
    with pytest.raises(LayoutAltered, match="and nothing may be any more"):
        stand.store(custody=custody()).admit()
    with pytest.raises(LayoutAltered, match="and nothing may be any more"):
        enter(custody(), stand.views("key-operator"))
    stand.custody = custody()
    assert [(it.problem, it.place.key) for it in found_in(stand)] == [("layout-wrong", "layout")]


def test_older_states_of_keks_put_back_are_noticed(stand: Stand) -> None:
    store = stand.store(custody=custody())
    store.admit()
    rewrap(stand)
    before = stand.value(stand.top("keyring"))
    stand.step_kek(OLD, KekStep.RETIRE)
    store.follow_keyring()
    stand.raw.hset(stand.top("keyring"), mapping=before)
    with pytest.raises(SetupError, match="says less of KEKs than it did"):
        store.follow_keyring()


def test_states_from_before_the_fence_stop_whoever_starts_then(stand: Stand) -> None:
    before = stand.value(stand.top("keyring"))
    rewrap(stand)
    stand.step_kek(OLD, KekStep.ACTIVATE)
    rewrap_under_old = run_on(stand)
    for project in rewrap_under_old.projects():
        list(rewrap_under_old.rewrap(project))
    stand.raw.hset(stand.top("keyring"), mapping=before)
    store = stand.store(custody=custody())
    store.admit()
    with pytest.raises(StoreUnavailable, match="somebody has put an older one back"):
        store.commit([Drafts(NEW).create(volume("late"))]).result()


def test_of_two_key_operators_at_once_one_is_first(stand: Stand) -> None:
    rewrap(stand)
    views = stand.views("key-operator")
    register = KekRegister(views, custody())
    assert isinstance(register.step(NEW, KekStep.ACTIVATE, BY), NoStep)
    assert not isinstance(register.step(OLD, KekStep.RETIRE, BY), NoStep)
    assert isinstance(register.step(OLD, KekStep.ACTIVATE, BY), NoStep)


def test_a_store_that_nobody_turned_over_is_not_fenced(stand: Stand) -> None:
    stand.clear()
    stand.store().admit()
    stand.commit(draft.none(volume("v1")))
    assert stand.value(stand.key("p1", "fence")) is None
