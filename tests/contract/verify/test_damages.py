"""Each kind of damage is found as what it is, and a sound store gives no finding."""

from collections.abc import Callable

import pytest

from tests.contract.verify.damages import (
    CONTRADICTIONS,
    INDEXES,
    LOSSES,
    RECORDS,
    Damage,
    Found,
    Scene,
)
from tests.contract.verify.damages_to_lives import LIFE_INDEXES, LIFE_LOSSES, LIFE_RECORDS
from tests.kit.store.filling import brief, found_in, repaired

RECORDS_OF_A_PROJECT = ("items", "keys", "scopes", "outbox", "deks", "parked", "expired")


def each(damages: dict[str, Damage]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("do", "found"), damages.values(), ids=damages)


def test_what_workers_leave_behind_has_no_finding(scene: Scene) -> None:
    with scene.stand.untouched():
        assert found_in(scene.stand) == []
        assert repaired(scene.stand) == ([], set())


@each(RECORDS | LOSSES | CONTRADICTIONS | LIFE_RECORDS | LIFE_LOSSES)
def test_damage_to_records_is_found_as_what_it_is_and_never_repaired(
    scene: Scene, do: Callable[[Scene], object], found: Found
) -> None:
    stand = scene.stand
    wanted = found(scene)
    do(scene)
    before = stand.contents()
    assert brief(found_in(stand)) == sorted(wanted)
    # To look is not to touch.
    assert stand.contents() == before
    repaired(stand)
    after = stand.contents()
    records = {name for name in before if name.rpartition(":")[2] in RECORDS_OF_A_PROJECT}
    assert {stand.key("p1", "items"), stand.secret("p1", "deks")} <= records
    assert {name: after.get(name) for name in records} == {name: before[name] for name in records}


@each(INDEXES | LIFE_INDEXES)
def test_damage_to_indexes_and_counters_is_found_and_repaired_exactly(
    scene: Scene, do: Callable[[Scene], object], found: Found
) -> None:
    stand = scene.stand
    before = stand.contents()
    wanted = found(scene)
    do(scene)
    damaged = stand.contents()
    assert damaged != before
    assert brief(found_in(stand)) == sorted(wanted)
    assert stand.contents() == damaged
    repairs, done = repaired(stand)
    assert done == set(repairs)
    assert stand.contents() == before
    assert found_in(stand) == []
