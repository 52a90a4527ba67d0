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


@pytest.mark.parametrize("damage", [*RECORDS, *LOSSES, *CONTRADICTIONS], ids=name_of)
def test_damage_to_records_is_found_as_what_it_is_and_never_repaired(
    scene: Scene, damage: Damage
) -> None:
    stand = scene.stand
    wanted = damage(scene)
    before = stand.contents()
    assert brief(found_in(stand)) == sorted(wanted)
    # To look is not to touch.
    assert stand.contents() == before
    mended(stand)
    after = stand.contents()
    for key in ("items", "keys", "scopes"):
        assert after[stand.key("p1", key)] == before[stand.key("p1", key)]
    for key in ("deks", "parked", "expired"):
        assert after[stand.secret("p1", key)] == before[stand.secret("p1", key)]


@pytest.mark.parametrize("damage", INDEXES, ids=name_of)
def test_damage_to_indexes_and_counters_is_found_and_repaired_exactly(
    scene: Scene, damage: Damage
) -> None:
    stand = scene.stand
    before = stand.contents()
    wanted = damage(scene)
    damaged = stand.contents()
    assert damaged != before
    assert brief(found_in(stand)) == sorted(wanted)
    assert stand.contents() == damaged
    found, done = mended(stand)
    assert done == set(found)
    assert stand.contents() == before
    assert found_in(stand) == []
