"""Numbers without gaps: whatever a broker refuses or loses is sent again under its own."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from kmworker.bus.audit_trail import MAX_UNCONFIRMED, RabbitAuditTrail, writer_name
from kmworker.bus.publisher import Sent
from kmworker.domain.audit import Act, Actor, ActorKind, AuditRecord
from kmworker.domain.message import Confirm, Outgoing
from kmworker.errors import BrokerUnavailable, NotRecorded
from tests.unit.bus.stubs import SETTINGS, StubBroker, StubLink

RECORD = AuditRecord(Act.KEY_DELIVERED, Actor(ActorKind.CLIENT, "c"), "2026-11-30T16:00:00.000Z")


class Publisher:
    """Confirms, refuses or loses what it is given, as it is told."""

    def __init__(self) -> None:
        self.says = Confirm.STORED
        self.refuses: set[int] = set()
        self.is_away = self.loses = False
        self.is_open = False
        self.answers = True
        self.wire: list[tuple[int, bytes]] = []
        self.renewed = 0

    def open(self) -> None:
        if self.is_away:
            raise BrokerUnavailable("connection refused")
        self.is_open = True

    def renew(self) -> None:
        self.renewed += 1

    def send(self, messages: Sequence[Outgoing]) -> Sent:
        self.wire += [(json.loads(it.body)["data"]["number"], it.body) for it in messages]
        sent = Sent(messages, 0.0, [self._of(it) for it in messages])
        if self.loses:
            self.is_open, sent.is_lost = False, True
        return sent

    def _of(self, message: Outgoing) -> Confirm:
        number = json.loads(message.body)["data"]["number"]
        return Confirm.REFUSED if number in self.refuses else self.says

    def confirmed(self, sent: Sent) -> list[Confirm]:
        if sent.is_lost:
            raise BrokerUnavailable("the connection was lost before all confirms had come")
        return sent.confirms

    def is_over(self, sent: Sent) -> bool:
        return sent.is_lost or self.answers

    def tick(self) -> None:
        """Nothing idles here."""

    def close(self) -> None:
        self.is_open = False

    @property
    def numbers(self) -> list[int]:
        return [number for number, _body in self.wire]


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setattr("kmworker.bus.audit_trail.ensure_audit", lambda *_given: None)
    return Publisher()


@pytest.fixture
def trail(publisher: Publisher) -> RabbitAuditTrail:
    made: Any = RabbitAuditTrail(SETTINGS, "worker")
    made._publisher, made._link = publisher, StubLink(StubBroker())
    made._link.open()
    return made  # type: ignore[no-any-return]  # with another publisher


def refused(trail: RabbitAuditTrail, count: int = 1) -> None:
    with pytest.raises(NotRecorded):
        trail.record([RECORD] * count).result()


def test_numbers_begin_at_one_and_go_on(trail: RabbitAuditTrail, publisher: Publisher) -> None:
    trail.record([RECORD, RECORD]).result()
    trail.record([RECORD]).result()
    assert publisher.numbers == [1, 2, 3]
    assert trail.unconfirmed == 0


@pytest.mark.parametrize("says", [Confirm.REFUSED, Confirm.UNROUTED])
def test_what_is_refused_goes_first_the_next_time_with_the_same_bytes(
    trail: RabbitAuditTrail, publisher: Publisher, says: Confirm
) -> None:
    publisher.says = says
    refused(trail)
    publisher.says = Confirm.STORED
    trail.record([RECORD]).result()
    assert publisher.numbers == [1, 1, 2]
    assert publisher.wire[0] == publisher.wire[1]
    assert publisher.renewed == 1
    assert trail.unconfirmed == 0


def test_what_is_lost_with_its_connection_is_sent_again(
    trail: RabbitAuditTrail, publisher: Publisher
) -> None:
    publisher.loses = True
    refused(trail, 2)
    publisher.loses = False
    trail.tick()
    trail.tick()
    assert publisher.numbers == [1, 2, 1, 2]
    assert trail.unconfirmed == 0


def test_a_broker_that_is_away_costs_no_number(
    trail: RabbitAuditTrail, publisher: Publisher
) -> None:
    publisher.is_away = True
    for _ in range(3):
        refused(trail)
    publisher.is_away = False
    trail.record([RECORD]).result()
    assert publisher.numbers == [1]


def test_of_several_the_one_that_is_refused_is_sent_again_and_no_other(
    trail: RabbitAuditTrail, publisher: Publisher
) -> None:
    publisher.refuses = {2}
    refused(trail, 3)
    publisher.refuses = set()
    trail.tick()
    trail.tick()
    assert publisher.numbers == [1, 2, 3, 2]


def test_what_was_refused_before_is_no_fault_of_what_comes_after(
    trail: RabbitAuditTrail, publisher: Publisher
) -> None:
    publisher.refuses = {1}
    refused(trail)
    trail.record([RECORD]).result()
    assert trail.unconfirmed == 1


def test_answers_may_be_taken_late_and_in_any_order(
    trail: RabbitAuditTrail, publisher: Publisher
) -> None:
    publisher.loses = True
    first = trail.record([RECORD])
    publisher.loses = False
    second = trail.record([RECORD])
    second.result()
    # It was lost, and then sent again with the second.
    first.result()
    assert publisher.numbers == [1, 1, 2]
    assert trail.unconfirmed == 0


def test_what_was_lost_and_is_on_its_way_again_is_not_sent_a_third_time(
    trail: RabbitAuditTrail, publisher: Publisher
) -> None:
    publisher.loses = True
    first = trail.record([RECORD])
    publisher.loses, publisher.answers = False, False
    second = trail.record([RECORD])
    with pytest.raises(NotRecorded):
        first.result()
    trail.record([RECORD])
    second.result()
    assert publisher.numbers == [1, 1, 2, 3]


def test_no_more_than_so_many_are_kept_and_beyond_them_no_number_is_given(
    trail: RabbitAuditTrail, publisher: Publisher
) -> None:
    publisher.says = Confirm.REFUSED
    refused(trail, MAX_UNCONFIRMED)
    refused(trail)
    publisher.says = Confirm.STORED
    trail.tick()
    trail.tick()
    trail.record([RECORD]).result()
    assert max(publisher.numbers) == MAX_UNCONFIRMED + 1


def test_what_is_not_confirmed_is_sent_once_more_before_it_leaves(
    trail: RabbitAuditTrail, publisher: Publisher
) -> None:
    publisher.says = Confirm.REFUSED
    refused(trail)
    publisher.says = Confirm.STORED
    trail.close()
    assert publisher.numbers == [1, 1]
    assert trail.unconfirmed == 0
    assert not publisher.is_open


def test_a_record_that_is_too_large_is_a_fault_and_costs_no_number(
    trail: RabbitAuditTrail, publisher: Publisher
) -> None:
    huge = AuditRecord(RECORD.what, RECORD.who, RECORD.at, reason="x" * 25_000)
    with pytest.raises(ValueError, match="a record of 2"):
        trail.record([huge])
    trail.record([RECORD]).result()
    assert publisher.numbers == [1]


def test_no_two_starts_have_one_name() -> None:
    names = {writer_name("worker") for _ in range(100)}
    assert len(names) == 100
    assert all(it.startswith("worker@") and len(it) < 255 for it in names)
