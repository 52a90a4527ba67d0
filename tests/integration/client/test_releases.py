"""From a producer's deletion to what its subscriber hears, with a worker and shipped accounts."""

import json
import subprocess

from kmworker.client import (
    Assignment,
    Item,
    Kind,
    Producer,
    Release,
    SnapshotTaken,
    Subscriber,
    VolumeCreated,
    VolumeDeleted,
)
from kmworker.client.subscriber import EVERY_ASSIGNMENT, EVERY_RELEASE
from kmworker.wire.events.lifecycle import LifecycleEvent
from tests.kit.outside.worker import Site, program, working
from tests.kit.servers import RabbitMQ

V = Item("p1", Kind.VOLUME, "v")
LIVES: list[LifecycleEvent] = [
    VolumeCreated(project_id="p1", volume_id="v"),
    SnapshotTaken(project_id="p1", snapshot_id="s", volume_id="v"),
    VolumeDeleted(project_id="p1", volume_id="v"),
    VolumeCreated(project_id="p1", volume_id="v", generation=1),
    VolumeDeleted(project_id="p1", volume_id="never-heard-of"),
]
FIRST_LIFE = 3


def test_a_subscriber_hears_of_the_end_of_what_it_acted_on(
    site: Site, rabbitmq: RabbitMQ, namespace: str
) -> None:
    assigned: list[Assignment] = []
    released: list[Release] = []
    subscriber = Subscriber(
        rabbitmq.url_of("subscriber", namespace),
        queue=f"{namespace}.sub.lives",
        namespace=namespace,
        bindings=[EVERY_ASSIGNMENT, EVERY_RELEASE],
    )

    def act(assignment: Assignment) -> None:
        assigned.append(assignment)
        stop_with_all()

    def forget(release: Release) -> None:
        released.append(release)
        stop_with_all()

    def stop_with_all() -> None:
        if len(assigned) + len(released) == len(LIVES):
            subscriber.stop()
        elif len(assigned) + len(released) == FIRST_LIFE:
            # Not before: what is still to derive from a life that is over has no source any more.
            publish(LIVES[FIRST_LIFE:])

    def publish(events: list[LifecycleEvent]) -> None:
        url = rabbitmq.url_of("producer", namespace)
        with Producer(url, event_source="/tests", namespace=namespace) as producer:
            for event in events:
                producer.publish(event)

    with working(site), subscriber:
        publish(LIVES[:FIRST_LIFE])
        subscriber.run(act, forget)
    keys = [it.key_id for it in assigned if it.item == V]
    assert len(set(keys)) == 2
    assert [(it.key_id, it.cause.type) for it in released if it.item == V] == [
        (keys[0], "volume-deleted")
    ]
    (unknown,) = [it for it in released if it.item != V]
    assert (unknown.item.id, unknown.key_id) == ("never-heard-of", None)
    verified = subprocess.run(  # ours
        [*program(), "verify", "--json"], env=site.environment("verify"),
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert verified.returncode == 0, verified.stdout
    assert json.loads(verified.stdout)["complete"]
