"""What leaves the outbox: what is announced, and in the audit trail, where there is one."""

from collections.abc import Sequence
from typing import Any

import pytest

from kmworker.domain.audit import Act, AuditRecord
from kmworker.domain.keys import KeyChanged, KeyEvent, KeyRecord, KeyState, LastChange, Operator
from kmworker.domain.message import Confirm, Outgoing
from kmworker.errors import NotRecorded
from kmworker.ports import Answered
from kmworker.worker.outbox import OutboxAnnouncer
from kmworker.worker.recorded import RecordedFirst

AT = "2026-11-30T16:00:00.000Z"


def changed(number: int) -> KeyChanged:
    by = LastChange(KeyEvent.SUSPENDED, AT, Operator("alice", "leak"), KeyState.SUSPENDED)
    key = KeyRecord(f"k{number}", "s", "d", KeyState.SUSPENDED, None, AT, 2, changed=by)
    return KeyChanged("p1", key)


class Store:
    """An outbox."""

    def __init__(self, *changes: KeyChanged) -> None:
        self.left = list(changes)

    def lease(self, *_given: object) -> bool:
        return True

    def unsaid(self) -> list[KeyChanged]:
        return list(self.left)

    def said(self, changes: Sequence[KeyChanged]) -> None:
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
    recorded = RecordedFirst(store, trail)
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
