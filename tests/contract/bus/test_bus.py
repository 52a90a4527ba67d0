"""What every bus promises to the worker."""

from hashlib import sha256
from time import monotonic

import pytest

from kmworker.domain.message import MAX_BODY_BYTES, Confirm, Delivery, Digest, Outgoing
from kmworker.embedded.streams import StreamBus
from kmworker.ports import Bus
from tests.contract.bus.conftest import Stage, nothing_more, settled, taken
from tests.kit.polling import until

STORED, UNROUTED = Confirm.STORED, Confirm.UNROUTED


def _events(stage: Stage, *bodies: str) -> list[Outgoing]:
    properties = {"content_type": "application/json", "delivery_mode": 2, "message_id": "m1"}
    return [
        Outgoing(stage.topology.events, "volume-created", body.encode(), properties)
        for body in bodies
    ]


def _put_aside(bus: Bus, number: int) -> list[Delivery]:
    found: list[Delivery] = []
    while len(found) < number:
        found += (deliveries := taken(bus, 1))
        assert deliveries
        bus.put_aside(deliveries)
    return found


def _bodies(deliveries: object) -> list[str]:
    return [it.original.body.decode() for it in deliveries]  # type: ignore[attr-defined]


def test_a_message_arrives_as_it_was_published(stage: Stage) -> None:
    bus = stage.bus()
    headers = {"x-trace": "abc", "x-number": 7}
    properties = {"content_type": "application/json", "application_headers": headers, "type": "t"}
    body = b'{"\xc3\xa4": "\\u0000"}\xff'
    stage.produce([Outgoing(stage.topology.events, "snapshot-taken", body, properties)])
    (delivery,) = taken(bus, 1)
    assert delivery.original.body == body
    assert delivery.original.routing_key == "snapshot-taken"
    assert dict(delivery.original.properties) == properties
    assert delivery.delivery_count == 0


# The last is the largest that a RabbitMQ with the shipped settings takes.
@pytest.mark.parametrize("size", [MAX_BODY_BYTES, MAX_BODY_BYTES + 1, 131_072])
def test_a_body_larger_than_any_event_comes_as_its_digest_and_length(
    stage: Stage, size: int
) -> None:
    bus = stage.bus()
    body = b"x" * size
    stage.produce([Outgoing(stage.topology.events, "snapshot-taken", body, {"type": "t"})])
    (delivery,) = taken(bus, 1)
    original = delivery.original
    assert original.digest == sha256(body).hexdigest()
    if size == MAX_BODY_BYTES:
        assert (original.body, original.dropped) == (body, None)
    else:
        assert (original.body, original.dropped) == (b"", Digest(original.digest, size))
    assert dict(original.properties) == {"type": "t"}
    bus.acknowledge([delivery])
    assert nothing_more(bus)


def test_messages_come_in_order_and_no_more_than_the_limit_at_once(stage: Stage) -> None:
    bus = stage.bus()
    stage.produce(_events(stage, *"abcdefg"))
    batches = [taken(bus, 3), taken(bus, 3), taken(bus, 1)]
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert _bodies([it for batch in batches for it in batch]) == list("abcdefg")


def test_what_a_dead_consumer_had_is_delivered_again_and_counted(stage: Stage) -> None:
    first = stage.bus()
    stage.produce(_events(stage, "a", "b", "c"))
    had = taken(first, 3)
    first.acknowledge(had[:1])
    if hasattr(first, "counts"):
        first.counts()  # a synchronous call: the acknowledgement has arrived before it
    stage.kill(first)
    second = stage.bus()
    again = settled(second, 2)
    assert sorted(_bodies(again)) == ["b", "c"]
    assert [it.delivery_count for it in again] == [1, 1]
    assert nothing_more(second)


def test_a_bus_that_is_closed_gives_back_at_once(stage: Stage) -> None:
    first = stage.bus()
    stage.produce(_events(stage, "a"))
    taken(first, 1)
    first.close()
    assert _bodies(taken(stage.bus(), 1)) == ["a"]


def test_a_bus_that_is_opened_again_gets_its_own_messages_again(stage: Stage) -> None:
    bus = stage.bus()
    stage.produce(_events(stage, "a", "b"))
    before = taken(bus, 2)
    generation = bus.generation
    stage.kill(bus)
    bus.open()
    assert bus.generation > generation
    again = taken(bus, 1)
    # Tags of the channel that is gone mean nothing now.
    bus.acknowledge(before)
    bus.acknowledge(again)
    assert sorted(_bodies([*again, *settled(bus, 1)])) == ["a", "b"]
    assert nothing_more(bus)


def test_acknowledgements_may_leave_gaps(stage: Stage) -> None:
    bus = stage.bus()
    stage.produce(_events(stage, *"abcde"))
    deliveries = taken(bus, 5)
    bus.acknowledge([deliveries[0], deliveries[1], deliveries[3]])
    bus.acknowledge([deliveries[1]])
    bus.counts()
    stage.kill(bus)
    assert sorted(_bodies(settled(stage.bus(), 2))) == ["c", "e"]


def test_no_more_is_delivered_than_the_prefetch(stage: Stage) -> None:
    bus = stage.bus(prefetch=2)
    stage.produce(_events(stage, *"abc"))
    first = taken(bus, 2)
    assert nothing_more(bus)
    bus.acknowledge(first)
    assert _bodies(taken(bus, 1)) == ["c"]


def test_two_consumers_share_the_messages(stage: Stage) -> None:
    one, other = stage.bus(prefetch=2), stage.bus(prefetch=2)
    stage.produce(_events(stage, *"abcd"))
    assert sorted(_bodies([*taken(one, 2), *taken(other, 2)])) == list("abcd")


def test_publishing_says_which_message_no_queue_was_bound_for(stage: Stage) -> None:
    bus = stage.bus()
    lost = Outgoing(stage.topology.assignments, "key-assigned.volume.p", b"x", {"message_id": "1"})
    dead = Outgoing(stage.topology.dead, "malformed.unknown", b"y", {"message_id": "1"})
    assert bus.send([lost, dead, lost, dead]).result() == [UNROUTED, STORED, UNROUTED, STORED]
    assert bus.send([]).result() == []


def test_whoever_receives_is_woken_by_a_confirm_and_by_a_delivery(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kmworker.bus.rabbit.WAIT_SLICE_S", 20.0)
    bus = stage.bus()
    began = monotonic()
    letters = [Outgoing(stage.topology.dead, "malformed.x", b"x", {"message_id": "1"})] * 50
    confirms = [bus.send(letters), bus.send(letters)]
    while not all(sent.done() for sent in confirms):
        assert bus.receive(10, 20.0) == []
    assert [sent.result() for sent in confirms] == [[STORED] * 50] * 2
    sent = bus.send(letters)
    stage.produce(_events(stage, "a"))
    assert _bodies(taken(bus, 1)) == ["a"]
    assert sent.result() == [STORED] * 50
    assert sent.done()
    assert monotonic() - began < 10


def test_a_dead_letter_keeps_body_key_properties_and_headers(stage: Stage) -> None:
    bus = stage.bus()
    properties = {
        "content_type": "text/plain", "message_id": "d", "delivery_mode": 2,
        "application_headers": {"x-kmworker-reason": "conflict", "x-kmworker-attempts": 3},
    }  # fmt: skip
    letter = Outgoing(stage.topology.dead, "conflict.volume-created", b"\x00\xff", properties)
    assert bus.send([letter]).result() == [STORED]
    (arrived,) = stage.dead_letters(1)
    assert arrived.body == letter.body
    assert arrived.routing_key == letter.routing_key
    assert dict(arrived.properties) == properties


def test_an_event_that_came_back_is_tried_when_nothing_else_is_at_hand(stage: Stage) -> None:
    first = stage.bus()
    stage.produce(_events(stage, "a", "b", "c"))
    taken(first, 3)
    stage.kill(first)
    second = stage.bus()
    if isinstance(second, StreamBus):
        # Streams have no limit of deliveries.
        return
    assert len(taken(second, 1)) == 1
    assert nothing_more(second)


@pytest.mark.parametrize("deaths", [0, 1, 2, 3])
def test_nothing_waits_for_what_is_put_aside_and_it_is_acknowledged_in_the_end(
    stage: Stage, deaths: int
) -> None:
    bus = stage.bus()
    stage.produce(_events(stage, "a", "b", "c"))
    aside = _put_aside(bus, 3)
    for _ in range(deaths):
        stage.kill(bus)
        bus = stage.bus()
        aside = _put_aside(bus, 3)
    stage.produce(_events(stage, *"defghi"))
    assert sorted(_bodies(settled(bus, 6))) == list("defghi")
    bus.acknowledge(aside)
    stage.produce(_events(stage, "j"))
    assert _bodies(settled(bus, 1)) == ["j"]
    stage.kill(bus)
    assert nothing_more(stage.bus())


def test_what_was_put_aside_and_not_acknowledged_comes_again(stage: Stage) -> None:
    first = stage.bus()
    stage.produce(_events(stage, "a"))
    first.put_aside(taken(first, 1))
    stage.kill(first)
    assert _bodies(settled(stage.bus(), 1)) == ["a"]


def test_the_counts_are_what_is_ready(stage: Stage) -> None:
    bus = stage.bus(prefetch=3)
    stage.produce(_events(stage, *"abcdef"))
    bus.acknowledge(taken(bus, 1))
    taken(bus, 2)
    bus.send([Outgoing(stage.topology.dead, "malformed.unknown", b"x", {})] * 2).result()
    # The one that it began with is counted until the broker has read the acknowledgement.
    until(lambda: bus.counts().consumers == 1, "one consumer is left")
    until(lambda: bus.counts().dead == 2, "both dead letters are ready")
    assert bus.counts().work == 3


def test_ticking_changes_nothing(stage: Stage) -> None:
    bus = stage.bus()
    stage.produce(_events(stage, "a"))
    bus.tick()
    bus.tick()
    assert _bodies(taken(bus, 1)) == ["a"]
