"""Reports: on time, complete, and never in the way."""

import os
from typing import cast

import pytest
from structlog.testing import capture_logs

from kmworker.domain.decision import Refuse
from kmworker.domain.keks import KeyringFlaw, KeyringTrouble
from kmworker.errors import BrokerUnavailable, PermanentError, Reason, StoreUnavailable
from kmworker.ports import Bus, Pending, QueueCounts, Report
from kmworker.worker.chores import Chores
from kmworker.worker.reporter import MAX_FEED, Reporter
from kmworker.worker.tally import Tally
from tests.kit.builders import assignment_of
from tests.kit.builders import volume as volume_item
from tests.kit.simulator.clock import SettableClock

COUNTS = QueueCounts(work=3, dead=1, consumers=2)


class Desk:
    """Where reports are written and queues are counted."""

    def __init__(self) -> None:
        self.clock = SettableClock()
        self.tally = Tally(self.clock)
        self.written: list[Report] = []
        self.fails: dict[str, Exception] = {}
        self.keyring_trouble: KeyringTrouble | None = None
        self.reporter = Reporter(
            self,
            cast("Bus", self),
            self.tally,
            self.clock,
            worker_id="w1",
            kek_ids=lambda: "ba",
            keyring_trouble=lambda: self.keyring_trouble,
        )
        self._chores = Chores(self.clock, self.reporter.chores)

    def report(self) -> None:
        """Report all that it is time for."""
        while self._chores.are_due:
            self._chores.do_one()

    def write(self, report: Report) -> Pending[None]:
        if "write" in self.fails:
            raise self.fails["write"]
        self.written.append(report)
        return self

    def done(self) -> bool:
        return True

    def result(self) -> None:
        if "result" in self.fails:
            raise self.fails["result"]

    def count_if_due(self, _now: float) -> None:
        if "count" in self.fails:
            raise self.fails["count"]

    def counts(self) -> QueueCounts:
        if "counts" in self.fails:
            raise self.fails["counts"]
        return COUNTS


def test_a_worker_reports_once_a_second_and_counts_queues_every_five() -> None:
    desk = Desk()
    begun = desk.clock.monotonic()
    selves, queues = [], []
    for _ in range(201):
        before = len(desk.written)
        desk.report()
        at = round(desk.clock.monotonic() - begun, 1)
        selves += [at for report in desk.written[before:] if report.fields]
        queues += [at for report in desk.written[before:] if report.queues]
        desk.clock.advance(0.1)
    assert len(selves) in {20, 21}
    first, *later = queues
    assert first == 0.0
    assert later == [5.0, 10.0, 15.0, 20.0]


def test_the_feed_is_told_soon_and_in_pages() -> None:
    desk = Desk()
    desk.report()
    desk.written.clear()
    desk.tally.assigned([assignment_of(volume_item(f"v{n}")) for n in range(2 * MAX_FEED + 1)])
    for _ in range(5):
        desk.clock.advance(0.1)
        desk.report()
    pages = [[entry["item"] for entry in report.feed] for report in desk.written if report.feed]
    assert [len(page) for page in pages] == [MAX_FEED, MAX_FEED, 1]
    assert [item for page in pages for item in page] == [
        f"volume:v{n}" for n in range(2 * MAX_FEED + 1)
    ]
    assert not any(report.fields for report in desk.written)


def test_a_report_says_who_where_and_how_it_goes() -> None:
    desk = Desk()
    desk.tally.count("create", 2)
    desk.tally.last_batch_at = 17.0
    desk.tally.last_error = "StoreUnavailable: gone"
    desk.report()
    report = desk.written[0]
    assert report.worker_id == "w1"
    assert report.seen_at == desk.clock.now()
    assert report.fields["pid"] == os.getpid()
    assert report.fields["state"] == "running"
    assert report.fields["last_batch"] == 17.0
    assert report.fields["last_error"] == "StoreUnavailable: gone"
    assert report.fields["create"] == 2


def test_the_log_says_once_a_second_what_was_done_and_nothing_while_nothing_is() -> None:
    desk = Desk()
    with capture_logs() as lines:
        for created in (2, 0, 3):
            desk.tally.count("create", created)
            desk.tally.count("failures", 1)
            desk.report()
            desk.report()
            desk.clock.advance(1)
        desk.tally.count("dead")
        desk.reporter.last()
    assert [{**line, "log_level": None} for line in lines] == [
        {"event": "handled", "log_level": None, **done}
        for done in ({"create": 2}, {"create": 3}, {"dead": 1})
    ]


def test_the_feed_tells_each_thing_once() -> None:
    desk = Desk()
    desk.tally.assigned([assignment_of(volume_item("v"))])
    desk.tally.dead(Refuse(Reason.CONFLICT, "from elsewhere"), "e1", "volume-created", "now")
    desk.report()
    desk.clock.advance(2)
    desk.report()
    assignment, letter = [entry for report in desk.written for entry in report.feed]
    assert [assignment["what"], letter["what"]] == ["assignment", "dead"]
    assert assignment["item"] == "volume:v"
    assert letter["reason"] == "conflict"


def test_each_minute_is_told_once_when_it_has_ended() -> None:
    desk = Desk()
    minutes = []
    for second in range(181):
        desk.tally.count("create")
        desk.tally.took(second / 1000)
        desk.report()
        desk.clock.advance(1)
    minutes = [report.minute for report in desk.written if report.minute is not None]
    assert len(minutes) == 3
    assert [minute["create"] for minute in minutes] == [61, 60, 60]
    assert minutes[0]["latency_p50_ms"] == pytest.approx(30, abs=1)
    assert minutes[0]["latency_p99_ms"] == pytest.approx(60, abs=1)
    assert minutes[0]["worker"] == "w1"


def test_the_last_report_tells_what_is_left() -> None:
    desk = Desk()
    desk.report()
    desk.tally.count("reuse", 4)
    desk.tally.assigned([assignment_of(volume_item("v"))])
    desk.reporter.last()
    last = desk.written[-1]
    assert last.fields["state"] == "stopped"
    assert last.minute is not None
    assert last.minute["reuse"] == 4
    assert len(last.feed) == 1


FAULTS = [
    StoreUnavailable("gone"),
    BrokerUnavailable("gone"),
    PermanentError(Reason.INTEGRITY, "wrong type"),
    ValueError("a bug"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("what", ["write", "result", "counts"])
def test_a_report_that_fails_is_no_failure(what: str, fault: Exception) -> None:
    desk = Desk()
    desk.fails[what] = fault
    desk.report()
    desk.reporter.last()
    desk.fails.clear()
    desk.clock.advance(10)
    desk.report()
    assert desk.written[-1].queues == COUNTS


def test_a_report_says_that_the_keyring_file_is_not_taken_up_in_fixed_words() -> None:
    desk = Desk()
    desk.report()
    assert desk.written[0].fields["keyring_trouble"] == ""
    assert desk.written[0].fields["keyring_trouble_since"] == 0.0
    desk.keyring_trouble = KeyringTrouble(KeyringFlaw.ROOT_AWAY, 17.0)
    desk.clock.advance(1)
    desk.written.clear()
    desk.report()
    assert desk.written[0].fields["keyring_trouble"] == "root-away"
    assert desk.written[0].fields["keyring_trouble_since"] == 17.0
