"""A call to the broker is answered in time, or the connection ends."""

import pytest

from kmworker.bus.amqp import link as link_module
from kmworker.errors import BrokerUnavailable
from tests.kit.amqp_frames import HEARTBEAT, declare_ok
from tests.kit.simulator.clock import SettableClock
from tests.unit.bus.stubs import SETTINGS, StubBroker, StubLink

BEAT = (HEARTBEAT, 0, b"")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SettableClock:
    it = SettableClock()
    monkeypatch.setattr(link_module, "monotonic", it.monotonic)
    return it


def test_heartbeats_alone_are_no_answer(clock: SettableClock) -> None:
    broker = StubBroker()
    link = StubLink(broker)
    link.open()

    def wait_for_ever() -> None:
        with link.call():
            while True:
                clock.advance(SETTINGS.heartbeat_s / 2)
                broker.on_inbound_frame(BEAT)

    with pytest.raises(BrokerUnavailable, match="no answer within 30 s"):
        wait_for_ever()
    assert not link.is_open


def test_an_answer_in_time_is_taken_and_later_calls_have_their_own_time(
    clock: SettableClock,
) -> None:
    broker = StubBroker()
    taken: list[object] = []
    broker.on_inbound_frame = taken.append
    link = StubLink(broker)
    link.open()
    for _ in range(3):
        with link.call():
            clock.advance(SETTINGS.confirm_timeout_s - 1)
            broker.on_inbound_frame(declare_ok())
    assert taken == [declare_ok()] * 3
    assert link.is_open


def test_outside_a_call_anything_may_come_at_any_time(clock: SettableClock) -> None:
    broker = StubBroker()
    link = StubLink(broker)
    link.open()
    with link.call():
        pass
    clock.advance(1000)
    assert broker.on_inbound_frame(BEAT) == BEAT


def test_a_call_on_a_lost_connection_is_an_outage() -> None:
    link = StubLink(StubBroker())
    with pytest.raises(BrokerUnavailable), link.call():
        raise AssertionError("must not get here")
