"""An instance's own trust list: made once, and anew only where clients would believe it."""

import stat
from pathlib import Path
from typing import Any

import pytest

from kmworker.delegation.encoded import as_text, from_text
from kmworker.delegation.identity import Identity, key_id_of
from kmworker.delegation.root_key import RootKey
from kmworker.delegation.signing import PUBLIC_BYTES
from kmworker.delegation.trust_list import HandedOut, TrustList, check_list
from kmworker.domain.audit import AuditRecord
from kmworker.embedded.own_trust import HOLDS_DAYS, RENEW_DAYS, hand_out_trust
from kmworker.errors import SetupError
from kmworker.settings.instance import ROOT_KEY, paths_in

INSTALLATION = "1d8f7e52-0000-4000-8000-000000000001"
NOW_S = 1_795_449_600.0
DAY_S = 86_400


class Handed:
    """The store's part: it has the list that was handed out last."""

    def __init__(self) -> None:
        self.record: HandedOut | None = None
        self.is_slower = False

    def trust(self) -> HandedOut | None:
        return self.record

    def hand_out(self, trust: HandedOut, number: int, record: AuditRecord) -> bool:
        assert record.reason is not None
        assert record.reason.startswith(f"list {number}, until ")
        if self.is_slower:
            return False
        self.record = trust
        return True

    def list(self) -> TrustList:
        """The list, as a client believes it."""
        assert self.record is not None
        root = from_text(self.record.root, PUBLIC_BYTES)
        assert root is not None
        return check_list(self.record.text, self.record.signature, root, INSTALLATION)


def made(folder: Path, handed: Handed, now_s: float = NOW_S) -> TrustList:
    register: Any = handed
    hand_out_trust(folder, register, INSTALLATION, now_s)
    return handed.list()


@pytest.fixture
def handed(tmp_path: Path) -> Handed:
    """A store whose instance has begun to delegate."""
    it = Handed()
    made(tmp_path, it)
    return it


def identity(folder: Path) -> Path:
    return paths_in(folder)["keyserver", "identity"]


def test_the_first_start_makes_what_is_needed_for_its_owner_alone(
    tmp_path: Path, handed: Handed
) -> None:
    names = ["audit-key.json", "keyserver.json", "root-key.json"]
    assert sorted(it.name for it in tmp_path.iterdir()) == names
    assert {stat.S_IMODE(it.stat().st_mode) for it in tmp_path.iterdir()} == {0o600}
    assert key_id_of(Identity.load(identity(tmp_path)).public.sign) in handed.list().sign


def test_the_next_start_leaves_all_as_it_is(tmp_path: Path, handed: Handed) -> None:
    before = handed.record, [it.read_bytes() for it in sorted(tmp_path.iterdir())]
    made(tmp_path, handed, NOW_S + 30 * DAY_S)
    assert before == (handed.record, [it.read_bytes() for it in sorted(tmp_path.iterdir())])


def test_a_list_that_ends_soon_is_signed_anew(tmp_path: Path, handed: Handed) -> None:
    before = handed.list()
    later_s = NOW_S + (HOLDS_DAYS - RENEW_DAYS) * DAY_S
    after = made(tmp_path, handed, later_s)
    assert (after.number > before.number, after.sign) == (True, before.sign)
    assert not after.is_over(later_s + (HOLDS_DAYS - 1) * DAY_S)


def test_a_key_server_that_has_lost_its_keys_gets_others_that_clients_believe(
    tmp_path: Path, handed: Handed
) -> None:
    before, root = handed.list(), handed.record and handed.record.root
    identity(tmp_path).unlink()
    # The clock may have been set back meanwhile; a client goes by the highest number.
    after = made(tmp_path, handed, NOW_S - DAY_S)
    assert after.number > before.number
    assert after.sign.keys() != before.sign.keys()
    assert handed.record is not None
    assert handed.record.root == root


def test_the_root_key_may_be_kept_elsewhere_while_the_list_holds(
    tmp_path: Path, handed: Handed
) -> None:
    (tmp_path / ROOT_KEY).unlink()
    made(tmp_path, handed)
    assert not (tmp_path / ROOT_KEY).exists()


def test_no_other_root_key_is_made_where_clients_have_one(tmp_path: Path, handed: Handed) -> None:
    before = handed.record
    (tmp_path / ROOT_KEY).unlink()
    identity(tmp_path).unlink()
    with pytest.raises(SetupError, match="root key"):
        made(tmp_path, handed)
    assert (handed.record, (tmp_path / ROOT_KEY).exists()) == (before, False)


def test_whoever_is_slower_than_an_operator_is_told(tmp_path: Path) -> None:
    register: Any = Handed()
    register.is_slower = True
    assert not hand_out_trust(tmp_path, register, INSTALLATION, NOW_S)
    register.is_slower = False
    assert hand_out_trust(tmp_path, register, INSTALLATION, NOW_S)


def test_another_root_key_signs_nothing(tmp_path: Path, handed: Handed) -> None:
    before = handed.record
    (tmp_path / ROOT_KEY).unlink()
    other = RootKey.generate("2026-11-30T16:00:00.000Z")
    other.write(tmp_path / ROOT_KEY)
    identity(tmp_path).unlink()
    with pytest.raises(SetupError, match="another one has signed"):
        made(tmp_path, handed)
    assert handed.record == before
    assert before is not None
    assert before.root != as_text(other.public)
