"""What happens while a store is checked: workers write, others spoil, keys are of no use."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from kmworker.errors import NotFound, SetupError
from kmworker.store.names import Names
from kmworker.store.reading import TYPES, StoreReader
from kmworker.store.records import RecordCodec
from kmworker.verify.repair import Repairer
from kmworker.verify.rules.findings import Finding, Problem
from kmworker.verify.scan import counters
from kmworker.verify.scan.position import Position
from tests.contract.verify.between import READS, before_each
from tests.contract.verify.damages import Scene
from tests.kit.store.backends import ServerBackend
from tests.kit.store.builders import OTHER_CUSTODY
from tests.kit.store.filling import (
    audit_of,
    brief,
    found_in,
    handle,
    repaired,
    snapshot,
    volume,
    volumes,
)
from tests.kit.store.stand import Stand, take

COUNTED_FROM = 8
"""So many scans come before those that count: of records, and of the indexes over them."""


def test_what_is_written_between_any_two_reads_is_no_finding(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand, store = scene.stand, scene.stand.store()

    def work(number: int) -> None:
        name = f"n{number}"
        handle(
            stand,
            volume(name),
            snapshot(f"{name}s", name),
            volume(f"{name}c", source=f"snapshot:{name}s"),
            snapshot(f"{name}t", "v1"),
            snapshot(f"{name}w", f"n{number + 2}"),
            store=store,
        )
        # Those whose source has come are taken, assigned and removed.
        (parked,) = store.look_up([volume(name).event.item]).result()
        for taken in take(store, parked, 9):
            handle(stand, snapshot(f"{name}late", name), store=store)
            store.remove([taken.entry])

    before_each(monkeypatch, READS, work)
    assert found_in(stand) == []
    monkeypatch.undo()
    assert len(stand.value(stand.key("p1", "items"))) > 100
    assert found_in(stand) == []


def test_a_rewrap_between_two_reads_is_no_finding(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is read, then record and DEK are replaced in one step, then the DEK is read."""
    scope_id = scene.scope_id("volume:v4")
    scopes, deks = scene.open("scopes"), scene.secret("deks")
    old = scene.raw.hget(scopes, scope_id), scene.raw.hget(deks, scope_id)
    scene.reseal("scopes", scope_id, created_at="2026-12-24T00:00:00.000Z", dek_id="d")
    scope = RecordCodec(scene.stand.custody).read_scope(
        "p1", scope_id, scene.raw.hget(scopes, scope_id)
    )
    new = scene.raw.hget(scopes, scope_id), scene.stand.custody.mint("p1", scope)

    def put(record: bytes, dek: bytes) -> None:
        with scene.raw.pipeline(transaction=True) as pipeline:
            pipeline.hset(scopes, scope_id, record)
            pipeline.hset(deks, scope_id, dek)
            pipeline.execute()

    put(*old)
    # Every other read finds another pair.
    before_each(monkeypatch, ("scan", "fetch"), lambda number: put(*(old if number % 2 else new)))
    assert found_in(scene.stand) == []


@pytest.mark.parametrize("rests", [True, False], ids=["rests", "never rests"])
def test_a_wrong_counter_that_moves_is_counted_again_and_repaired_if_it_rests(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, rests: bool
) -> None:
    stand, store = scene.stand, scene.stand.store()
    scene.raw.hincrby(scene.open("stats"), "create", 1_000)

    def work(number: int) -> None:
        # Until the first count is over.
        if not rests or number < COUNTED_FROM + 3:
            handle(stand, volume(f"n{number}"), store=store)

    before_each(monkeypatch, ("scan",), work)
    found, done = repaired(stand)
    assert brief(found) == [("stats-wrong", "p1", "stats", "create")]
    assert done == (set(found) if rests else set())
    assert not rests or found_in(stand) == []


def test_a_counter_off_by_less_than_what_comes_meanwhile_shows_in_the_sum(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand, store = scene.stand, scene.stand.store()
    scene.raw.hincrby(scene.open("stats"), "create", 1)
    before_each(
        monkeypatch,
        ("scan",),
        lambda number: handle(stand, *volumes([f"n{number}", f"m{number}"]), store=store),
    )
    assert brief(found_in(stand)) == [("stats-wrong", "p1", "stats", "create+clone+reuse+none")]


def test_what_a_repair_was_concluded_from_must_still_be_so(scene: Scene) -> None:
    """Each kind of repair is made late, when something else is there."""
    raw, stand = scene.raw, scene.stand
    entry = scene.entry("volume:hoping")
    raw.zrem(scene.open("lineage"), scene.member("volume:v2"))
    raw.zadd(scene.open("lineage"), {"s volume:x": 0})
    raw.hset(scene.open("stats"), "none", "x")
    raw.hincrby(scene.open("holders"), scene.key_id("volume:v1"), 1)
    raw.hdel(scene.open("waiting"), entry)
    raw.zadd(scene.open("waiting:sources"), {"volume:v77 e": 0})
    found = found_in(stand)
    assert len(found) == 6
    raw.hset(scene.open("items"), "volume:v2", "another")
    raw.hset(scene.open("items"), "volume:x", "another")
    raw.hincrby(scene.open("holders"), scene.key_id("volume:v1"), 1)
    raw.hset(scene.secret("parked"), entry, "another")
    raw.hset(scene.secret("parked"), "e", "another")
    with stand.untouched():
        assert Repairer(stand.client("repairer"), Names(stand.prefix)).repair(found) == set()


def test_a_repair_is_idempotent(scene: Scene) -> None:
    scene.raw.delete(scene.open("lineage"), scene.open("stats"), scene.open("holders"))
    repairer = Repairer(scene.stand.client("repairer"), Names(scene.stand.prefix))
    found = found_in(scene.stand)
    assert repairer.repair(found) == set(found)
    with scene.stand.untouched():
        repairer.repair(found)


def test_nothing_is_repaired_that_rests_on_a_broken_seal(scene: Scene) -> None:
    scene.forge("items", "volume:v2", b'"node":null', b'"node":"me"')
    scene.raw.delete(scene.open("lineage"), scene.open("stats"), scene.open("holders"))
    _found, done = repaired(scene.stand)
    restored = scene.stand.value(scene.open("lineage"))
    assert restored
    assert not [member for member in restored if member.endswith(b" volume:v2")]
    # Of the counters nobody knows what is right, but for that of waiting events.
    assert {finding.place.field for finding in done if finding.place.key != "lineage"} == {
        "waiting"
    }


# --- keys that are not what they should be ----------------------------------------------


@pytest.mark.parametrize("key", TYPES)
def test_a_key_of_the_wrong_type_is_one_finding_and_the_rest_is_checked(
    scene: Scene, key: str
) -> None:
    secret = key in {"deks", "parked", "expired"}
    scene.stand.spoil(scene.secret(key) if secret else scene.open(key))
    scene.raw.hset(scene.open("stats", "p2"), "clone", 5)
    found = brief(found_in(scene.stand))
    assert ("wrong-type", "p1", key, "") in found
    assert ("stats-wrong", "p2", "stats", "clone") in found
    # Nothing is said of what could not be read; sources in this project are what it is for p2.
    others = {problem for problem, project, *_ in found if project == "p1"} - {"wrong-type"}
    assert others == set()
    repaired(scene.stand)


@pytest.mark.parametrize("key", ["projects", "layout", "keyring", "totals"])
def test_a_common_key_of_the_wrong_type_is_found(scene: Scene, key: str) -> None:
    scene.stand.spoil(scene.stand.top(key))
    found = brief(found_in(scene.stand))
    assert found[-1] == ("wrong-type", "", key, "")
    # Without the list every project is unlisted; their keys are found and checked.
    assert len(found) == (5 if key == "projects" else 1)


def test_a_repair_beside_a_key_of_the_wrong_type_repairs_nothing_there(scene: Scene) -> None:
    scene.stand.spoil(scene.open("holders"))
    scene.raw.zadd(scene.open("lineage"), {"s volume:x": 0})
    found, done = repaired(scene.stand)
    assert brief(found) == [
        ("lineage-wrong", "p1", "lineage", "s volume:x"),
        ("wrong-type", "p1", "holders", ""),
    ]
    assert done == set()


# --- what belongs to no project ---------------------------------------------------------


def test_a_name_that_no_project_has_is_found(scene: Scene) -> None:
    scene.raw.sadd(scene.stand.top("projects"), "no project", "{p}:items")
    assert brief(found_in(scene.stand)) == [
        ("project-name", "", "projects", "no project"),
        ("project-name", "", "projects", "{p}:items"),
    ]


def test_an_unlisted_project_without_a_sound_record_is_not_listed(scene: Scene) -> None:
    scene.raw.hset(scene.open("stats", "p9"), "create", 1)
    found, done = repaired(scene.stand)
    assert brief(found)[0] == ("project-unlisted", "p9", "projects", "p9")
    assert Problem.PROJECT_UNLISTED not in {finding.problem for finding in done}


def test_keys_of_another_prefix_are_another_installations(scene: Scene) -> None:
    other = f"{scene.stand.prefix}x:{{p9}}:items"
    scene.raw.hset(other, "volume:v1", "{}")
    assert found_in(scene.stand) == []


KEYRING: dict[str, tuple[Callable[[Any, str], Any], str]] = {
    "a check value": (lambda raw, key: raw.hset(key, next(_checks(raw, key)), "0"), "check:"),
    "the source": (lambda raw, key: raw.hdel(key, "source"), "source"),
    "the ids": (lambda raw, key: raw.hset(key, "kek_ids", "x"), "kek_ids"),
    "the check values": (lambda raw, key: raw.hdel(key, *_checks(raw, key)), ""),
    "all": (lambda raw, key: raw.delete(key), ""),
}


def _checks(raw: Any, key: str) -> Iterator[bytes]:
    return (name for name in raw.hgetall(key) if name.startswith(b"check:"))


@pytest.mark.parametrize(("spoil", "field"), KEYRING.values(), ids=KEYRING)
def test_a_keyring_hash_that_was_written_to_is_found(
    scene: Scene, spoil: Callable[[Any, str], Any], field: str
) -> None:
    spoil(scene.raw, scene.stand.top("keyring"))
    found = brief(found_in(scene.stand))
    # Its check values depend on the source.
    assert {problem for problem, *_ in found} == {"keyring-wrong"}
    assert any(it[3].startswith(field) for it in found)


LAYOUT: dict[str, Callable[[Any, str], Any]] = {
    "the installation": lambda raw, key: raw.hset(key, "installation", "x"),
    "the seal": lambda raw, key: raw.hdel(key, "seal"),
    "all": lambda raw, key: raw.delete(key),
}


@pytest.mark.parametrize("spoil", LAYOUT.values(), ids=LAYOUT)
def test_a_layout_that_was_written_to_is_the_one_finding(
    scene: Scene, spoil: Callable[[Any, str], Any]
) -> None:
    """Which seals there should be is not known then: nothing is said of records."""
    spoil(scene.raw, scene.stand.top("layout"))
    assert brief(found_in(scene.stand)) == [("layout-wrong", "", "layout", "")]
    assert repaired(scene.stand)[1] == set()


def test_records_without_layout_keyring_and_list_are_noticed(scene: Scene) -> None:
    scene.raw.delete(*map(scene.stand.top, ("layout", "keyring", "projects")))
    assert brief(found_in(scene.stand)) == [("layout-wrong", "", "layout", "")]


def test_a_store_of_another_keyring_is_refused(scene: Scene) -> None:
    scene.stand.clear()
    scene.stand.store(custody=OTHER_CUSTODY).admit()
    with pytest.raises(SetupError, match="which this keyring lacks"):
        audit_of(scene.stand).begin()


@pytest.mark.parametrize("said", [b"1000", b"many"])
def test_totals_that_say_more_than_there_is_are_found(scene: Scene, said: bytes) -> None:
    scene.raw.hset(scene.stand.top("totals"), "scopes", said)
    assert brief(found_in(scene.stand)) == [("totals-wrong", "", "totals", "scopes")]


def test_totals_that_lag_behind_are_no_finding(scene: Scene) -> None:
    scene.raw.hset(scene.stand.top("totals"), "scopes", 1)
    assert found_in(scene.stand) == []


def test_a_lost_item_shows_in_the_totals_where_nothing_was_released(stand: Stand) -> None:
    stand.store().admit()
    handle(stand, *volumes(["v1", "v2"]))
    totals = dict.fromkeys(("items", "keys", "scopes"), 2)
    stand.raw.hset(stand.top("totals"), mapping=totals)
    assert found_in(stand) == []
    stand.raw.hdel(stand.key("p1", "items"), "volume:v2")
    assert ("totals-wrong", "", "totals", "items") in brief(found_in(stand))


@pytest.mark.parametrize("key", ["stats", "lineage"])
def test_of_a_source_nothing_is_concluded_from_a_key_of_the_wrong_type(
    scene: Scene, key: str
) -> None:
    scene.lose(scene.open("items"), "snapshot:s1")
    assert ("item-missing", "p1", "items", "snapshot:s1") in brief(found_in(scene.stand, "p2"))
    scene.stand.spoil(scene.open(key))
    assert found_in(scene.stand, "p2") == []


# --- parts of a store -------------------------------------------------------------------


def test_a_project_alone_is_checked_without_the_others(scene: Scene) -> None:
    scene.raw.hset(scene.open("stats", "p2"), "clone", 5)
    scene.raw.hset(scene.stand.top("totals"), "items", 1000)
    assert found_in(scene.stand, "p1") == []
    assert brief(found_in(scene.stand, "p2")) == [("stats-wrong", "p2", "stats", "clone")]
    with pytest.raises(NotFound, match="no project p7"):
        found_in(scene.stand, "p7")


def test_a_cursor_is_good_for_the_server_process_that_gave_it(scene: Scene) -> None:
    if not isinstance(scene.stand._backend, ServerBackend):
        # fakeredis has no processes, so it never goes on within a stage.
        start = Position("p1", "keys", 7, "")
    else:
        start = Position("p1", "keys", 7, "another")
    audit = audit_of(scene.stand)
    audit.begin(start)
    assert audit.position is not None
    assert audit.position.cursor == 0
    audit.begin(audit.position._replace(cursor=7))
    assert audit.position.cursor == (7 if audit.position.run_id else 0)


def test_everything_is_asked_for_in_pages(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """No request may hold up the workers, however many items one project has."""
    handle(scene.stand, *volumes(f"n{number}" for number in range(700)))
    scene.raw.delete(scene.open("holders"))
    largest = 0
    ask = StoreReader._ask

    def noted(reader: StoreReader, project: str, questions: Any, *, atomic: bool) -> Any:
        nonlocal largest
        largest = max([largest, *(len(names) for _key, names in questions)])
        return ask(reader, project, questions, atomic=atomic)

    monkeypatch.setattr(StoreReader, "_ask", noted)
    monkeypatch.setattr(counters, "SLICE_ITEMS", 300)
    found: list[Finding] = found_in(scene.stand)
    assert len(found) > 700
    # A scan gives a little more than it was asked for.
    assert 200 < largest < 1_000


def test_a_user_who_may_not_list_keys_is_told_so_and_checks_what_is_listed(scene: Scene) -> None:
    def refuse(*_arguments: object, **_named: object) -> None:
        raise NoPermissionError

    scene.raw.srem(scene.stand.top("projects"), "p2")
    client: Any = scene.stand.client("key-operator")
    client.scan_iter = client.info = refuse
    audit = audit_of(scene.stand, client=client)
    audit.begin()
    assert not audit.sees_unlisted
    assert [finding for _n, findings in audit.steps() for finding in findings] == []
