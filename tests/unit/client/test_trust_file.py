"""The newest trust list of a host: it is kept, and nothing that is older takes its place."""

import json
from pathlib import Path

import pytest

from kmworker.client.trust_file import TrustFile
from kmworker.clock import rfc3339
from kmworker.delegation.trust_list import TrustList, make_list
from tests.kit.delegation_vectors import AT, ENROLMENT, INSTALLATION, NOW_S, ROOT, SERVER

DAY_S = 86_400.0


def a_list(number: int) -> TrustList:
    until = rfc3339(NOW_S + DAY_S)
    return make_list(ROOT, INSTALLATION, number, [SERVER.public], not_before=AT, not_after=until)


@pytest.fixture
def enrolment(tmp_path: Path) -> Path:
    path = tmp_path / "enrolment.json"
    ENROLMENT.write(path)
    return path


def kept(enrolment: Path) -> TrustList | None:
    """What a process finds that starts now."""
    return TrustFile(enrolment, ENROLMENT).newest()


def test_a_newer_list_is_kept_for_whoever_starts_next(enrolment: Path) -> None:
    trust = TrustFile(enrolment, ENROLMENT)
    assert trust.newest() is None
    for number in (1, 2):
        trust.keep(a_list(number))
        assert trust.newest() == kept(enrolment) == a_list(number)


def test_a_thread_that_comes_late_brings_no_older_list_back(enrolment: Path) -> None:
    trust = TrustFile(enrolment, ENROLMENT)
    trust.keep(a_list(2))
    trust.keep(a_list(1))
    assert trust.newest() == kept(enrolment) == a_list(2)


def test_a_process_that_is_behind_leaves_the_newer_list_on_disk(enrolment: Path) -> None:
    behind, ahead = TrustFile(enrolment, ENROLMENT), TrustFile(enrolment, ENROLMENT)
    ahead.keep(a_list(2))
    behind.keep(a_list(1))
    assert kept(enrolment) == a_list(2)


def test_a_list_that_is_known_is_not_written_again(enrolment: Path) -> None:
    trust = TrustFile(enrolment, ENROLMENT)
    trust.keep(a_list(1))
    path = enrolment.with_name("enrolment.trust.json")
    assert json.loads(path.read_text()) == a_list(1).document
    path.unlink()
    trust.keep(a_list(1))
    assert not path.exists()


def test_a_process_that_is_behind_takes_up_the_newer_list(enrolment: Path) -> None:
    behind, ahead = TrustFile(enrolment, ENROLMENT), TrustFile(enrolment, ENROLMENT)
    behind.keep(a_list(1))
    ahead.keep(a_list(2))
    assert behind.newest() == a_list(2)
    # And an older one on disk takes nothing away.
    enrolment.with_name("enrolment.trust.json").write_text(json.dumps(a_list(1).document))
    assert behind.newest() == a_list(2)


def test_what_is_spoilt_meanwhile_stops_no_process(
    enrolment: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trust = TrustFile(enrolment, ENROLMENT)
    trust.keep(a_list(1))
    enrolment.with_name("enrolment.trust.json").write_text("spoilt")
    assert [trust.newest(), trust.newest()] == [a_list(1), a_list(1)]
    assert [it.getMessage().partition(":")[0] for it in caplog.records] == [
        "the newest trust list is not kept"
    ]
