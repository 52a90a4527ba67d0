"""The limit: what the worker's transport does when nothing else is to do.

The same frames consumed, published, confirmed and acknowledged, by `kmworker.bus` alone; as in the
worker, nothing waits for the broker while there is something to do.
"""

import json
import os
import signal
import uuid
from collections import deque
from dataclasses import replace
from types import FrameType

from bench.events import EVENT_SOURCE, item_id, project_id
from kmworker.bootstrap.worker import prefetch_for
from kmworker.bus.rabbit import RabbitBus
from kmworker.domain.message import Confirm, Delivery, Outgoing
from kmworker.domain.model import (
    Assignment,
    Cause,
    DataAction,
    Disposition,
    Encryption,
    Item,
    Kind,
    Stored,
)
from kmworker.ports import Pending
from kmworker.settings import Settings, load_settings
from kmworker.wire.assignments import announce, encode_data
from kmworker.wire.topology import Topology

CAUSE_ID = str(uuid.uuid4())


def main() -> None:
    """Run until SIGTERM."""
    stopped = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    settings = load_settings()
    batch_max = settings.worker.batch_max
    bus = RabbitBus(settings.broker, prefetch=prefetch_for(batch_max), name="limit")
    bus.open()
    message = announcement(settings)
    echoes = "BENCH_ECHO" in os.environ
    in_flight: deque[tuple[list[Delivery], Pending[list[Confirm]]]] = deque()
    while not stopped:
        deliveries = bus.receive(batch_max, 1.0)
        messages = [message] * len(deliveries)
        if echoes:
            messages = [_naming(message, delivery) for delivery in deliveries]
        if deliveries:
            in_flight.append((deliveries, bus.send(messages)))
        while in_flight and in_flight[0][1].done():
            handled, confirms = in_flight.popleft()
            confirms.result()
            bus.acknowledge(handled)
    bus.close()


def announcement(settings: Settings) -> Outgoing:
    """Return one message for all, as long as the worker's: making them is work."""
    project, now = project_id(0), "2026-11-23T16:00:00.000Z"
    item = Item(project, Kind.SNAPSHOT, item_id("limit", "snapshot", 0))
    assignment = Assignment(
        item=item,
        disposition=Disposition.REUSE,
        key_id=str(uuid.uuid4()),
        scope_id=str(uuid.uuid4()),
        source=Item(project, Kind.VOLUME, item_id("limit", "volume", 0)),
        node=None,
        encryption=Encryption("aes-xts-plain64", 512),
        data_action=DataAction.NONE,
        reencrypt_from=None,
        rule="snapshots-share-the-key-id",
        cause=Cause(CAUSE_ID, EVENT_SOURCE, "snapshot-taken"),
        assigned_at=now,
    )
    held = Stored(assignment, encode_data(assignment))
    exchange = Topology(settings.broker.namespace).assignments
    return announce(held, settings.broker.source, exchange)


def _naming(message: Outgoing, delivery: Delivery) -> Outgoing:
    """Let the message say which event it is for, in as many bytes."""
    event_id = json.loads(delivery.original.body)["id"]
    return replace(message, body=message.body.replace(CAUSE_ID.encode(), event_id.encode()))


if __name__ == "__main__":
    main()
