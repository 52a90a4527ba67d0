import json
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat

import pytest

from kmworker.client import (
    BrokerUnavailable,
    PermanentError,
    Producer,
    SetupError,
    SnapshotTaken,
    Unrouted,
    VolumeCreated,
)
from kmworker.client import producer as module
from kmworker.domain.message import Outgoing
from tests.unit.client.stub import NOT_FOUND, Refusal

URL = "amqp://guest:guest@127.0.0.1:1//"
Answer = Callable[[Sequence[Outgoing]], list[bool]]


def routed(messages: Sequence[Outgoing]) -> list[bool]:
    return [True] * len(messages)


def returned(messages: Sequence[Outgoing]) -> list[bool]:
    return [False] * len(messages)


def unconfirmed(messages: Sequence[Outgoing]) -> list[bool]:
    raise BrokerUnavailable("not confirmed in time")


def refused(code: int) -> Answer:
    def answer(messages: Sequence[Outgoing]) -> list[bool]:
        raise BrokerUnavailable("the broker's words") from Refusal(code)

    return answer


def nobody_listens(messages: Sequence[Outgoing]) -> list[bool]:
    raise BrokerUnavailable("refused") from ConnectionRefusedError()


class StubBroker:
    """Stands in for the publisher and for time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: Iterator[Answer] = iter(())
        self.tries: list[list[Outgoing]] = []
        self.calls: list[str] = []
        self.now_s = 0.0
        monkeypatch.setattr(module, "Publisher", lambda *_, **__: self)
        monkeypatch.setattr(module, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(module, "sleep", self.sleep)
        monkeypatch.setattr(module, "Backoff", lambda: self)

    def tick(self) -> None:
        self.calls.append("tick")

    def open(self) -> None:
        self.calls.append("open")

    def publish(self, messages: Sequence[Outgoing]) -> list[bool]:
        self.tries.append([*messages])
        return next(self.answers, routed)(messages)

    def close(self) -> None:
        self.calls.append("close")

    def next_s(self) -> float:
        return 1.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> StubBroker:
    return StubBroker(monkeypatch)


@pytest.fixture
def producer(broker: StubBroker) -> Producer:
    return Producer(URL, event_source="/cinder/blk01", namespace="ns", patience_s=10)


def volume(name: str = "v1") -> VolumeCreated:
    return VolumeCreated(project_id="p1", volume_id=name)


def test_an_event_is_published_as_the_contract_says(producer: Producer, broker: StubBroker) -> None:
    event = volume()
    producer.publish(event)
    [[message]] = broker.tries
    assert (message.exchange, message.routing_key) == ("ns.events", "volume-created")
    assert message.body == event.body("/cinder/blk01")
    assert message.properties == {
        "content_type": "application/cloudevents+json",
        "delivery_mode": 2,
        "message_id": event.id,
        "type": "volume-created",
    }


def test_many_events_wait_for_their_confirms_together(
    producer: Producer, broker: StubBroker
) -> None:
    producer.publish(volume("v1"), volume("v2"), volume("v3"))
    assert [len(messages) for messages in broker.tries] == [3]


def test_very_many_events_go_in_batches(producer: Producer, broker: StubBroker) -> None:
    producer.publish(*(volume(f"v{number}") for number in range(1001)))
    assert [len(messages) for messages in broker.tries] == [500, 500, 1]
    names = [json.loads(m.body)["data"]["volume_id"] for batch in broker.tries for m in batch]
    assert names == [f"v{number}" for number in range(1001)]


def test_nothing_is_published_if_a_worker_would_refuse_any(
    producer: Producer, broker: StubBroker
) -> None:
    bad = SnapshotTaken(project_id="p1", snapshot_id="s 1", volume_id="v1")
    with pytest.raises(PermanentError, match=r"malformed: data\.snapshot_id") as caught:
        producer.publish(volume(), bad)
    assert caught.value.reason == "malformed"
    assert "percent-encode a space as %20" in str(caught.value)
    assert broker.tries == []


def test_notes_that_are_too_large_are_refused_before_anything_is_sent(
    producer: Producer, broker: StubBroker
) -> None:
    large = VolumeCreated(project_id="p1", volume_id="v1", extra={"note": "x" * 4096})
    with pytest.raises(PermanentError, match=r"malformed: data\.extra: 4,107 bytes as compact"):
        producer.publish(large)
    assert broker.tries == []


@pytest.mark.parametrize("name", ["\ud800", "v" * 256, "", "a\n"], ids=repr)
def test_no_name_gets_past_the_check(producer: Producer, broker: StubBroker, name: str) -> None:
    with pytest.raises(PermanentError):
        producer.publish(volume(name))
    assert broker.tries == []


def test_an_event_that_is_too_large_is_not_published(
    broker: StubBroker, producer: Producer
) -> None:
    large = VolumeCreated(project_id="p1", volume_id="v1", id="é" * 70_000)
    with pytest.raises(PermanentError, match="larger than 65536 bytes"):
        producer.publish(large)
    assert broker.tries == []


def test_an_unconfirmed_event_is_published_again_in_the_same_words(
    producer: Producer, broker: StubBroker
) -> None:
    broker.answers = iter([unconfirmed, unconfirmed, routed])
    producer.publish(volume(), volume("v2"))
    assert len(broker.tries) == 3
    assert broker.tries[0] == broker.tries[1] == broker.tries[2]


def test_patience_ends(producer: Producer, broker: StubBroker) -> None:
    broker.answers = iter([unconfirmed] * 100)
    with pytest.raises(BrokerUnavailable, match="not confirmed in time"):
        producer.publish(volume())
    assert len(broker.tries) == 11
    assert broker.now_s == 10


def test_an_event_that_no_queue_took_is_not_published(
    producer: Producer, broker: StubBroker
) -> None:
    broker.answers = iter([returned])
    with pytest.raises(Unrouted, match=r"no queue is bound to ns\.events"):
        producer.publish(volume())


def test_no_exchange_means_that_no_worker_has_run(producer: Producer, broker: StubBroker) -> None:
    broker.answers = iter([refused(NOT_FOUND)])
    with pytest.raises(Unrouted, match=r"no ns\.events: has a worker ever run"):
        producer.publish(volume())


def test_a_refusal_is_not_tried_again(producer: Producer, broker: StubBroker) -> None:
    broker.answers = iter([refused(403)])
    with pytest.raises(SetupError, match="the broker's words"):
        producer.publish(volume())
    assert len(broker.tries) == 1


def test_an_old_connection_is_tested_before_it_is_used(
    producer: Producer, broker: StubBroker
) -> None:
    producer.publish(volume())
    assert broker.calls == ["tick", "open"]


def test_leaving_it_closes_the_connection(producer: Producer, broker: StubBroker) -> None:
    with producer:
        producer.publish()
    assert broker.calls == ["close"]


@pytest.mark.parametrize(("is_up", "advised"), [(True, True), (False, False)])
def test_where_up_was_taken_for_a_broker_it_is_said_at_once_and_at_the_end(
    broker: StubBroker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_up: bool,
    advised: bool,
) -> None:
    monkeypatch.setattr("kmworker.client.connecting.running_instance", lambda _: is_up or None)
    broker.answers = repeat(nobody_listens)
    with pytest.raises(BrokerUnavailable) as raised:
        Producer(URL, event_source="/test", patience_s=5.0).publish(
            VolumeCreated(project_id="p1", volume_id="v1")
        )
    assert ("kmworker up runs here" in str(raised.value)) is advised
    (warning,) = caplog.messages
    assert warning.startswith("trying again for 5 s: refused")
    assert ("kmworker publish --file -" in warning) is advised
