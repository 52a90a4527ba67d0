"""Which list a client goes by, and which it refuses."""

import json
from typing import Any

import pytest

from kmworker.clock import rfc3339
from kmworker.delegation.encoded import as_text
from kmworker.delegation.identity import Identity, key_id_of
from kmworker.delegation.root_key import RootKey
from kmworker.delegation.signing import digest_of
from kmworker.delegation.trust_list import TrustList, check_list, make_list, newest
from kmworker.errors import Untrusted
from tests.kit.delegation_vectors import AT, INSTALLATION, LIST, NOW_S, ROOT, SERVER
from tests.kit.flips import flipped_text

DAY_S = 86_400.0
ELSEWHERE = "5a1e1f0c-0d55-4c0e-9a3b-5f6f5b2b7f12"
OTHER = Identity(b"\1" * 32, b"\2" * 32, AT)


def a_list(number: int, begins_s: float = 0.0, lasts_s: float = DAY_S, **more: Any) -> TrustList:
    servers = more.get("servers", [SERVER.public])
    return make_list(
        ROOT,
        INSTALLATION,
        number,
        servers,
        not_before=rfc3339(NOW_S + begins_s),
        not_after=rfc3339(NOW_S + begins_s + lasts_s),
    )


def checked(made: TrustList, **changed: Any) -> TrustList:
    given = {
        "text": made.text,
        "signature": made.signature,
        "root": ROOT.public,
        "installation": INSTALLATION,
    }
    return check_list(**{**given, **changed})


def signed(**changed: Any) -> dict[str, str]:
    """A list with other fields, that the root signed all the same."""
    text = json.dumps(json.loads(LIST.text) | changed)
    signature = ROOT.sign("kmworker/trust-list", INSTALLATION, digest_of(text.encode()))
    return {"text": text, "signature": signature}


# --- signed -------------------------------------------------------------------------------


def test_a_list_has_the_keys_of_each_server_by_their_ids() -> None:
    made = a_list(1, servers=[SERVER.public, OTHER.public])
    assert set(made.sign.values()) == {SERVER.public.sign, OTHER.public.sign}
    assert set(made.seal.values()) == {SERVER.public.seal, OTHER.public.seal}
    assert checked(made) == made


def test_every_flipped_byte_of_a_list_or_its_signature_is_refused() -> None:
    for text in flipped_text(LIST.text):
        with pytest.raises(Untrusted):
            checked(LIST, text=text)
    for signature in flipped_text(LIST.signature):
        with pytest.raises(Untrusted):
            checked(LIST, signature=signature)


@pytest.mark.parametrize(
    "changed",
    [
        {"root": RootKey(b"\5" * 32, AT).public},
        {"root": b""},
        {"installation": ELSEWHERE},
        {"signature": ""},
        {"signature": "é"},
        {"text": ""},
        {"text": "\ud800"},
    ],
    ids=str,
)
def test_a_list_of_another_root_or_installation_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(Untrusted, match="trust list") as refused:
        checked(LIST, **changed)
    assert refused.value.hint


KEYS = json.loads(LIST.text)["sign"]
MADE = OTHER.public
# X25519's point zero: nothing can be sealed to it.
LOW = SERVER.public.seal[:-32] + bytes(32)
LOW_ORDER = {"id": key_id_of(LOW), "public": as_text(LOW)}


@pytest.mark.parametrize(
    "changed",
    [
        {"number": 0},
        {"number": 2**53 + 1},
        {"number": 1.5},
        {"number": True},
        {"number": "7"},
        {"installation": ELSEWHERE},
        {"not_after": AT},
        {"not_after": "2027-02-30T16:00:00Z"},
        {"not_before": "soon"},
        {"sign": []},
        {"seal": []},
        {"sign": KEYS * 2},
        {"sign": [{"id": "0" * 16, "public": KEYS[0]["public"]}]},
        {"sign": [{"id": KEYS[0]["id"], "public": "AAAA"}]},
        {"seal": KEYS},
        {"seal": [LOW_ORDER]},
        {"version": 2},
        {"document": "kmworker/enrolment"},
    ],
    ids=str,
)
def test_even_what_the_root_signs_has_to_be_a_list(changed: dict[str, Any]) -> None:
    with pytest.raises(Untrusted, match="trust list"):
        checked(LIST, **signed(**changed))


def test_what_is_not_known_yet_is_left_to_later_versions() -> None:
    assert checked(LIST, **signed(more="x")).sign == LIST.sign


def test_no_list_is_made_that_is_too_long() -> None:
    servers = [Identity.generate(AT).public for _ in range(9)]
    assert len(a_list(1, servers=servers[:8]).sign) == 8
    with pytest.raises(Untrusted, match="trust list"):
        a_list(1, servers=servers)


# --- and gone by --------------------------------------------------------------------------


def test_the_first_list_is_taken_if_it_holds_now() -> None:
    assert newest(None, LIST, NOW_S) == LIST


def test_a_higher_number_takes_over_and_a_lower_one_changes_nothing() -> None:
    older, newer = a_list(6), a_list(7)
    assert newest(older, newer, NOW_S) == newer
    assert newest(newer, older, NOW_S) == newer
    assert newest(newer, newer, NOW_S) == newer


def test_two_lists_of_one_number_are_refused() -> None:
    with pytest.raises(Untrusted, match="two with the number 7") as refused:
        newest(a_list(7), a_list(7, lasts_s=2 * DAY_S), NOW_S)
    assert "root key" in refused.value.hint


def test_the_same_list_signed_again_is_one_list() -> None:
    assert newest(a_list(7), a_list(7), NOW_S).number == 7


def test_a_list_that_begins_later_waits_for_its_time() -> None:
    now, later = a_list(6), a_list(7, begins_s=DAY_S / 2)
    assert newest(now, later, NOW_S) == now
    assert newest(now, later, NOW_S + DAY_S / 2) == later


def test_a_list_may_begin_by_a_clock_that_is_somewhat_behind() -> None:
    later = a_list(7, begins_s=299.0)
    assert newest(None, later, NOW_S) == later
    with pytest.raises(Untrusted, match="does not hold before"):
        newest(None, a_list(7, begins_s=301.0), NOW_S)


@pytest.mark.parametrize("seen", [None, a_list(7)], ids=["first", "seen"])
def test_a_list_that_is_over_is_refused_to_the_second(seen: TrustList | None) -> None:
    it = a_list(7)
    assert newest(seen, it, NOW_S + DAY_S - 1) == it
    with pytest.raises(Untrusted, match="held until"):
        newest(seen, it, NOW_S + DAY_S)


def test_nothing_goes_back_to_a_list_that_holds_from_one_that_is_over() -> None:
    short, long = a_list(8, lasts_s=60.0), a_list(7)
    for seen, carried in ((short, long), (long, short)):
        with pytest.raises(Untrusted, match="trust list 8: held until"):
            newest(seen, carried, NOW_S + 120)
