"""Known answers under a fixed KEK, computed once by an independent HKDF and HMAC.

A change that turns one of these red makes every stored key and record unreadable.
"""

from kmworker.crypto.kek import Kek
from kmworker.crypto.seals import LABEL as SEAL_LABEL
from kmworker.crypto.wrapping import LABEL as WRAP_LABEL
from kmworker.crypto.wrapping import associated_data
from kmworker.model import Place
from tests.unit.crypto.samples import CREATED_AT, FIRST, FIRST_KEY, SCOPE

KEK = Kek(FIRST_KEY, CREATED_AT)


def test_the_kek_id_is_the_keks_fingerprint() -> None:
    assert KEK.kek_id == "6cad8463a74f8760"


def test_a_projects_wrapping_key_stays_as_it_is() -> None:
    expected = "4e3d0a4317aa7181989152feef6df5ee850324f06e7fcd4a9b6eedffea7ccb1d"
    assert KEK.derive(WRAP_LABEL, "p1").hex() == expected


def test_a_projects_sealing_key_stays_as_it_is() -> None:
    expected = "f9653f73cd48dd20e11fbb8191958604e996986deb50f0f2ce54520af5f84134"
    assert KEK.derive(SEAL_LABEL, "p1").hex() == expected


def test_the_check_value_stays_as_it_is() -> None:
    expected = "9564794ae691b518df48db4db4b8e478a0be37082dd201d88e0010d7c1563d28"
    assert FIRST.check_values("store-1") == {KEK.kek_id: expected}


def test_the_associated_data_stays_as_it_is() -> None:
    assert associated_data("p1", SCOPE) == (
        b"\0\0\0\x011"
        b"\0\0\0\x02p1"
        b"\0\0\0\x07scope-1"
        b"\0\0\0\x05dek-1"
        b"\0\0\0\x0faes-xts-plain64"
        b"\0\0\0\x03512"
        b"\0\0\0\x106cad8463a74f8760"
    )


def test_a_blob_wrapped_by_the_first_release_unwraps() -> None:
    blob = bytes.fromhex(
        "01"
        "6465666768696a6b6c6d6e6f"
        "68f4adf0a6c0f7d4ea1c3d3bcc872ea7af9fd8f0ec25e079615f56fb3a1fa819"
        "c67f2eba6e527ddd8871eed7d9fd5817822c1dd23669d89e4d0ca8c321a4812c"
        "ffa2e018ba653fa60fb225d0e35ee72e"
    )
    assert FIRST.unwrap("p1", SCOPE, blob) == bytes(range(64, 128))


def test_a_sealed_record_stays_as_it_is() -> None:
    body = b'{"scope_id":"s1","state":"active"'
    assert FIRST.seal(Place("p1", "keys", "key-1"), body) == body + (
        b',"seal":"v1.6cad8463a74f8760.c43266b4e4ccf3604deb6ab28023b58b"}'
    )
