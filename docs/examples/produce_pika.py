"""Announce a volume: python produce_pika.py PROJECT VOLUME."""

import json
import os
import random
import sys
import time
import uuid
from urllib.parse import urlsplit

import pika
from pika.exceptions import AMQPConnectionError, NackError

URL = os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
NAMESPACE = os.environ.get("NAMESPACE", "kmworker")
TRIES = 8


def publish(event: dict[str, object]) -> None:
    """Return when the broker has the event on disk, and raise if that is not certain."""
    parameters = pika.URLParameters(URL)
    parameters.heartbeat = 30
    parameters.blocked_connection_timeout = 30  # a broker short of memory does not confirm
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish(  # raises UnroutableError where no worker has ever run
            exchange=f"{NAMESPACE}.events",
            routing_key=str(event["type"]),
            body=json.dumps(event).encode(),
            properties=pika.BasicProperties(
                content_type="application/cloudevents+json",
                delivery_mode=pika.DeliveryMode.Persistent.value,
                message_id=str(event["id"]),
                user_id=urlsplit(URL).username,  # the broker compares it
            ),
            mandatory=True,
        )


def main(project: str, volume: str) -> None:
    """Make the event once, so that each try publishes the same one."""
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/examples/pika",
        "type": "volume-created",
        "data": {"project_id": project, "volume_id": volume},
    }
    for attempt in range(TRIES):
        try:
            publish(event)
            break
        except (AMQPConnectionError, NackError):
            if attempt == TRIES - 1:
                raise
        time.sleep(random.uniform(0, 0.1 * 2**attempt))
    print(event["id"])


if __name__ == "__main__":
    main(*sys.argv[1:])
