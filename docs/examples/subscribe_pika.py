"""Keep the key-id of each volume in a table: python subscribe_pika.py FILE."""

import json
import os
import random
import sqlite3
import sys
import time
from typing import Any

import pika
from pika.exceptions import AMQPConnectionError

URL = os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
NAMESPACE = os.environ.get("NAMESPACE", "kmworker")
QUEUE = f"{NAMESPACE}.sub.pika"

database = sqlite3.connect(sys.argv[1])
database.execute("""CREATE TABLE IF NOT EXISTS assigned (
    id TEXT PRIMARY KEY, project TEXT, volume TEXT, key_id TEXT, data_action TEXT)""")


def act(event: dict[str, Any]) -> None:
    """Note the assignment. The announcement's id is the key, so that a repeat changes nothing."""
    data = event["data"]
    row = (event["id"], data["project_id"], data["item"]["id"], data["key_id"], data["data_action"])
    with database:  # one transaction
        added = database.execute("INSERT OR IGNORE INTO assigned VALUES (?, ?, ?, ?, ?)", row)
    print("new" if added.rowcount else "repeat", *row, flush=True)


def on_message(channel: Any, method: Any, _properties: Any, body: bytes) -> None:
    """Act, then acknowledge: after a crash in between, the assignment comes again."""
    act(json.loads(body))
    channel.basic_ack(method.delivery_tag)


def listen() -> None:
    """Declare and bind a queue of our own, and nothing else. Then take what comes."""
    parameters = pika.URLParameters(URL)
    parameters.heartbeat = 30
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        channel.queue_bind(QUEUE, f"{NAMESPACE}.assignments", "key-assigned.volume.#")
        channel.basic_qos(prefetch_count=100)
        channel.basic_consume(QUEUE, on_message)
        print("listening", flush=True)
        channel.start_consuming()


while True:
    try:
        listen()
    except AMQPConnectionError as error:
        print("the connection is lost:", repr(error), file=sys.stderr)
    time.sleep(random.uniform(0, 5))
