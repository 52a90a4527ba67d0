"""Whatever is done to a trail's lines is found, at the line to which it was done."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmworker.audit.checkpoints import Checkpoint
from kmworker.audit.exported import export_lines
from kmworker.audit.lines import append, content_of, read_line
from kmworker.audit.records import RecordFilter
from kmworker.audit.verification import verify
from kmworker.audit.verified import Tampering, TrailFault, Verified
from kmworker.crypto.audit_key import signature_holds
from tests.kit.trails import AT, KEY, OTHER_KEY, TRAIL, WRITER, Chain, body, chain_of

RECORDS = 12
CHAIN = chain_of(RECORDS, every=5)
LINES = CHAIN.lines
LAST = len(LINES)
KEPT = CHAIN.checkpoint()
places = st.integers(0, LAST - 1)


def checked(lines: list[bytes], *kept: Checkpoint, key: str | None = KEY.public) -> Verified:
    return verify(lines, kept, signature_holds, key=key, from_start=True)


def fault(lines: list[bytes], *kept: Checkpoint) -> TrailFault:
    found = checked(lines, *kept).fault
    assert found is not None
    return found


def test_a_trail_as_it_was_written_is_good() -> None:
    found = checked(LINES, KEPT)
    assert found.is_good
    assert (found.first, found.tip, found.records) == (1, CHAIN.tip, RECORDS)
    assert found.signed == KEPT
    assert found.keys == {KEY.public}
    assert found.trails == {TRAIL}


def test_an_empty_trail_lacks_its_first_line() -> None:
    assert fault([], KEPT).kind is Tampering.CUT_OFF


@given(places, st.data())
def test_a_changed_byte_is_found_at_its_line(place: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(LINES[place]) - 1))
    other = data.draw(st.integers(1, 255))
    changed = bytearray(LINES[place])
    changed[at] ^= other
    found = fault([*LINES[:place], bytes(changed), *LINES[place + 1 :]])
    assert (found.kind, found.line, found.position) == (Tampering.CHANGED, place + 1, place + 1)


@given(st.integers(0, LAST - 2))
def test_a_line_whose_digest_was_made_to_fit_is_found_by_the_next(place: int) -> None:
    line = read_line(LINES[place])
    tip = line.tip.__class__(line.number - 1, line.previous)
    forged, _ = append(tip, content_of(line.number, AT, "record", body(9999)))
    found = fault([*LINES[:place], forged, *LINES[place + 1 :]])
    assert (found.kind, found.line, found.position) == (Tampering.CHANGED, place + 1, place + 2)


@given(st.integers(0, LAST - 2), st.integers(1, 4))
def test_removed_lines_are_found_at_the_first_of_them(place: int, number: int) -> None:
    left = [*LINES[:place], *LINES[place + number :]]
    found = fault(left, KEPT)
    kind = Tampering.REMOVED if place + number < LAST else Tampering.CUT_OFF
    assert (found.kind, found.line, found.position) == (kind, place + 1, min(place + 1, len(left)))


@given(places, places)
def test_a_line_that_stands_twice_is_found_where_it_stands_again(place: int, to: int) -> None:
    copied = [*LINES[: to + 1], LINES[place], *LINES[to + 1 :]]
    if place == to + 1:
        # Whichever of the two is taken for the copy.
        assert fault(copied).line == place + 1
        return
    found = fault(copied)
    if place <= to:
        assert (found.kind, found.line) == (Tampering.DOUBLED, place + 1)
    else:
        # It stands before its place first, so that is what is told.
        assert (found.kind, found.line) == (Tampering.MOVED, place + 1)
    assert found.position == to + 2


@given(places, places)
def test_a_moved_line_is_found_where_the_order_ends(place: int, to: int) -> None:
    moved = [*LINES[:place], *LINES[place + 1 :]]
    moved.insert(to, LINES[place])
    if place == to:
        assert checked(moved).is_good
        return
    found = fault(moved, KEPT)
    assert found.position == min(place, to) + 1
    assert found.kind is Tampering.MOVED
    # Of two that have changed places, either was moved.
    assert found.line in ({place + 1} if abs(place - to) > 1 else {place + 1, to + 1})


@given(st.integers(1, LAST - 1))
def test_a_cut_off_end_is_found_with_a_checkpoint_from_elsewhere_and_only_so(left: int) -> None:
    assert checked(LINES[:left]).fault is None
    found = fault(LINES[:left], KEPT)
    assert (found.kind, found.line) == (Tampering.CUT_OFF, left + 1)
    assert KEPT.at in found.detail


@pytest.mark.parametrize("copied", range(1, LAST))
def test_an_auditor_that_went_on_from_an_old_copy_is_a_fork(copied: int) -> None:
    forked = Chain()
    forked.lines, forked.tip = LINES[:copied], read_line(LINES[copied - 1]).tip
    while len(forked.lines) < LAST + 3:
        forked.record(500 + len(forked.lines))
    assert checked(forked.lines).fault is None
    found = fault(forked.lines, KEPT)
    assert (found.kind, found.line) == (Tampering.FORKED, KEPT.line)


def test_another_trail_under_the_same_name_is_a_fork() -> None:
    other = CHAIN.checkpoint(trail="f" * 32)
    assert fault(LINES, other).kind is Tampering.FORKED


def test_a_checkpoint_by_another_key_is_told() -> None:
    assert fault(LINES, CHAIN.checkpoint(OTHER_KEY)).kind is Tampering.FORGED
    chain = chain_of(3)
    chain.sign(OTHER_KEY)
    found = fault(chain.lines)
    assert (found.kind, found.line) == (Tampering.FORGED, 5)
    # Who does not say which key it has to be learns which it is.
    assert checked(chain.lines, key=None).keys == {OTHER_KEY.public}


def test_a_signature_that_does_not_hold_is_told() -> None:
    forged = Checkpoint(**{**KEPT.fields, "signature": "0" * 128})
    assert fault(LINES, forged).kind is Tampering.FORGED
    stolen = Checkpoint(**{**KEPT.fields, "digest": "0" * 64})
    assert fault(LINES, stolen).kind is Tampering.FORGED


def test_a_checkpoint_among_the_lines_is_of_the_line_before() -> None:
    chain = chain_of(3)
    early = chain.checkpoint()
    chain.record(4)
    chain.add("checkpoint", early.body)
    found = fault(chain.lines)
    assert (found.kind, found.line) == (Tampering.FORGED, 6)


def test_a_number_that_never_came_is_told_once_its_writer_is_far_ahead() -> None:
    chain = chain_of(3)
    chain.record(5)
    found = checked(chain.lines)
    assert found.is_good
    assert [(it.writer, it.first, it.last, it.line) for it in found.awaited] == [(WRITER, 4, 4, 5)]
    # An hour of the trail's own time has passed.
    chain.record(6, at="2026-11-30T17:00:01.000Z")
    found = checked(chain.lines)
    assert not found.is_good
    assert found.fault is None
    assert [(it.first, it.last, it.line) for it in found.missing] == [(4, 4, 5)]
    chain.record(4)
    assert checked(chain.lines).is_good


def test_each_writer_has_numbers_of_its_own() -> None:
    chain = chain_of(2)
    chain.record(1, 2, writer="another")
    assert checked(chain.lines).is_good


def test_an_auditors_own_alarms_are_told() -> None:
    chain = chain_of(2)
    chain.add("conflicting", body(2, client="another"))
    chain.add("unreadable", b'{"sha256":"00"}')
    found = checked(chain.lines)
    assert not found.is_good
    assert [number for number, _why in found.alarms] == [4, 5]


def test_a_record_under_a_number_that_was_there_is_told() -> None:
    chain = chain_of(2)
    chain.record(1)
    assert [number for number, _why in checked(chain.lines).alarms] == [4]


def test_a_line_of_a_kind_that_a_later_release_has_is_part_of_the_chain() -> None:
    chain = chain_of(2)
    chain.add("novelty", b"{}")
    chain.record(3)
    assert checked(chain.lines).is_good


def test_a_trail_without_its_first_file_lacks_its_first_line() -> None:
    found = fault(LINES[3:])
    assert (found.kind, found.line) == (Tampering.REMOVED, 1)


# --- exports --------------------------------------------------------------------------


def exported(**wanted: str) -> list[bytes]:
    chain = Chain()
    for number in range(1, RECORDS + 1):
        chain.add("record", body(number, project=f"p{number % 3}"))
    chain.sign()
    return list(export_lines(chain.lines, RecordFilter(**wanted), TRAIL))


def of_export(lines: list[bytes]) -> Verified:
    return verify(lines, (), signature_holds, key=KEY.public)


def test_an_export_of_one_project_is_verified_and_has_nothing_of_the_others() -> None:
    lines = exported(project="p1")
    found = of_export(lines)
    assert found.is_good
    assert (found.records, found.omitted) == (4, 8)
    assert found.signed is not None
    projects = [json.loads(it)["record"]["data"]["project_id"] for it in lines if b"record" in it]
    assert projects == ["p1"] * 4


@pytest.mark.parametrize("wanted", [{}, {"project": "p1"}, {"client": "compute-17"}])
def test_whatever_is_done_to_an_export_is_found(wanted: dict[str, str]) -> None:
    lines = exported(**wanted)
    for place in range(len(lines)):
        assert of_export([*lines[:place], *lines[place + 1 :]]).fault, f"{place} removed"
        assert of_export([*lines[: place + 1], *lines[place:]]).fault, f"{place} doubled"
        for at in range(0, len(lines[place]), 7):
            changed = bytearray(lines[place])
            changed[at] ^= 1
            spoilt = [*lines[:place], bytes(changed), *lines[place + 1 :]]
            assert of_export(spoilt).fault, f"byte {at} of {place}"
        for to in range(len(lines)):
            moved = [*lines[:place], *lines[place + 1 :]]
            moved.insert(to, lines[place])
            assert place == to or of_export(moved).fault, f"{place} moved to {to}"


def test_an_export_from_a_time_on_begins_in_the_midst() -> None:
    chain = chain_of(3)
    chain.record(4, 6, at="2026-11-30T17:00:00.000Z")
    lines = list(export_lines(chain.lines, RecordFilter(since="2026-11-30T16:30:00.000Z"), TRAIL))
    found = of_export(lines)
    # Which numbers were before, it cannot know; so it says nothing of them.
    assert found.is_good
    assert (found.first, found.records, found.awaited) == (5, 2, [])


def test_an_export_up_to_a_time_goes_on_to_the_checkpoint_that_signs_its_end() -> None:
    chain = chain_of(3)
    chain.record(4, 5, at="2026-11-30T17:00:00.000Z")
    chain.add("checkpoint", chain.checkpoint().body, at="2026-11-30T17:01:00.000Z")
    chain.record(6, at="2026-11-30T18:00:00.000Z")
    until = RecordFilter(until="2026-11-30T16:30:00.000Z")
    found = of_export(list(export_lines(chain.lines, until, TRAIL)))
    assert found.is_good
    assert (found.records, found.omitted, found.tip.number) == (3, 2, 7)
    assert found.signed is not None


def test_what_is_no_line_at_all_is_told_and_not_shown() -> None:
    noise: list[Any] = [
        b"",
        b"{}",
        b"[1]",
        b'{"export":1}',
        b'{"omitted":[1],"line":2}',
        b"\xff" * 9,
    ]
    for text in noise:
        found = verify([text], (), None)
        assert found.fault is not None
        assert found.fault.kind is Tampering.CHANGED
