"""An audit reads whatever ids and projects the contract allows, and finds nothing wrong."""

import pytest

from tests.contract.store.test_any_id import ALPHABET, PROJECT_ALPHABET
from tests.kit.store.filling import audit_of, found_in, handle, repaired, replica, snapshot, volume
from tests.kit.store.stand import Stand


@pytest.mark.parametrize("project", [PROJECT_ALPHABET, ".", "-", "a:items", "~root"])
def test_a_store_with_any_ids_has_no_finding(stand: Stand, project: str) -> None:
    stand.store().admit()
    handle(
        stand,
        volume("p1-v"),
        *(volume(f"{letter}!", project) for letter in ALPHABET),
        volume(ALPHABET, project),
        snapshot("!", ALPHABET, project),
        snapshot("early,2", f"late%{ALPHABET}", project),
        replica(f"0/18/1@{ALPHABET}", f"0/18/1{ALPHABET}"),
    )
    assert found_in(stand) == []
    assert found_in(stand, project) == []
    # Interrupted anywhere, it goes on where it was.
    audit = audit_of(stand)
    audit.begin()
    for _looked_at, findings in audit.steps():
        assert findings == []
    assert repaired(stand) == ([], set())
