"""Confirms: each for its own message, however late, together or out of order they come."""

from collections.abc import Callable
from datetime import timedelta
from itertools import count, pairwise

import pytest
from amqp.exceptions import ConnectionForced, FrameSyntaxError, NotFound, PreconditionFailed
from hypothesis import given
from hypothesis import strategies as st

from kmworker.bus.publisher import Publisher
from kmworker.domain.message import Confirm, Outgoing
from kmworker.errors import BrokerUnavailable, PublishRefused, Unsendable
from tests.kit.simulator.clock import SettableClock
from tests.unit.bus.stubs import StubBroker, StubLink, message

STORED, UNROUTED, REFUSED = Confirm.STORED, Confirm.UNROUTED, Confirm.REFUSED
A, B, C = message("a"), message("b"), message("c")


def connected(
    confirm_timeout_s: float = 30.0, monotonic: Callable[[], float] | None = None
) -> tuple[Publisher, StubBroker]:
    """A publisher for which time passes by being looked at, unless it has another."""
    broker, looks = StubBroker(), count()
    publisher = Publisher(
        StubLink(broker), confirm_timeout_s, monotonic or (lambda: next(looks) / 100)
    )
    publisher.open()
    return publisher, broker


def test_nothing_is_published_for_nothing() -> None:
    publisher, broker = connected()
    assert publisher.publish([]) == []
    assert not broker.published


def test_tags_go_on_from_one_call_to_the_next() -> None:
    publisher, broker = connected()
    broker.ack(2, multiple=True)
    publisher.publish([A, B])
    broker.ack(3)
    assert publisher.publish([C]) == [True]


def test_every_message_is_waited_for() -> None:
    publisher, broker = connected(confirm_timeout_s=0.1)
    broker.ack(1)
    broker.ack(3)
    with pytest.raises(BrokerUnavailable, match=r"1 messages were not confirmed within 0\.1 s"):
        publisher.publish([A, B, C])


@pytest.mark.parametrize("other", [7, 1], ids=["never sent", "a repeat"])
def test_a_confirm_of_nothing_that_is_awaited_confirms_nothing(other: int) -> None:
    publisher, broker = connected(confirm_timeout_s=0.1)
    broker.ack(1)
    broker.ack(other)
    with pytest.raises(BrokerUnavailable):
        publisher.publish([A, B])


def test_a_late_confirm_ends_with_its_connection_and_is_not_taken_for_the_next_messages() -> None:
    publisher, broker = connected(confirm_timeout_s=0.1)
    with pytest.raises(BrokerUnavailable):
        publisher.publish([A])
    assert not publisher.is_open
    publisher.open()
    # Tags begin at one again, and this one is not confirmed.
    with pytest.raises(BrokerUnavailable):
        publisher.publish([B])
    publisher.open()
    broker.ack(1)
    assert publisher.publish([C]) == [True]


@pytest.mark.parametrize("multiple", [False, True])
def test_a_refusal_is_no_confirm(multiple: bool) -> None:
    publisher, broker = connected()
    broker.ack(1)
    broker.nack(3 if multiple else 2, multiple=multiple)
    broker.ack(3)
    with pytest.raises(BrokerUnavailable, match="exchange: a queue bound to it refused to store"):
        publisher.publish([A, B, C])
    # Nothing is wrong with the connection.
    assert publisher.is_open


def test_it_is_told_of_each_message_whether_it_was_refused() -> None:
    publisher, broker = connected()
    sent, other = publisher.send([A, B, C]), publisher.send([A, B])
    broker.nack(2)
    broker.ack(1)
    broker.give_back(C)
    broker.ack(3)
    broker.nack(5, multiple=True)
    assert publisher.confirmed(sent) == [STORED, REFUSED, UNROUTED]
    assert publisher.confirmed(other) == [REFUSED, REFUSED]
    broker.ack(6)
    assert publisher.publish([A]) == [True]


OVER_A_PUBLICATION = [FrameSyntaxError("too large"), PreconditionFailed("no such user")]


@pytest.mark.parametrize("error", OVER_A_PUBLICATION, ids=["connection", "channel"])
@pytest.mark.parametrize("look", ["confirmed", "is_over", "tick"])
def test_an_end_over_what_was_published_is_told_from_an_outage(error: Exception, look: str) -> None:
    publisher, broker = connected()
    sent = publisher.send([A])
    broker.fail(error)
    with pytest.raises(PublishRefused):
        publisher.tick() if look == "tick" else getattr(publisher, look)(sent)


@pytest.mark.parametrize(
    "error", [ConnectionForced("shutdown"), NotFound("no exchange"), OSError()]
)
def test_any_other_end_is_an_outage(error: Exception) -> None:
    publisher, broker = connected()
    sent = publisher.send([A])
    broker.fail(error)
    with pytest.raises(BrokerUnavailable) as raised:
        publisher.confirmed(sent)
    assert not isinstance(raised.value, PublishRefused)
    assert raised.value.__cause__ is error


def test_nothing_is_to_blame_for_an_end_while_nothing_is_on_its_way() -> None:
    publisher, broker = connected()
    broker.ack(1)
    publisher.publish([A])
    broker.fail(FrameSyntaxError("too large"))
    with pytest.raises(BrokerUnavailable) as raised:
        publisher.tick()
    assert not isinstance(raised.value, PublishRefused)


@pytest.mark.parametrize(("frame_max", "fits"), [(4096, True), (4095, False)])
def test_what_is_larger_than_a_frame_is_not_sent(frame_max: int, fits: bool) -> None:
    publisher, broker = connected()
    broker.frame_max = frame_max
    overhead = 7 + 1 + 12 + 2 + 4 + 2 + 5 + len("m") + 1
    large = message("m", application_headers={"x": "a" * (4096 - overhead)})
    broker.ack(1)
    if fits:
        assert publisher.publish([large]) == [True]
        return
    with pytest.raises(Unsendable):
        publisher.publish([A, large])
    assert not broker.published
    assert publisher.publish([A]) == [True]


def test_it_can_be_seen_without_waiting_that_all_confirms_have_come() -> None:
    publisher, broker = connected()
    sent = publisher.send([A, B])
    assert not publisher.is_over(sent)
    broker.ack(2)
    assert not publisher.is_over(sent)
    broker.ack(1)
    assert publisher.is_over(sent)
    assert publisher.confirmed(sent) == [STORED, STORED]


def test_waiting_is_over_when_it_is_in_vain() -> None:
    clock = SettableClock()
    publisher, broker = connected(30.0, clock.monotonic)
    late = publisher.send([A])
    assert not publisher.is_over(late)
    clock.advance(30.0)
    assert publisher.is_over(late)
    with pytest.raises(BrokerUnavailable, match="were not confirmed"):
        publisher.confirmed(late)
    assert publisher.is_over(late)

    publisher.open()
    lost = publisher.send([B])
    broker.fail(ConnectionResetError("peer"))
    with pytest.raises(BrokerUnavailable, match="peer"):
        publisher.is_over(lost)
    publisher.open()
    assert publisher.is_over(lost)
    with pytest.raises(BrokerUnavailable, match="lost"):
        publisher.confirmed(lost)


def test_what_came_during_a_pause_of_ours_is_not_late() -> None:
    clock = SettableClock()
    publisher, broker = connected(monotonic=clock.monotonic)
    sent = publisher.send([A, B])
    broker.ack(2, multiple=True)
    clock.advance(100.0)
    assert publisher.confirmed(sent) == [STORED, STORED]
    assert publisher.is_open


def test_connections_are_looked_after_however_steadily_confirms_come() -> None:
    clock, ticks = SettableClock(), []
    publisher, broker = connected(confirm_timeout_s=100.0, monotonic=clock.monotonic)
    for tag in range(1, 31):
        broker.script.append(lambda: clock.advance(0.5))
        broker.ack(tag)
    sent = publisher.send([A] * 30)
    assert publisher.confirmed(sent, lambda: ticks.append(clock.monotonic())) == [STORED] * 30
    assert broker.ticks == len(ticks)
    assert 10 <= len(ticks) <= 15


def test_a_return_is_not_carried_over_to_the_next_call() -> None:
    publisher, broker = connected()
    broker.give_back(A)
    broker.ack(1)
    assert publisher.publish([A]) == [False]
    broker.ack(2)
    assert publisher.publish([A]) == [True]


def test_each_return_counts_for_one_of_several_with_the_same_id() -> None:
    publisher, broker = connected()
    for _ in range(2):
        broker.give_back(A)
    broker.ack(4, multiple=True)
    assert publisher.publish([A, A, B, A]) == [False, False, True, True]


def test_a_return_is_not_for_what_was_confirmed_before() -> None:
    publisher, broker = connected()
    broker.ack(1)
    broker.give_back(A)
    broker.ack(2)
    assert publisher.publish([A, A]) == [True, False]


@pytest.mark.parametrize(
    ("other", "returned"),
    [
        (message("same", key="here"), message("same", key="there")),
        (A, message("m", key="bare", message_id=None)),
    ],
    ids=["the same id", "no id"],
)
def test_returns_are_told_apart_by_where_they_went(other: Outgoing, returned: Outgoing) -> None:
    publisher, broker = connected()
    broker.give_back(returned)
    broker.ack(2, multiple=True)
    assert publisher.publish([other, returned]) == [True, False]


@pytest.mark.parametrize("lost_at", [0, 1])
def test_a_connection_that_breaks_while_waiting_is_dropped(lost_at: int) -> None:
    publisher, broker = connected()
    for tag in range(1, lost_at + 1):
        broker.ack(tag)
    broker.fail(ConnectionResetError("peer"))
    with pytest.raises(BrokerUnavailable, match="peer"):
        publisher.publish([A, B])
    assert not publisher.is_open
    publisher.open()
    broker.ack(2, multiple=True)
    assert publisher.publish([B, C]) == [True, True]


def test_a_connection_that_breaks_while_publishing_is_dropped() -> None:
    publisher, broker = connected()
    broker.confirming = False
    broker.send_method = _raise(BrokenPipeError())  # type: ignore[method-assign]
    with pytest.raises(BrokerUnavailable):
        publisher.publish([A])
    assert not publisher.is_open


def test_publishing_on_a_dropped_connection_is_refused() -> None:
    publisher, _broker = connected()
    publisher.close()
    with pytest.raises(BrokerUnavailable):
        publisher.publish([A])


def test_the_other_connection_is_looked_after_while_confirms_are_awaited() -> None:
    publisher, broker = connected()
    looked_after: list[int] = []

    def look_after() -> None:
        looked_after.append(1)
        if len(looked_after) == 3:
            broker.ack(1)

    assert publisher.publish([A], while_waiting=look_after) == [True]
    assert len(looked_after) == 3
    assert broker.ticks == 3


def test_when_the_other_connection_fails_meanwhile_this_one_is_dropped_too() -> None:
    """Its confirms are still to come, and must not be taken for the next call's."""
    publisher, broker = connected()
    with pytest.raises(BrokerUnavailable):
        publisher.publish([A, B, C], while_waiting=_raise(BrokerUnavailable("other")))
    assert not publisher.is_open
    publisher.open()
    broker.ack(1)
    assert publisher.publish([A]) == [True]


@pytest.mark.parametrize("value", [object(), 2**70, timedelta(1)], ids=["object", "int", "delta"])
def test_what_cannot_be_encoded_is_no_broken_connection(value: object) -> None:
    publisher, broker = connected()
    bad = message("bad", application_headers={"x": value})
    with pytest.raises(Exception, match=r".") as raised:
        publisher.publish([A, bad])
    assert not isinstance(raised.value, BrokerUnavailable)
    assert not broker.published
    broker.ack(1)
    assert publisher.publish([A]) == [True]


def test_an_idle_publisher_is_ticked_and_a_closed_one_left_alone() -> None:
    publisher, broker = connected()
    publisher.tick()
    assert broker.ticks == 1
    broker.fail(ConnectionResetError("peer"))
    with pytest.raises(BrokerUnavailable):
        publisher.tick()
    publisher.tick()
    assert broker.ticks == 2


@given(st.data())
def test_any_legal_sequence_of_confirms_is_enough(data: st.DataObject) -> None:
    """Singles and multiples, in any order, as long as each message is covered in the end."""
    sent = data.draw(st.integers(1, 12), "messages")
    unrouted = data.draw(st.sets(st.integers(0, sent - 1)), "unrouted")
    cuts = sorted({0, sent, *data.draw(st.sets(st.integers(1, sent)), "multiples")})
    publisher, broker = connected()
    messages = [message(f"m{number}") for number in range(sent)]
    for number in sorted(unrouted):
        broker.give_back(messages[number])
    for before, upto in pairwise(cuts):
        if data.draw(st.booleans(), "singly"):
            for tag in data.draw(st.permutations(range(before + 1, upto + 1)), "order"):
                broker.ack(tag)
        else:
            broker.ack(upto, multiple=True)
    assert publisher.publish(messages) == [number not in unrouted for number in range(sent)]


def _raise(error: Exception) -> Callable[..., None]:
    def raise_it(*_arguments: object) -> None:
        raise error

    return raise_it


def test_a_signing_publisher_says_who_it_is_and_no_other_does() -> None:
    for user, options in (
        ("cinder", {"signs": True}),
        ("by-certificate", {"signs": True, "user": "by-certificate"}),
        (None, {"signs": True, "user": ""}),
        (None, {}),
    ):
        broker = StubBroker()
        publisher = Publisher(StubLink(broker), 30.0, **options)
        publisher.open()
        broker.known_as = "cinder"  # type: ignore[attr-defined]
        sent = publisher.send([A])
        assert sent.messages[0].properties.get("user_id") == user
        assert "user_id" not in A.properties
