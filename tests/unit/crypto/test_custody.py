import pytest

from kmworker.crypto import KeyringCustody, record_mac, wrapping
from kmworker.domain.model import Place
from kmworker.errors import UnknownKek
from kmworker.ports import Custody
from tests.unit.crypto.samples import FIRST, FIRST_KEY, INSTALLATION, SCOPE, keyring_of


def test_the_keyring_custody_is_a_custody() -> None:
    custody: Custody = FIRST
    assert custody.kek_id == "6cad8463a74f8760"


def test_keys_kept_ready_are_bounded_and_those_dropped_are_derived_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(record_mac, "MAX_PROJECTS", 2)
    monkeypatch.setattr(wrapping, "MAX_PROJECTS", 2)
    custody = KeyringCustody(keyring_of(FIRST_KEY), INSTALLATION)
    places = [Place(f"p{number}", "keys", "key-1") for number in range(5)]
    records = [custody.seal(place, b'{"a":1') for place in places]
    blobs = [custody.mint(place.project, SCOPE) for place in places]
    for place, record, blob in zip(places, records, blobs, strict=True):
        assert custody.check_seal(place, record) == b'{"a":1'
        assert custody.unwrap(place.project, SCOPE, blob) == FIRST.unwrap(
            place.project, SCOPE, blob
        )
    assert custody._sealer._state.cache_info().currsize == 2
    assert custody._wrapper._project.cache_info().currsize == 2


def test_a_record_with_a_made_up_kek_id_takes_no_room() -> None:
    custody = KeyringCustody(keyring_of(FIRST_KEY), INSTALLATION)
    for number in range(10):
        record = b'{"a":1,"seal":"v2.%016x.%032x"}' % (number, number)
        with pytest.raises(UnknownKek):
            custody.check_seal(Place(f"p{number}", "keys", "key-1"), record)
    assert custody._sealer._state.cache_info().currsize == 0
