"""What rsync moves of a replica, on a real daemon: what docs/replication.md rests on."""

from dataclasses import asdict

import pytest

from bench.replication.__main__ import DOCUMENT, measured_here
from bench.replication.daemon import Moved
from bench.replication.document import rendered
from bench.replication.measuring import Measured
from kmworker.files.replication import measured_replication

PIECE = 4096
MIB = 4


@pytest.fixture(scope="module")
def measured() -> Measured:
    return measured_here(MIB)


def shares(measured: Measured, way: str) -> dict[str, float]:
    return {what: it.literal / measured.size_bytes for what, it in measured.moved[way].items()}


SAME_KEY = ["xts-512", "xts", "cbc-sector", "luks-copied"]


@pytest.mark.parametrize("way", ["none", *SAME_KEY, "ctr", "cbc-file"])
def test_what_is_unchanged_under_the_same_key_is_not_moved(measured: Measured, way: str) -> None:
    assert measured.moved[way]["unchanged"].literal == 0


@pytest.mark.parametrize("way", ["none", *SAME_KEY, "ctr"])
def test_what_is_overwritten_moves_about_itself(measured: Measured, way: str) -> None:
    assert PIECE <= measured.moved[way]["overwritten"].literal <= 4 * PIECE


def test_one_iv_for_the_file_moves_all_behind_it(measured: Measured) -> None:
    assert 0.7 < shares(measured, "cbc-file")["overwritten"] < 0.8


@pytest.mark.parametrize("way", [*SAME_KEY, "cbc-file", "ctr"])
def test_what_is_inserted_moves_all_behind_it_however_it_is_encrypted(
    measured: Measured, way: str
) -> None:
    assert 0.7 < shares(measured, way)["inserted"] < 0.8
    assert measured.moved["none"]["inserted"].literal <= 4 * PIECE


@pytest.mark.parametrize("way", ["other-key", "ctr-fresh", "luks-formatted"])
def test_another_key_or_iv_moves_everything(measured: Measured, way: str) -> None:
    assert all(share >= 1.0 for share in shares(measured, way).values())


@pytest.mark.parametrize("way", ["none", *SAME_KEY])
def test_checksums_travel_each_time(measured: Measured, way: str) -> None:
    beside = [it.wire - it.literal for it in measured.moved[way].values()]
    assert all(0.0005 < it / measured.size_bytes < 0.02 for it in beside)


def test_another_passphrase_moves_the_header_alone(measured: Measured) -> None:
    assert 0 < measured.moved["luks-passphrase"]["unchanged"].literal < 2 << 20


def test_swifts_replicator_sends_what_is_missing_whole_and_nothing_else(
    measured: Measured,
) -> None:
    found = {what: it.literal for what, it in measured.whole.items()}
    size = measured.size_bytes
    assert found == {"touched": size, "there": 0, "missing": size}


def test_the_document_has_what_was_written_down() -> None:
    text = DOCUMENT.read_text()
    assert rendered(text, measured_replication()) == text


def test_what_was_written_down_is_of_the_same_ways(measured: Measured) -> None:
    written = measured_replication()
    for part in ("moved", "whole"):
        assert asdict(measured)[part].keys() == written[part].keys()
    assert all(isinstance(it, Moved) for row in measured.moved.values() for it in row.values())
