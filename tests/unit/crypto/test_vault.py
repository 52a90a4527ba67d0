import pytest

from kmworker.crypto import KeyringVault, seals, wrapping
from kmworker.errors import UnknownKek
from kmworker.model import Place
from kmworker.ports import Vault
from tests.unit.crypto.samples import FIRST, FIRST_KEY, SCOPE, keyring_of


def test_the_keyring_vault_is_a_vault() -> None:
    vault: Vault = FIRST
    assert vault.kek_id == "6cad8463a74f8760"


def test_keys_kept_ready_are_bounded_and_those_dropped_are_derived_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seals, "PROJECTS_MAX", 2)
    monkeypatch.setattr(wrapping, "PROJECTS_MAX", 2)
    vault = KeyringVault(keyring_of(FIRST_KEY))
    places = [Place(f"p{number}", "keys", "key-1") for number in range(5)]
    records = [vault.seal(place, b'{"a":1') for place in places]
    blobs = [vault.mint(place.project, SCOPE) for place in places]
    for place, record, blob in zip(places, records, blobs, strict=True):
        assert vault.check_seal(place, record) == b'{"a":1'
        assert vault.unwrap(place.project, SCOPE, blob) == FIRST.unwrap(place.project, SCOPE, blob)
    assert vault._sealer._state.cache_info().currsize == 2
    assert vault._wrapper._cipher.cache_info().currsize == 2


def test_a_record_with_a_made_up_kek_id_takes_no_room() -> None:
    vault = KeyringVault(keyring_of(FIRST_KEY))
    for number in range(10):
        record = b'{"a":1,"seal":"v1.%016x.%032x"}' % (number, number)
        with pytest.raises(UnknownKek):
            vault.check_seal(Place(f"p{number}", "keys", "key-1"), record)
    assert vault._sealer._state.cache_info().currsize == 0
