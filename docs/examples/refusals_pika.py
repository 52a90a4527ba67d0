"""Print why volumes were refused: python refusals_pika.py."""

import os
from typing import Any

import pika

URL = os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
NAMESPACE = os.environ.get("NAMESPACE", "kmworker")
QUEUE = f"{NAMESPACE}.sub.refusals"


def on_refusal(channel: Any, method: Any, properties: Any, _body: bytes) -> None:
    """Tell a person, then acknowledge."""
    headers = properties.headers
    print(headers["x-kmworker-event-id"], headers["x-kmworker-reason"], end=": ")
    print(headers["x-kmworker-detail"], flush=True)
    channel.basic_ack(method.delivery_tag)


with pika.BlockingConnection(pika.URLParameters(URL)) as connection:
    channel = connection.channel()
    channel.basic_qos(prefetch_count=100)
    channel.basic_consume(QUEUE, on_refusal)
    print("listening", flush=True)
    channel.start_consuming()
