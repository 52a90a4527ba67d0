"""Known answers under a fixed KEK, computed once by an independent HKDF and HMAC.

A change that turns one of these red makes every stored key and record unreadable. What layout 1
wrote, before the installation's id was in keys and associated data, is read by `FormerCustody`
alone; its answers stay here as long as a migration from it is offered.
"""

import pytest

from kmworker.crypto import FormerCustody, KeyringCustody, record_mac, wrapping
from kmworker.crypto.kek import Kek
from kmworker.crypto.wrapping import associated_data
from kmworker.domain.model import Place
from kmworker.errors import PermanentError
from tests.unit.crypto.samples import CREATED_AT, FIRST, FIRST_KEY, INSTALLATION, SCOPE, keyring_of

KEK = Kek(FIRST_KEY, CREATED_AT)


def test_the_kek_id_is_the_keks_fingerprint() -> None:
    assert KEK.kek_id == "6cad8463a74f8760"


def test_a_projects_wrapping_key_stays_as_it_is() -> None:
    expected = "dac69b0271281929e553312148690cfaa4a1e873719bd906b0ca3ca19aba4982"
    assert KEK.derive(wrapping.LABEL, INSTALLATION, "p1").hex() == expected


def test_a_projects_sealing_key_stays_as_it_is() -> None:
    expected = "336fcfbf62a757759b67fb35537ff73b805d474c937e5c271de219969620e5c1"
    assert KEK.derive(record_mac.LABEL, INSTALLATION, "p1").hex() == expected


def test_the_check_value_stays_as_it_is() -> None:
    expected = "9564794ae691b518df48db4db4b8e478a0be37082dd201d88e0010d7c1563d28"
    assert FIRST.check_values("store-1") == {KEK.kek_id: expected}
    several = "6a02c407dfe446c2f05b937309d1204927503b8a665f3b00cd8ce24afaf91b82"
    assert FIRST.check_values("keyring", INSTALLATION, "/kmworker") == {KEK.kek_id: several}


def test_the_associated_data_stays_as_it_is() -> None:
    assert associated_data(INSTALLATION, "p1", SCOPE) == (
        b"\0\0\0\x012"
        b"\0\0\0\x247b1c2d3e-0000-4000-8000-000000000000"
        b"\0\0\0\x02p1"
        b"\0\0\0\x07scope-1"
        b"\0\0\0\x05dek-1"
        b"\0\0\0\x0faes-xts-plain64"
        b"\0\0\0\x03512"
        b"\0\0\0\x106cad8463a74f8760"
    )


def test_a_blob_wrapped_by_the_first_release_unwraps() -> None:
    blob = bytes.fromhex(
        "02"
        "6465666768696a6b6c6d6e6f"
        "7776d40fd103fed42b8251d61ba2a242021efb08c7d3887a345972d7ddcf9167"
        "2f25e5845059724571e4962f4644755f1fa0d1d4d49ba91e20657354070ccbd9"
        "62e217e3ed73d55531c3f4fea6c9faed"
    )
    assert FIRST.unwrap("p1", SCOPE, blob) == bytes(range(64, 128))


def test_a_sealed_record_stays_as_it_is() -> None:
    body = b'{"scope_id":"s1","state":"active"'
    assert FIRST.seal(Place("p1", "keys", "key-1"), body) == body + (
        b',"seal":"v2.6cad8463a74f8760.4e96fdef1585bb7b73ac614a4ebc65bd"}'
    )


# --- layout 1 ---------------------------------------------------------------------------

FORMER = FormerCustody(keyring_of(FIRST_KEY), INSTALLATION)
FORMER_BLOB = bytes.fromhex(
    "01"
    "6465666768696a6b6c6d6e6f"
    "68f4adf0a6c0f7d4ea1c3d3bcc872ea7af9fd8f0ec25e079615f56fb3a1fa819"
    "c67f2eba6e527ddd8871eed7d9fd5817822c1dd23669d89e4d0ca8c321a4812c"
    "ffa2e018ba653fa60fb225d0e35ee72e"
)
FORMER_BODY = b'{"scope_id":"s1","state":"active"'
FORMER_RECORD = FORMER_BODY + b',"seal":"v1.6cad8463a74f8760.c43266b4e4ccf3604deb6ab28023b58b"}'


def test_a_blob_of_layout_1_is_wrapped_anew_and_is_the_same_dek() -> None:
    assert FIRST.unwrap("p1", SCOPE, FORMER.rewrap("p1", SCOPE, FORMER_BLOB)) == bytes(
        range(64, 128)
    )


def test_a_record_of_layout_1_is_read_for_carrying_it_over_and_by_nobody_else() -> None:
    place = Place("p1", "keys", "key-1")
    assert FORMER.check_seal(place, FORMER_RECORD) == FORMER_BODY
    with pytest.raises(PermanentError):
        FIRST.check_seal(place, FORMER_RECORD)
    with pytest.raises(PermanentError):
        FORMER.check_seal(place, FIRST.seal(place, FORMER_BODY))


def test_a_blob_of_layout_1_does_not_unwrap_where_a_workers_would() -> None:
    for unwrap in (FIRST.unwrap, FORMER.rewrap):
        blob = FORMER_BLOB if unwrap == FIRST.unwrap else FIRST.mint("p1", SCOPE)
        with pytest.raises(PermanentError):
            unwrap("p1", SCOPE, blob)


# --- installations ----------------------------------------------------------------------


def test_neither_records_nor_blobs_of_another_installation_open_under_the_same_kek() -> None:
    other = KeyringCustody(keyring_of(FIRST_KEY), "another installation")
    place = Place("p1", "keys", "key-1")
    with pytest.raises(PermanentError):
        FIRST.check_seal(place, other.seal(place, FORMER_BODY))
    with pytest.raises(PermanentError):
        FIRST.unwrap("p1", SCOPE, other.mint("p1", SCOPE))


def test_a_custody_that_enters_another_installation_opens_that_ones_records_alone() -> None:
    place = Place("p1", "keys", "key-1")
    custody = KeyringCustody(keyring_of(FIRST_KEY), "another installation")
    theirs = custody.seal(place, FORMER_BODY)
    custody.enter(INSTALLATION)
    assert custody.seal(place, FORMER_BODY) == FIRST.seal(place, FORMER_BODY)
    with pytest.raises(PermanentError):
        custody.check_seal(place, theirs)
