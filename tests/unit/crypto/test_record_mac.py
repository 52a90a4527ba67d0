import hmac
import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kmworker.crypto.kek import Kek
from kmworker.crypto.record_mac import LABEL, SEAL_BYTES
from kmworker.domain.model import Place
from kmworker.encoding import length_prefixed
from kmworker.errors import PermanentError, Reason, UnknownKek
from tests.unit.crypto.samples import (
    BOTH,
    CREATED_AT,
    FIRST,
    FIRST_KEY,
    INSTALLATION,
    RECORDS,
    SECOND,
)

NAMES = st.text(st.characters(), max_size=40)
PLACES = st.builds(Place, NAMES, NAMES, NAMES)
EACH_RECORD = pytest.mark.parametrize(
    ("place", "body"), [pytest.param(*record, id=record[0].key) for record in RECORDS.items()]
)


def assert_broken(place: Place, record: bytes) -> None:
    """The record fails authentication, in words that name its place and nothing in it."""
    with pytest.raises(PermanentError) as caught:
        FIRST.check_seal(place, record)
    assert caught.value.reason is Reason.INTEGRITY
    assert caught.value.detail == f"{place.field!r} in {place.key} fails authentication"
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def names_another_kek(record: bytes) -> bool:
    """Whether the damage left a well-formed seal, of a KEK that is not ours."""
    seal = re.search(rb',"seal":"v2\.([0-9a-f]{16})\.[0-9a-f]{32}"}\Z', record)
    return seal is not None and seal[1].decode() != FIRST.kek_id


@EACH_RECORD
def test_a_sealed_record_is_json_and_gives_its_body_back(place: Place, body: bytes) -> None:
    record = FIRST.seal(place, body)
    assert FIRST.check_seal(place, record) == body
    *fields, last = json.loads(record)
    assert fields == list(json.loads(body + b"}"))
    assert last == "seal"


@given(PLACES, st.binary(max_size=300))
def test_any_body_gets_half_an_hmac_over_it_and_its_place_and_comes_back(
    place: Place, body: bytes
) -> None:
    sealing_key = Kek(FIRST_KEY, CREATED_AT).derive(LABEL, INSTALLATION, place.project)
    mac = hmac.digest(sealing_key, length_prefixed(*place) + body, "sha256")
    record = FIRST.seal(place, body)
    assert record[-34:-2].decode() == mac.hex()[:32]
    assert FIRST.check_seal(place, record) == body


@EACH_RECORD
def test_a_record_with_any_bit_flipped_is_refused(place: Place, body: bytes) -> None:
    record = FIRST.seal(place, body)
    for position in range(len(record)):
        for bit in range(8):
            damaged = bytearray(record)
            damaged[position] ^= 1 << bit
            if names_another_kek(bytes(damaged)):
                with pytest.raises(UnknownKek):
                    FIRST.check_seal(place, bytes(damaged))
            else:
                assert_broken(place, bytes(damaged))


@EACH_RECORD
def test_a_truncated_record_is_refused(place: Place, body: bytes) -> None:
    record = FIRST.seal(place, body)
    for length in range(len(record)):
        assert_broken(place, record[:length])
        assert_broken(place, record[len(record) - length :])


@EACH_RECORD
@given(more=st.binary(min_size=1, max_size=80))
@example(more=b" ")  # which JSON would overlook
@example(more=b"}")
def test_an_extended_record_is_refused(place: Place, body: bytes, more: bytes) -> None:
    record = FIRST.seal(place, body)
    assert_broken(place, record + more)
    assert_broken(place, more + record)


@EACH_RECORD
@pytest.mark.parametrize("part", Place._fields)
def test_a_record_moved_elsewhere_is_refused(place: Place, body: bytes, part: str) -> None:
    elsewhere = place._replace(**{part: "another"})
    assert_broken(elsewhere, FIRST.seal(place, body))


@given(PLACES, PLACES)
def test_a_record_verifies_in_its_own_place_only(place: Place, elsewhere: Place) -> None:
    record = FIRST.seal(place, b'{"a":1')
    if place != elsewhere:
        assert_broken(elsewhere, record)


def test_letters_moved_between_the_parts_of_a_place_are_another_place() -> None:
    record = FIRST.seal(Place("p1", "keys", "k1"), b'{"a":1')
    assert_broken(Place("p1", "keysk", "1"), record)
    assert_broken(Place("p1k", "eys", "k1"), record)
    moved = FIRST.seal(Place("p1", "keys", "k1{"), b'"a":1')
    assert_broken(Place("p1", "keys", "k1"), b"{" + moved)


def test_a_seal_does_not_vouch_for_a_record_that_contains_it() -> None:
    place, body = next(iter(RECORDS.items()))
    record = FIRST.seal(place, body)
    assert FIRST.check_seal(place, FIRST.seal(place, record)) == record
    assert_broken(place, record[:-1] + record[-SEAL_BYTES:])


@EACH_RECORD
def test_a_record_of_another_keyring_is_not_called_broken(place: Place, body: bytes) -> None:
    with pytest.raises(UnknownKek, match=f"{SECOND.kek_id}, not in the keyring"):
        FIRST.check_seal(place, SECOND.seal(place, body))


@EACH_RECORD
def test_a_record_sealed_before_a_rotation_still_verifies(place: Place, body: bytes) -> None:
    assert BOTH.check_seal(place, FIRST.seal(place, body)) == body
    assert BOTH.seal(place, body) == SECOND.seal(place, body)


@EACH_RECORD
def test_a_record_relabelled_to_another_kek_of_the_keyring_is_refused(
    place: Place, body: bytes
) -> None:
    record = FIRST.seal(place, body)
    relabelled = record.replace(FIRST.kek_id.encode(), SECOND.kek_id.encode())
    with pytest.raises(PermanentError):
        BOTH.check_seal(place, relabelled)


@pytest.mark.parametrize(
    "seal",
    [
        pytest.param(b',"seal":"v3.%b.%b"}', id="unknown-version"),
        pytest.param(b',"Seal":"v2.%b.%b"}', id="other-name"),
        pytest.param(b', "seal":"v2.%b.%b"}', id="a-space"),
        pytest.param(b',"seal":"v2.%b-%b"}', id="other-separator"),
        pytest.param(b',"seal":"v2.%b.%b" }', id="a-space-before-the-brace"),
    ],
)
def test_a_seal_written_in_any_other_way_is_broken_whatever_its_kek(seal: bytes) -> None:
    place = next(iter(RECORDS))
    for kek_id in (FIRST.kek_id, SECOND.kek_id):
        assert_broken(place, b'{"a":1' + seal % (kek_id.encode(), b"0" * 32))


def test_upper_case_hex_is_refused() -> None:
    place, body = next(iter(RECORDS.items()))
    record = FIRST.seal(place, body)
    shouted = record[:-34] + record[-34:-2].upper() + record[-2:]
    assert shouted != record
    assert_broken(place, shouted)


def test_a_field_out_of_the_store_cannot_break_a_line_in_the_log() -> None:
    with pytest.raises(PermanentError) as caught:
        FIRST.check_seal(Place("p1", "items", "volume:v1\nall is well"), b"{}")
    assert "\n" not in caught.value.detail
