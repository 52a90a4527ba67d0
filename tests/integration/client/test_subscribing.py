import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pika.exceptions import UnroutableError

from kmworker.client import Assignment, SetupError, Subscriber
from tests.integration.client.conftest import QUORUM, Broker
from tests.kit.announcements import blank_volume
from tests.kit.polling import until

Subscribe = Callable[..., Subscriber]


@pytest.fixture
def subscribe(broker: Broker) -> Subscribe:
    return lambda **options: subscriber_on(broker, **options)


def subscriber_on(broker: Broker, **options: object) -> Subscriber:
    return Subscriber(
        broker.url_of("subscriber"),
        queue=f"{broker.namespace}.sub.test",
        namespace=broker.namespace,
        **options,  # type: ignore[arg-type]
    )


def collecting(subscriber: Subscriber, wanted: int) -> list[Assignment]:
    """Take so many and stop."""
    acted: list[Assignment] = []

    def act(assignment: Assignment) -> None:
        acted.append(assignment)
        if len(acted) == wanted:
            subscriber.stop()

    subscriber.run(act)
    return acted


def names(assignments: list[Assignment]) -> list[str]:
    return [assignment.item.id for assignment in assignments]


def test_the_queue_is_a_durable_quorum_queue(broker: Broker, subscribe: Subscribe) -> None:
    with subscribe():
        pass
    with broker.channel() as channel:
        # The broker refuses a declaration that differs in anything.
        channel.queue_declare(f"{broker.namespace}.sub.test", durable=True, arguments=QUORUM)


def test_a_queue_of_the_operators_making_is_used_as_it_is(
    broker: Broker, subscribe: Subscribe
) -> None:
    with broker.channel() as channel:
        made = {**QUORUM, "x-max-length": 1000}
        channel.queue_declare(f"{broker.namespace}.sub.test", durable=True, arguments=made)
    with subscribe() as subscriber:
        broker.announce(blank_volume("v1"))
        assert names(collecting(subscriber, 1)) == ["v1"]


def test_bindings_choose_what_arrives(broker: Broker, subscribe: Subscribe) -> None:
    with subscribe(bindings=["key-assigned.*.p1", "key-assigned.volume.a.dotted.name"]):
        broker.announce(blank_volume("v1", "p1"), blank_volume("v2", "a.dotted.name"))
        with pytest.raises(UnroutableError):
            broker.announce(blank_volume("v3", "p3"))
    assert names(collecting(subscribe(), 2)) == ["v1", "v2"]


def test_each_assignment_is_acted_on_once_though_connections_are_closed_in_between(
    broker: Broker, subscribe: Subscribe
) -> None:
    acted: list[Assignment] = []

    def act(assignment: Assignment) -> None:
        acted.append(assignment)
        if len(acted) in {10, 150}:
            broker.close_all_connections()
        if len(acted) == 300:
            subscriber.stop()

    with subscribe(prefetch=20) as subscriber:
        broker.announce(*(blank_volume(f"v{number}") for number in range(300)))
        subscriber.run(act)
    assert sorted(names(acted)) == sorted(f"v{number}" for number in range(300))
    assert broker.ready(f"{broker.namespace}.sub.test") == 0


def test_two_subscribers_share_a_queue(broker: Broker, subscribe: Subscribe) -> None:
    both = threading.Barrier(2, timeout=30)

    def meet(subscriber: Subscriber) -> list[str]:
        acted: list[str] = []

        def act(assignment: Assignment) -> None:
            acted.append(assignment.item.id)
            both.wait()
            subscriber.stop()

        subscriber.run(act)
        return acted

    with subscribe(prefetch=1) as one, subscribe(prefetch=1) as other:
        broker.announce(blank_volume("v1"), blank_volume("v2"))
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(meet, (one, other))
    assert sorted([*first, *second]) == ["v1", "v2"]


def test_a_subscriber_may_be_there_before_the_first_worker(
    bare_broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    subscriber = subscriber_on(bare_broker)
    with ThreadPoolExecutor(1) as elsewhere:
        acted = elsewhere.submit(collecting, subscriber, 1)
        until(lambda: "NOT_FOUND - no exchange" in caplog.text, "it looks for the exchange")
        bare_broker.declare()
        until(lambda: _announced(bare_broker), "it has bound its queue")
        assert names(acted.result()) == ["v1"]


def _announced(broker: Broker) -> bool:
    try:
        broker.announce(blank_volume("v1"))
    except UnroutableError:
        return False
    return True


def test_a_wrong_password_is_a_matter_for_a_person(broker: Broker) -> None:
    url = broker.wrong_url_of("subscriber")
    with pytest.raises(SetupError, match="ACCESS_REFUSED") as caught:
        Subscriber(url, queue="q", namespace=broker.namespace).run(lambda _: None)
    assert "swordfish" not in str(caught.value)
