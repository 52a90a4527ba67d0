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
from tests.kit.store.filling import brief, found_in, repaired


def each(damages: dict[str, Damage]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("do", "found"), damages.values(), ids=damages)


def test_what_workers_leave_behind_has_no_finding(scene: Scene) -> None:
    with scene.stand.untouched():
        assert found_in(scene.stand) == []
        assert repaired(scene.stand) == ([], set())


@each(RECORDS | LOSSES | CONTRADICTIONS)
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
    for key in ("items", "keys", "scopes"):
        assert after[stand.key("p1", key)] == before[stand.key("p1", key)]
    for key in ("deks", "parked", "expired"):
        assert after[stand.secret("p1", key)] == before[stand.secret("p1", key)]


@each(INDEXES)
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
