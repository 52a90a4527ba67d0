"""Each kind of damage is found as what it is, and a sound store gives no finding."""

import pytest

from kmworker.crypto import KeyringVault
from tests.contract.audit.damages import CONTRADICTIONS, INDEXES, LOSSES, RECORDS, Damage, Scene
from tests.contract.audit.filling import brief, fill, found_in, mended
from tests.contract.stand import Stand


@pytest.fixture
def scene(stand: Stand, other_vault: KeyringVault) -> Scene:
    fill(stand)
    return Scene(stand, other_vault)


def name_of(damage: Damage) -> str:
    return damage.__name__


def test_what_workers_leave_behind_has_no_finding(scene: Scene) -> None:
    before = scene.stand.contents()
    assert found_in(scene.stand) == []
    assert mended(scene.stand) == ([], set())
    assert scene.stand.contents() == before


@pytest.mark.parametrize("damage", [*RECORDS, *LOSSES, *CONTRADICTIONS, *INDEXES], ids=name_of)
def test_each_damage_is_found_and_nothing_else(scene: Scene, damage: Damage) -> None:
    wanted = damage(scene)
    before = scene.stand.contents()
    assert brief(found_in(scene.stand)) == sorted(wanted)
    # To look is not to touch.
    assert scene.stand.contents() == before


@pytest.mark.parametrize("damage", INDEXES, ids=name_of)
def test_a_repair_brings_indexes_and_counters_back_exactly(scene: Scene, damage: Damage) -> None:
    before = scene.stand.contents()
    damage(scene)
    assert scene.stand.contents() != before
    found, done = mended(scene.stand)
    assert done == set(found)
    assert scene.stand.contents() == before
    assert found_in(scene.stand) == []


@pytest.mark.parametrize("damage", [*RECORDS, *LOSSES, *CONTRADICTIONS], ids=name_of)
def test_a_repair_touches_no_record(scene: Scene, damage: Damage) -> None:
    damage(scene)
    stand = scene.stand
    records = [
        stand.key("p1", "items"), stand.key("p1", "keys"), stand.key("p1", "scopes"),
        stand.secret("p1", "deks"), stand.secret("p1", "parked"), stand.secret("p1", "expired"),
    ]  # fmt: skip
    before = [stand.value(name) for name in records]
    mended(stand)
    assert [stand.value(name) for name in records] == before
