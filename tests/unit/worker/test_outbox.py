"""What leaves the outbox: what is announced, and in the audit trail, where there is one."""

from collections.abc import Sequence
from typing import Any

import pytest

from kmworker.domain.audit import Act, Actor, ActorKind, AuditRecord, KeptRecord, Unsaid
from kmworker.domain.grants import Attachment, Grant, GrantsChanged, Over
from kmworker.domain.keys import KeyChanged, KeyEvent, KeyRecord, KeyState, LastChange, Operator
from kmworker.domain.message import Confirm, Outgoing
from kmworker.domain.model import Cause
from kmworker.errors import NotRecorded
from kmworker.ports import Answered
from kmworker.worker.outbox import OutboxAnnouncer
from kmworker.worker.recorded import LEFT_ALONE_S, RecordedFirst
from tests.kit.builders import volume
from tests.kit.simulator.clock import SettableClock

AT = "2026-11-30T16:00:00.000Z"


def changed(number: int) -> KeyChanged:
    by = LastChange(KeyEvent.SUSPENDED, AT, Operator("alice", "leak"), KeyState.SUSPENDED)
    key = KeyRecord(f"k{number}", "s", "d", KeyState.SUSPENDED, None, AT, 2, changed=by)
    return KeyChanged("p1", key)


ON, OFF = (Cause(name, "/nova", "any") for name in ("on", "off"))
GRANT = Grant("n1", "rw", None, 0, ON, AT)
MADE = GrantsChanged(volume("v1"), "1", (Attachment("a1", GRANT),), ())
ENDED = GrantsChanged(volume("v1"), "2", (), (Attachment("a1", GRANT, Over(OFF, AT)),))
ENROLLED = KeptRecord(
    "client-enrolled c1 1",
    AuditRecord(Act.CLIENT_ENROLLED, Actor(ActorKind.OPERATOR, "alice"), AT, client="c1"),
)


class Store:
    """An outbox."""

    def __init__(self, *changes: Unsaid) -> None:
        self.left = list(changes)

    def lease(self, *_given: object) -> bool:
        return True

    def unsaid(self) -> list[Unsaid]:
        return list(self.left)

    def said(self, changes: Sequence[Unsaid]) -> None:
        assert changes
        self.left = [it for it in self.left if it not in changes]


class Bus:
    """Takes what is announced; `says` of each what it is told to."""

    def __init__(self) -> None:
        self.says = Confirm.STORED
        self.ids: list[str] = []

    def send(self, messages: Sequence[Outgoing]) -> Answered[list[Confirm]]:
        self.ids += [it.properties["message_id"] for it in messages]
        return Answered([self.says] * len(messages))


class Trail:
    """Records, or refuses."""

    writer = "worker@h/1"

    def __init__(self) -> None:
        self.is_full = False
        self.records: list[AuditRecord] = []
        self.ticks = 0

    def open(self) -> None:
        """It needs no connection."""

    def record(self, records: Sequence[AuditRecord]) -> Answered[None]:
        if self.is_full:
            raise NotRecorded("its queue is full")
        self.records += records
        return Answered(None)

    def tick(self) -> None:
        self.ticks += 1

    def close(self) -> None:
        """Nothing is open."""


def announcer(store: Any, bus: Any, trail: Trail | None) -> OutboxAnnouncer:
    recorded = RecordedFirst(store, SettableClock(), trail)
    return OutboxAnnouncer(store, bus, recorded, worker_id="w", exchange="x", every_s=1.0)


def test_without_a_trail_what_is_announced_leaves() -> None:
    store, bus = Store(changed(1), changed(2)), Bus()
    announcer(store, bus, None).announce("/kmworker")
    assert (store.left, len(bus.ids)) == ([], 2)


def test_what_is_announced_leaves_when_it_is_recorded_with_the_announcements_id() -> None:
    store, bus, trail = Store(changed(1)), Bus(), Trail()
    announcer(store, bus, trail).announce("/kmworker")
    assert store.left == []
    (record,) = trail.records
    assert (record.what, record.who.name, record.reason) == (Act.KEY_SUSPENDED, "alice", "leak")
    assert [record.event] == bus.ids
    assert trail.ticks == 1


def test_a_full_trail_keeps_nothing_from_being_announced_and_that_once() -> None:
    store, bus, trail = Store(changed(1), changed(2)), Bus(), Trail()
    it = announcer(store, bus, trail)
    trail.is_full = True
    for _ in range(5):
        it.announce("/kmworker")
    assert (len(bus.ids), len(store.left)) == (2, 2)
    store.left.append(changed(3))
    it.announce("/kmworker")
    assert len(bus.ids) == 3
    trail.is_full = False
    it.announce("/kmworker")
    assert (store.left, len(bus.ids), len(trail.records)) == ([], 3, 3)


@pytest.mark.parametrize("trail", [None, Trail()])
def test_what_a_subscriber_refuses_is_announced_again(trail: Trail | None) -> None:
    store, bus = Store(changed(1)), Bus()
    it = announcer(store, bus, trail)
    bus.says = Confirm.REFUSED
    it.announce("/kmworker")
    assert store.left == [changed(1)]
    bus.says = Confirm.STORED
    it.announce("/kmworker")
    assert (store.left, len(bus.ids)) == ([], 2)
    assert trail is None or len(trail.records) == 1


def test_grants_and_what_operators_did_are_recorded_and_nobody_else_is_told() -> None:
    store, bus, trail = Store(MADE, ENDED, ENROLLED), Bus(), Trail()
    announcer(store, bus, trail).announce("/kmworker")
    assert (store.left, bus.ids) == ([], [])
    made, ended, enrolled = trail.records
    assert [it.what for it in trail.records] == [
        Act.GRANT_MADE, Act.GRANT_ENDED, Act.CLIENT_ENROLLED,
    ]  # fmt: skip
    assert (made.event, ended.event) == ("on", "off")
    assert {(it.item, it.attachment_id, it.node) for it in (made, ended)} == {
        ("volume:v1", "a1", "n1")
    }
    assert enrolled.client == "c1"


def test_each_record_of_one_act_of_an_operators_says_that_it_is_the_same() -> None:
    trail = Trail()
    for _ in range(2):
        announcer(Store(ENROLLED), Bus(), trail).announce("/kmworker")
    other = KeptRecord("client-enrolled c1 3", ENROLLED.record)
    announcer(Store(other), Bus(), trail).announce("/kmworker")
    first, again, another = (it.event for it in trail.records)
    assert first == again != another
    assert first is not None


def test_what_a_full_trail_does_not_take_stays_until_it_does() -> None:
    store, trail = Store(MADE, ENROLLED, changed(1)), Trail()
    it, trail.is_full = announcer(store, Bus(), trail), True
    it.announce("/kmworker")
    assert store.left == [MADE, ENROLLED, changed(1)]
    trail.is_full = False
    it.announce("/kmworker")
    assert (store.left, len(trail.records)) == ([], 3)


def test_without_a_trail_what_is_left_for_one_leaves() -> None:
    store = Store(MADE, ENROLLED)
    announcer(store, Bus(), None).announce("/kmworker")
    assert store.left == []


def test_events_do_not_wait_for_a_trail_that_has_just_refused() -> None:
    store, trail, clock = Store(MADE), Trail(), SettableClock()
    recorded = RecordedFirst(store, clock, trail)  # type: ignore[arg-type]  # what it needs of one
    found = [recorded.takes]
    trail.is_full = True
    recorded.said([MADE], "/kmworker")
    found.append(recorded.takes)
    clock.sleep(LEFT_ALONE_S)
    found.append(recorded.takes)
    recorded.said([MADE], "/kmworker")
    found.append(recorded.takes)
    trail.is_full = False
    # Whoever looks into the outbox goes on trying.
    recorded.said([MADE], "/kmworker")
    found.append(recorded.takes)
    assert found == [True, False, True, False, True]
    assert store.left == []


def test_a_release_that_ends_no_attachment_leaves_without_a_record() -> None:
    store, trail = Store(GrantsChanged(volume("v1"), "released 0", (), ())), Trail()
    announcer(store, Bus(), trail).announce("/kmworker")
    assert (store.left, trail.records) == ([], [])
