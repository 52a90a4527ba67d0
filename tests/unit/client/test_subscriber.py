from collections import deque
from collections.abc import Callable
from itertools import count

import pytest

from kmworker.client import Assignment, BrokerUnavailable, SetupError, Subscriber
from kmworker.client import subscriber as module
from kmworker.client.connecting import Backoff
from tests.kit.announcements import announced, blank_volume
from tests.unit.client.stub import NOT_FOUND, StubBroker

URL = "amqp://guest:guest@127.0.0.1:1//"
V1, V2, V3 = (announced(blank_volume(name)).body for name in ("v1", "v2", "v3"))

Subscribe = Callable[..., Subscriber]


@pytest.fixture
def broker() -> StubBroker:
    return StubBroker(V1, V2, V3)


@pytest.fixture
def subscribe(broker: StubBroker, monkeypatch: pytest.MonkeyPatch) -> Subscribe:
    """Make a subscriber that stops when there is nothing more to do."""
    monkeypatch.setattr(module, "Link", lambda *given: broker.connect(given[-1]))
    passed = count()
    # Time passes by being looked at.
    monkeypatch.setattr(module, "monotonic", lambda: float(next(passed)))
    monkeypatch.setattr(module, "sleep", lambda _: None)

    def made(**options: object) -> Subscriber:
        subscriber = Subscriber(URL, queue="ns.sub.test", namespace="ns", **options)  # type: ignore[arg-type]
        broker.when_idle = subscriber.stop
        return subscriber

    return made


def ids(assignments: list[Assignment]) -> list[str]:
    return [assignment.item.id for assignment in assignments]


def acted_on(subscriber: Subscriber) -> list[str]:
    """Let it act on all there is, and return on what it did."""
    acted: list[Assignment] = []
    subscriber.run(acted.append)
    return ids(acted)


def test_each_assignment_is_acknowledged_after_it_was_acted_on(
    broker: StubBroker, subscribe: Subscribe
) -> None:
    acknowledged: dict[str, list[bytes]] = {}

    def act(assignment: Assignment) -> None:
        acknowledged[assignment.item.id] = [*broker.acknowledged]

    subscribe().run(act)
    assert acknowledged == {"v1": [], "v2": [V1], "v3": [V1, V2]}
    assert broker.acknowledged == [V1, V2, V3]


def test_what_could_not_be_acted_on_stays_in_the_queue_and_is_no_repeat(
    broker: StubBroker, subscribe: Subscribe
) -> None:
    acted: list[Assignment] = []

    def act(assignment: Assignment) -> None:
        acted.append(assignment)
        if len(acted) == 2:
            raise RuntimeError("this once")

    subscriber = subscribe()
    with pytest.raises(RuntimeError, match="this once"):
        subscriber.run(act)
    assert broker.acknowledged == [V1]
    assert [*broker.ready] == [V2, V3]
    subscriber.run(act)
    assert ids(acted) == ["v1", "v2", "v2", "v3"]
    assert broker.acknowledged == [V1, V2, V3]


def test_trouble_that_the_action_had_with_a_broker_is_the_actions(
    broker: StubBroker, subscribe: Subscribe
) -> None:
    def act(assignment: Assignment) -> None:
        raise BrokerUnavailable("another broker, that of a producer")

    with pytest.raises(BrokerUnavailable, match="that of a producer"):
        subscribe().run(act)
    assert broker.acknowledged == []


def test_a_repeat_is_acknowledged_without_being_acted_on(
    broker: StubBroker, subscribe: Subscribe
) -> None:
    broker.ready = deque([V1, V2, V1, V1])
    assert acted_on(subscribe()) == ["v1", "v2"]
    assert broker.acknowledged == [V1, V2, V1, V1]


def test_repeats_are_remembered_as_far_back_as_was_asked_for(
    broker: StubBroker, subscribe: Subscribe
) -> None:
    broker.ready = deque([V1, V2, V3, V1])
    assert acted_on(subscribe(remembered=2)) == ["v1", "v2", "v3", "v1"]


def test_what_is_no_assignment_is_rejected_and_holds_nobody_up(
    broker: StubBroker, subscribe: Subscribe, caplog: pytest.LogCaptureFixture
) -> None:
    broker.ready = deque([b"{oops", V1])
    assert acted_on(subscribe()) == ["v1"]
    assert broker.rejected == [b"{oops"]
    assert "rejected what is no assignment" in caplog.text


@pytest.mark.parametrize(
    ("refused", "codes", "connections"),
    [
        pytest.param("open", [0] * 20, 1, id="there is no broker yet"),
        pytest.param("queue_bind", [NOT_FOUND] * 2, 3, id="no worker has declared the exchange"),
        pytest.param("drain", [0, 0], 3, id="the connection is lost while waiting"),
        pytest.param("basic_ack", [0], 2, id="an acknowledgement is lost"),
    ],
)
def test_whatever_passes_is_waited_out_and_each_assignment_acted_on_once(
    broker: StubBroker, subscribe: Subscribe, refused: str, codes: list[int], connections: int
) -> None:
    broker.refusals[refused] = deque(codes)
    with subscribe() as subscriber:
        assert acted_on(subscriber) == ["v1", "v2", "v3"]
    assert broker.acknowledged == [V1, V2, V3]
    assert broker.connections == connections


def test_what_came_on_a_lost_connection_is_not_acted_on_until_it_comes_again(
    broker: StubBroker, subscribe: Subscribe
) -> None:
    acted: list[Assignment] = []

    def act(assignment: Assignment) -> None:
        acted.append(assignment)
        if len(acted) == 1:
            # The next one has come already; its tag means another message from now on.
            assert broker.link is not None
            broker.link.drain(0)
            broker.lose_connection()

    subscribe().run(act)
    assert ids(acted) == ["v1", "v2", "v3"]
    assert broker.acknowledged == [V1, V2, V3]


def test_a_busy_subscriber_still_reads_and_sends_heartbeats(
    broker: StubBroker, subscribe: Subscribe
) -> None:
    def act(assignment: Assignment) -> None:
        if assignment.item.id == "v1":
            # The others have come already: there is enough to do without the broker.
            assert broker.link is not None
            broker.link.drain(0)
            broker.link.drain(0)
            broker.calls.clear()
        broker.calls.append(assignment.item.id)

    subscribe().run(act)
    assert broker.calls[:7] == ["v1", "drain", "tick", "v2", "drain", "tick", "v3"]


def test_an_old_failure_does_not_prolong_the_wait_after_a_new_one(
    broker: StubBroker, subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest: list[float] = []

    def draw(_least: float, most: float) -> float:
        longest.append(most)
        return 0

    monkeypatch.setattr(module, "Backoff", lambda: Backoff(draw))
    broker.refusals["open"] = deque([0, 0])

    def act(assignment: Assignment) -> None:
        if assignment.item.id == "v1":
            broker.refusals["drain"] = deque([0])

    subscribe().run(act)
    assert longest == [0.1, 0.2, 0.1]


def test_a_refusal_is_not_waited_out(broker: StubBroker, subscribe: Subscribe) -> None:
    broker.refusals["queue_bind"] = deque([403])
    with pytest.raises(SetupError, match="code 403"):
        subscribe().run(lambda _: None)


def test_a_queue_that_is_there_is_taken_as_it_is(broker: StubBroker, subscribe: Subscribe) -> None:
    with subscribe(prefetch=7):
        pass
    assert broker.declared == []
    assert broker.bound == [("ns.sub.test", "ns.assignments", "key-assigned.#")]
    assert broker.prefetch == 7


def test_a_queue_that_was_deleted_is_declared_again(
    broker: StubBroker, subscribe: Subscribe
) -> None:
    acted: list[Assignment] = []

    def act(assignment: Assignment) -> None:
        acted.append(assignment)
        if len(acted) == 1:
            assert broker.link is not None
            assert broker.link.connection is not None
            broker.queue_exists = False
            broker.link.connection.cancel("consumer")

    subscribe().run(act)
    assert len(broker.declared) == 1
    assert ids(acted) == ["v1", "v2", "v3"]


def test_stop_lets_the_assignment_at_hand_be_finished(
    broker: StubBroker, subscribe: Subscribe
) -> None:
    subscriber = subscribe()
    subscriber.run(lambda _: subscriber.stop())
    assert broker.acknowledged == [V1]
    assert [*broker.ready] == [V2, V3]


def test_stop_ends_the_wait_for_a_broker(
    broker: StubBroker, subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.refusals["open"] = deque([0] * 100)
    subscriber = subscribe()
    monkeypatch.setattr(module, "sleep", lambda _: subscriber.stop())
    monkeypatch.setattr(module, "monotonic", lambda: 0.0)
    subscriber.run(lambda _: None)
    assert broker.connections == 0
