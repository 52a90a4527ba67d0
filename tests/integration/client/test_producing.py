from concurrent.futures import ThreadPoolExecutor

import pytest

from kmworker.client import Producer, SetupError, SnapshotTaken, Unrouted, VolumeCreated
from tests.integration.client.conftest import Broker


def producer_on(broker: Broker) -> Producer:
    url = broker.url_of("producer")
    return Producer(url, event_source="/cinder/blk01", namespace=broker.namespace)


def volume(number: int) -> VolumeCreated:
    return VolumeCreated(project_id="p1", volume_id=f"v{number}")


def test_published_events_are_on_the_work_queue_when_publish_returns(broker: Broker) -> None:
    event = volume(1)
    snapshot = SnapshotTaken(project_id="p1", snapshot_id="s1", volume_id="v1")
    with producer_on(broker) as producer:
        producer.publish(event, snapshot)
    first, second = broker.taken(broker.topology.work)
    assert first.routing_key == "volume-created"
    assert first.properties.delivery_mode == 2
    assert first.properties.content_type == "application/cloudevents+json"
    assert first.properties.message_id == first.document["id"] == event.id
    assert first.properties.type == "volume-created"
    assert first.document["source"] == "/cinder/blk01"
    assert second.document["data"] == {"project_id": "p1", "snapshot_id": "s1", "volume_id": "v1"}


def test_no_event_is_lost_when_connections_are_closed_in_between(broker: Broker) -> None:
    published: list[VolumeCreated] = []
    with producer_on(broker) as producer, ThreadPoolExecutor(1) as elsewhere:
        closing = elsewhere.submit(broker.close_all_connections)
        while not closing.done() or not published:
            events = [volume(len(published) + number) for number in range(5)]
            producer.publish(*events)
            published += events
        closing.result()
    found = {taken.document["id"] for taken in broker.taken(broker.topology.work)}
    assert {event.id for event in published} <= found


def test_an_event_that_no_queue_takes_is_not_reported_as_published(broker: Broker) -> None:
    with broker.channel() as channel:
        channel.queue_unbind(broker.topology.work, broker.topology.events, "#")
    with producer_on(broker) as producer, pytest.raises(Unrouted, match="no queue is bound to"):
        producer.publish(volume(1))


def test_without_an_exchange_nothing_is_published(bare_broker: Broker) -> None:
    missing = rf"there is no {bare_broker.namespace}\.events: has a worker ever run"
    with producer_on(bare_broker) as producer, pytest.raises(Unrouted, match=missing):
        producer.publish(volume(1))


def test_a_wrong_password_is_a_matter_for_a_person(broker: Broker) -> None:
    url = broker.wrong_url_of("producer")
    producer = Producer(url, event_source="/cinder/blk01", namespace=broker.namespace)
    with producer, pytest.raises(SetupError, match="ACCESS_REFUSED") as caught:
        producer.publish(volume(1))
    assert "swordfish" not in str(caught.value)
