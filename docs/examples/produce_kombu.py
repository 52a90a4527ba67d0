"""Announce a volume: python produce_kombu.py PROJECT VOLUME."""

import json
import os
import random
import sys
import time
import uuid
from typing import Any

from amqp.exceptions import AMQPError
from kombu.connection import Connection

URL = os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
NAMESPACE = os.environ.get("NAMESPACE", "kmworker")
TRIES = 8
# Without timeouts, a broker that has stopped answering would be waited for without end.
OPTIONS = {"confirm_publish": True, "read_timeout": 30, "write_timeout": 30}


def publish(event: dict[str, object]) -> None:
    """Return when the broker has the event on disk, and raise if that is not certain."""
    returned: list[Any] = []
    # A connection for each try, and no retry=True: kombu takes any confirm for the one that it
    # waits for, so after a failure a late one would confirm the wrong message.
    with Connection(URL, connect_timeout=5, transport_options=OPTIONS) as connection:
        producer = connection.Producer(on_return=lambda *message: returned.append(message))
        producer.publish(
            json.dumps(event).encode(),
            exchange=f"{NAMESPACE}.events",
            routing_key=event["type"],
            content_type="application/cloudevents+json",
            content_encoding="utf-8",
            delivery_mode="persistent",
            message_id=event["id"],
            user_id=connection.userid,  # the broker compares it
            mandatory=True,
            retry=False,
        )
    if returned:
        sys.exit("no queue took the event: has a worker ever run?")


def main(project: str, volume: str) -> None:
    """Make the event once, so that each try publishes the same one."""
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/examples/kombu",
        "type": "volume-created",
        "data": {"project_id": project, "volume_id": volume},
    }
    for attempt in range(TRIES):
        try:
            publish(event)
            break
        except (AMQPError, OSError):
            if attempt == TRIES - 1:
                raise
        time.sleep(random.uniform(0, 0.1 * 2**attempt))
    print(event["id"])


if __name__ == "__main__":
    main(*sys.argv[1:])
