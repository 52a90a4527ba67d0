"""The limit: what the worker's transport does when nothing else is to do.

The same frames consumed, published, confirmed and acknowledged, by `kmworker.bus` alone.
"""

import signal
import uuid
from types import FrameType

from kmworker.bus.rabbit import RabbitBus
from kmworker.bus.topology import Topology
from kmworker.message import Outgoing
from kmworker.settings import Settings, load_settings

# As long as the assignment of a snapshot in this benchmark.
BODY = b"{" + b" " * 918 + b"}"


def main() -> None:
    """Run until SIGTERM."""
    stopped = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    settings = load_settings()
    batch_max = settings.worker.batch_max
    bus = RabbitBus(settings.broker, prefetch=2 * batch_max, name="limit")
    bus.open()
    message = announcement(settings)
    while not stopped:
        deliveries = bus.receive(batch_max, 1.0)
        bus.publish([message] * len(deliveries))
        bus.acknowledge(deliveries)
        bus.tick()
    bus.close()


def announcement(settings: Settings) -> Outgoing:
    """Return one message for all: making them is work."""
    return Outgoing(
        Topology(settings.broker.namespace).assignments,
        "key-assigned.volume.project-1",
        BODY,
        {
            "content_type": "application/cloudevents+json",
            "delivery_mode": 2,
            "message_id": str(uuid.uuid4()),
            "type": "key-assigned",
            "app_id": "kmworker",
        },
    )


if __name__ == "__main__":
    main()
