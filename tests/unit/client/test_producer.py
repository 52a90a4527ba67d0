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
    VolumeCreated,
)
from kmworker.client import producer as module
from kmworker.domain.message import Outgoing
from kmworker.wire.events.lifecycle import LifecycleEvent
from tests.unit.client.stub import Refusal

URL = "amqp://guest:guest@127.0.0.1:1//"
Answer = Callable[[Sequence[Outgoing]], list[bool]]


def routed(messages: Sequence[Outgoing]) -> list[bool]:
    return [True] * len(messages)


def unconfirmed(messages: Sequence[Outgoing]) -> list[bool]:
    raise BrokerUnavailable("not confirmed in time")


def refused(messages: Sequence[Outgoing]) -> list[bool]:
    raise BrokerUnavailable("the broker's words") from Refusal(403)


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


def test_many_events_wait_for_their_confirms_together_and_very_many_go_in_batches(
    producer: Producer, broker: StubBroker
) -> None:
    producer.publish(*(volume(f"v{number}") for number in range(1001)))
    assert [len(messages) for messages in broker.tries] == [500, 500, 1]
    names = [json.loads(m.body)["data"]["volume_id"] for batch in broker.tries for m in batch]
    assert names == [f"v{number}" for number in range(1001)]


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (
            SnapshotTaken(project_id="p1", snapshot_id="s 1", volume_id="v1"),
            r"data\.snapshot_id.*percent-encode a space as %20",
        ),
        (
            VolumeCreated(project_id="p1", volume_id="v1", extra={"note": "x" * 4096}),
            r"data\.extra: 4,107 bytes as compact",
        ),
        (
            VolumeCreated(project_id="p1", volume_id="v1", id="é" * 70_000),
            "larger than 65536 bytes",
        ),
        *((volume(name), "") for name in ("\ud800", "v" * 256, "", "a\n")),
    ],
)
def test_nothing_is_published_if_a_worker_would_refuse_any(
    producer: Producer, broker: StubBroker, refused: LifecycleEvent, words: str
) -> None:
    with pytest.raises(PermanentError, match=f"malformed: .*{words}") as caught:
        producer.publish(volume(), refused)
    assert caught.value.reason == "malformed"
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


def test_a_refusal_is_not_tried_again(producer: Producer, broker: StubBroker) -> None:
    broker.answers = iter([refused])
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


@pytest.mark.parametrize("is_up", [True, False])
def test_where_up_was_taken_for_a_broker_it_is_said_at_once_and_at_the_end(
    broker: StubBroker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_up: bool,
) -> None:
    monkeypatch.setattr("kmworker.client.connecting.running_instance", lambda _: is_up or None)
    broker.answers = repeat(nobody_listens)
    with pytest.raises(BrokerUnavailable) as raised:
        Producer(URL, event_source="/test", patience_s=5.0).publish(volume())
    assert ("kmworker up runs here" in str(raised.value)) is is_up
    (warning,) = caplog.messages
    assert warning.startswith("trying again for 5 s: refused")
    assert ("kmworker publish --file -" in warning) is is_up
