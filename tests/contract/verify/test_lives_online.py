"""Keys' lives that go on while they are checked, and repairs that come too late."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kmworker.domain.lifecycle import Step
from kmworker.domain.model import Disposition
from kmworker.store.names import Names
from kmworker.store.reading import StoreReader
from kmworker.verify.repair import Repairer
from tests.contract.verify.between import READS, before_each
from tests.contract.verify.damages import Scene
from tests.contract.verify.damages_to_lives import BACK, HELD, LEAKED, LEFT, PLAIN, redue, rekey
from tests.kit.builders import event_of, release_of
from tests.kit.store.filling import (
    LIVES,
    after_30_days,
    brief,
    change_key,
    found_in,
    of_life,
    repaired,
    tidy,
)
from tests.kit.store.playing import DAYS_30_S, play
from tests.kit.store.stand import Stand

CLONE = Disposition.CLONE


def a_week_of(stand: Stand, number: int) -> None:
    """Let items come, join, and go, keys be stopped and end, and what is gone be forgotten."""
    new, copy = of_life(f"n{number}"), of_life(f"n{number}-copy")
    play(stand, event_of(new), event_of(of_life("x", "snapshot"), new))
    play(stand, event_of(copy, new, requested=CLONE))
    play(stand, release_of(new), event_of(of_life(f"u{number}", "snapshot"), copy))
    if number % 3 == 0:
        change_key(stand, copy, Step.SUSPEND)
        change_key(stand, copy, Step.RESUME)
    play(stand, release_of(copy), release_of(of_life(f"unknown{number}")))
    if number % 2:
        change_key(stand, new, Step.RESTORE)
    if number > 2:
        former = of_life(f"n{number - 2}")
        play(stand, event_of(of_life(f"late{number - 2}", "snapshot"), former))
    if number > 4:
        play(stand, release_of(of_life(f"late{number - 4}", "snapshot")))
        play(stand, release_of(of_life(f"u{number - 4}", "snapshot")))
    stand.clock.sleep(DAYS_30_S / 4)
    tidy(stand)


def test_lives_that_go_on_between_any_two_reads_are_no_finding(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = scene.stand
    before_each(monkeypatch, READS, lambda number: a_week_of(stand, number))
    assert found_in(stand, LIVES) == []
    monkeypatch.undo()
    stats = stand.value(stand.key(LIVES, "stats"))
    assert int(stats[b"create_forgotten"]) > 10
    assert found_in(stand) == []


def scanning(
    monkeypatch: pytest.MonkeyPatch, key: str, act: Callable[[], object], *unseen: bytes
) -> None:
    """Do something before a key is first read from end to end, which misses what comes then."""
    original, acts = StoreReader.all, iter([act])

    def all_(reader: StoreReader, project: str, name: str) -> Iterator[list[Any]]:
        if name == key:
            next(acts, lambda: None)()
        for page in original(reader, project, name):
            yield [it for it in page if it[0] not in unseen]

    monkeypatch.setattr(StoreReader, "all", all_)


def test_a_holder_that_another_took_over_from_behind_the_scan_is_no_finding(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count sees neither, and the key-id's record has not changed."""
    stand, joiner = scene.stand, of_life("joiner", "snapshot")

    def take_over() -> None:
        play(stand, event_of(joiner, of_life("held")))
        play(stand, release_of(of_life("held")))

    scanning(monkeypatch, "items", take_over, joiner.ref.encode())
    problems = {problem for problem, *_ in brief(found_in(stand, LIVES))}
    assert "key-unused" not in problems


def test_what_joins_a_key_id_behind_the_scan_is_no_finding(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand, joiner = scene.stand, of_life("joiner", "snapshot")
    act = lambda: play(stand, event_of(joiner, of_life("left")))  # noqa: E731
    scanning(monkeypatch, "items", act, joiner.ref.encode())
    problems = {problem for problem, *_ in brief(found_in(stand, LIVES))}
    assert "key-unused" not in problems


def test_a_key_id_that_nobody_holds_is_found_however_much_is_released(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand, key_id = scene.stand, scene.key_id(LEFT, LIVES)
    scene.raw.zrem(scene.open("keys:due", LIVES), key_id)
    rekey(scene, LEFT, state="active", destroy_at=None)
    before_each(monkeypatch, READS, lambda number: a_week_of(stand, number))
    assert brief(found_in(stand, LIVES)) == [("key-unused", LIVES, "keys", key_id)]


def test_a_restoration_that_has_ended_waits_for_the_janitor(scene: Scene) -> None:
    after_30_days(scene.stand)
    assert found_in(scene.stand, LIVES) == []


def test_a_restoration_that_has_ended_of_what_is_held_may_have_left_the_index(
    scene: Scene,
) -> None:
    play(scene.stand, event_of(of_life("joiner", "snapshot"), of_life("back")))
    after_30_days(scene.stand)
    assert found_in(scene.stand, LIVES) == []
    tidy(scene.stand)
    assert scene.raw.zscore(scene.open("keys:due", LIVES), scene.key_id(BACK, LIVES)) is None
    assert found_in(scene.stand, LIVES) == []


def test_a_clone_and_an_end_behind_the_scan_are_no_finding(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counter says what it said before, and the count is one less."""
    stand, root, copy, new = scene.stand, *map(of_life, ("a", "b", "c"))
    play(stand, event_of(root), event_of(copy, root, requested=CLONE))
    play(stand, release_of(root))
    after_30_days(stand)
    unseen: set[bytes] = set()

    def come_and_go() -> None:
        play(stand, event_of(new, copy, requested=CLONE))
        tidy(stand)
        unseen.add(scene.key_id(new.ref, LIVES).encode())

    read, acts = StoreReader.all, iter([come_and_go])

    def all_(reader: StoreReader, project: str, name: str) -> Iterator[list[Any]]:
        pages = list(read(reader, project, name))
        yield from ([it for it in page if it[0] not in unseen] for page in pages)
        if name == "clones":
            next(acts, lambda: None)()

    monkeypatch.setattr(StoreReader, "all", all_)
    assert [it for it in brief(found_in(stand, LIVES)) if it[0] == "clones-wrong"] == []
    scope_id = scene.scope_id(copy.ref, LIVES)
    assert scene.raw.hget(scene.open("clones", LIVES), scope_id) == b"1"
    assert len(unseen) == 1


@pytest.mark.parametrize("rests", [True, False], ids=["rests", "never rests"])
def test_clones_that_are_wrong_and_move_are_repaired_once_they_rest(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, rests: bool
) -> None:
    stand, scope_id = scene.stand, scene.scope_id("volume:rest", LIVES)
    scene.raw.hset(scene.open("clones", LIVES), scope_id, 1_000)
    moves, read = iter(range(1 if rests else 1_000)), StoreReader.all

    def all_(reader: StoreReader, project: str, name: str) -> Iterator[list[Any]]:
        yield from read(reader, project, name)
        if (project, name) == (LIVES, "clones") and (number := next(moves, None)) is not None:
            play(stand, event_of(of_life(f"n{number}"), of_life("rest"), requested=CLONE))

    monkeypatch.setattr(StoreReader, "all", all_)
    found, done = repaired(stand)
    assert brief(found) == [("clones-wrong", LIVES, "clones", scope_id)]
    assert done == (set(found) if rests else set())
    monkeypatch.undo()
    assert not rests or found_in(stand) == []


def test_nobody_counts_clones_of_flawed_records(scene: Scene) -> None:
    record = scene.raw.hget(scene.open("keys", LIVES), scene.key_id(HELD, LIVES))
    scene.raw.hset(scene.open("keys", LIVES), "k", record)
    scene.raw.hincrby(scene.open("clones", LIVES), scene.scope_id(LEAKED, LIVES), 1)
    assert brief(found_in(scene.stand, LIVES)) == [("seal-broken", LIVES, "keys", "k")]


def test_what_a_repair_of_a_life_was_concluded_from_must_still_be_so(scene: Scene) -> None:
    stand, raw = scene.stand, scene.raw
    redue(scene, LEFT, 1)
    raw.zadd(scene.open("keys:due", LIVES), {"k": 1})
    raw.zrem(scene.open("tombstones", LIVES), PLAIN)
    raw.zadd(scene.open("tombstones", LIVES), {"volume:none": 1})
    raw.hincrby(scene.open("clones", LIVES), scene.scope_id(LEAKED, LIVES), 3)
    found = found_in(stand)
    assert len(found) == 5
    raw.hset(scene.open("keys", LIVES), scene.key_id(LEFT, LIVES), "another")
    raw.hset(scene.open("keys", LIVES), "k", "another")
    raw.hset(scene.open("items", LIVES), PLAIN, "another")
    raw.hset(scene.open("items", LIVES), "volume:none", "another")
    raw.hincrby(scene.open("clones", LIVES), scene.scope_id(LEAKED, LIVES), 1)
    with stand.untouched():
        assert Repairer(stand.client("repairer"), Names(stand.prefix)).repair(found) == set()
