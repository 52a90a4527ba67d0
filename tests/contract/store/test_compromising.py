"""A KEK leaks: every DEK that was ever under it counts as compromised, and no other."""

import json
from typing import Any

import pytest
import redis

from kmworker.crypto import KeyringCustody
from kmworker.domain.keks import KekStep
from kmworker.domain.keys import KeyState, Operator
from kmworker.domain.model import Held
from kmworker.domain.plan import WriteStatus
from kmworker.errors import StoreUnavailable
from kmworker.store.admission import enter
from kmworker.store.compromising import Compromising, Marked
from kmworker.store.inspection import Views
from kmworker.store.names import Names
from kmworker.store.records import RecordCodec
from kmworker.store.redis_store import RedisStore
from kmworker.store.rewrapping import Rewrapping
from tests.kit.store.builders import (
    BOTH_KEYRINGS,
    INSTALLATION,
    KEYRING,
    OTHER_KEYRING,
    Drafts,
    volume,
)
from tests.kit.store.filling import fill
from tests.kit.store.stand import Stand

OLD, NEW = KEYRING.newest, OTHER_KEYRING.newest
BY = Operator("alice", "backup lost")
OPERATOR = "key-operator"


@pytest.fixture(autouse=True)
def filled(stand: Stand) -> None:
    """A little of everything under the old KEK; since then another is active."""
    fill(stand)
    stand.register(KeyringCustody(OTHER_KEYRING, INSTALLATION))
    stand.step_kek(NEW, KekStep.ACTIVATE)


def entered(views: Views) -> KeyringCustody:
    ours = KeyringCustody(BOTH_KEYRINGS, INSTALLATION)
    enter(ours, views)
    return ours


def run_on(stand: Stand, client: Any = None) -> Compromising:
    views = stand.views(OPERATOR) if client is None else Views(client, Names(stand.prefix))
    return Compromising(views, RecordCodec(entered(views)), BY)


def admitted(stand: Stand) -> RedisStore:
    """A worker's store that writes under the new KEK."""
    store = stand.store(custody=KeyringCustody(BOTH_KEYRINGS, INSTALLATION))
    store.admit()
    return store


def leak(stand: Stand, client: Any = None, kek_id: str = OLD) -> list[Marked]:
    run = run_on(stand, client)
    pages: list[Marked] = []
    for project in run.projects():
        run.fence(project)
        pages += [*run.scopes_under(project, kek_id), *run.keys(project)]
    return pages


def rewrap(stand: Stand) -> None:
    views = stand.views("rewrapper")
    run = Rewrapping(views, entered(views))
    for project in run.projects():
        list(run.rewrap(project))
    run.finish()


def table(stand: Stand, key: str) -> dict[str, dict[str, Any]]:
    """All records of one kind, in all projects."""
    found: dict[str, dict[str, Any]] = {}
    for name in stand.value(stand.top("projects")):
        raw = stand.value(stand.key(name.decode(), key)) or {}
        found |= {f"{name.decode()} {it.decode()}": json.loads(raw[it]) for it in raw}
    return found


def unmarked(stand: Stand) -> set[str]:
    """What is not compromised, of scopes that have a DEK and their key-ids."""
    scopes = {it: of for it, of in table(stand, "scopes").items() if "destroyed_at" not in of}
    left = {it for it, scope in scopes.items() if "compromised" not in scope}
    for name, key in table(stand, "keys").items():
        scope = f"{name.split()[0]} {key['scope_id']}"
        is_marked = key["state"] in {"compromised", "destroyed"} or key.get("compromised")
        if scope in scopes and not is_marked:
            left.add(name)
    return left


def test_each_scope_under_it_is_compromised_with_its_key_ids(stand: Stand) -> None:
    before = unmarked(stand)
    pages = leak(stand)
    assert unmarked(stand) == set()
    assert sum(page.marked for page in pages) >= len(before) > 4
    marked = [it["compromised"] for it in table(stand, "scopes").values() if "compromised" in it]
    assert {"backup lost"} < {it["reason"] for it in marked}
    assert not [flaw for page in pages for flaw in page.flaws]


def test_what_was_rewrapped_away_from_it_is_compromised_too(stand: Stand) -> None:
    rewrap(stand)
    stand.step_kek(OLD, KekStep.RETIRE)
    leak(stand)
    assert unmarked(stand) == set()


def test_what_was_never_under_it_is_not(stand: Stand) -> None:
    rewrap(stand)
    before = table(stand, "scopes").keys() | table(stand, "keys").keys()
    store = admitted(stand)
    # By its name alone it could be taken for one of those.
    (result,) = store.commit([Drafts(NEW).create(volume(OLD))]).result()
    assert result.status is WriteStatus.WRITTEN
    young = (table(stand, "scopes").keys() | table(stand, "keys").keys()) - before
    leak(stand)
    assert unmarked(stand) == young
    assert len(young) == 2


def test_a_copy_is_told_apart_by_what_its_dek_was_under(stand: Stand) -> None:
    hit = {it.ref for _, page in run_on(stand).hits("p1", OLD) for it in page}
    rewrap(stand)
    assert {it.ref for _, page in run_on(stand).hits("p1", OLD) for it in page} == hit
    assert "volume:v1" in hit
    exposed = {scope["kek_id"] for scope in table(stand, "scopes").values()}
    assert exposed == {NEW}


def test_run_again_it_changes_nothing(stand: Stand) -> None:
    leak(stand)
    with stand.untouched():
        assert sum(page.marked for page in leak(stand)) == 0


def test_killed_at_each_request_it_goes_on(stand: Stand) -> None:
    for at in range(10_000):
        left = iter(range(at + 1))

        def cut(_commands: object, left: Any = left) -> None:
            if next(left, None) is None:
                raise redis.ConnectionError

        tap = stand.tap(OPERATOR)
        tap.before_trip = cut
        try:
            leak(stand, tap)
        except StoreUnavailable:
            continue
        break
    assert at > 10
    assert unmarked(stand) == set()


def test_a_writer_that_slept_writes_no_scope_under_it_that_is_missed(stand: Stand) -> None:
    store = admitted(stand)
    store.look_up([volume("v1")]).result()
    store.commit([Drafts(NEW).create(volume("early"))]).result()
    ours = store._admission._custody
    assert isinstance(ours, KeyringCustody)
    ours.use(OLD, {OLD, NEW}, 1)
    store._admission._states = "of then"
    leak(stand)
    (result,) = store.commit([Drafts(OLD).create(volume("late"))]).result()
    assert result.status is WriteStatus.STALE


def test_one_damaged_record_keeps_no_other_from_being_marked(stand: Stand) -> None:
    held = stand.known(volume("v1"))
    key_id = str(held.assignment.key_id)
    raw = stand.value(stand.key("p1", "keys"))[key_id.encode()]
    stand.raw.hset(stand.key("p1", "keys"), key_id, raw.replace(b'"version":', b'"version":1'))
    (flaw,) = [flaw for page in leak(stand) for flaw in page.flaws]
    assert flaw.place.field == key_id
    assert unmarked(stand) <= {f"p1 {key_id}"}


def test_workers_see_it_at_once(stand: Stand) -> None:
    leak(stand)
    (known,) = admitted(stand).look_up([volume("v1")]).result().values()
    assert isinstance(known, Held)
    assert known.key_state is KeyState.COMPROMISED


def test_another_kek_that_became_active_meanwhile_ends_it(stand: Stand) -> None:
    run = run_on(stand)
    stand.step_kek(OLD, KekStep.ACTIVATE)
    again = run_on(stand)
    for project in again.projects():
        again.fence(project)
    with pytest.raises(StoreUnavailable, match="another KEK is active since this began"):
        run.fence("p1")
