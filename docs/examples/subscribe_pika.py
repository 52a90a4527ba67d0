"""Keep the key-id of each volume in a table: python subscribe_pika.py FILE."""

import json
import os
import random
import sqlite3
import sys
import time
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPConnectionError
from pika.spec import Basic, BasicProperties

URL = os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672/%2F")
NAMESPACE = os.environ.get("NAMESPACE", "kmworker")
QUEUE = f"{NAMESPACE}.sub.pika"

TABLE = """CREATE TABLE IF NOT EXISTS assigned (
    id TEXT PRIMARY KEY, project TEXT, volume TEXT, key_id TEXT, data_action TEXT)"""


class Subscriber:
    """Acts on each assignment once, however often it comes."""

    def __init__(self, file: str) -> None:
        """Open the table, which outlives this process."""
        self.database = sqlite3.connect(file)
        self.database.execute(TABLE)

    def act(self, event: dict[str, Any]) -> None:
        """Note the assignment; its id is the key, so that a repeat changes nothing."""
        data = event["data"]
        row = (event["id"], data["project_id"], data["item"]["id"], data["key_id"])
        with self.database:
            added = self.database.execute(
                "INSERT OR IGNORE INTO assigned VALUES (?, ?, ?, ?, ?)", (*row, data["data_action"])
            )
        print("new" if added.rowcount else "repeat", *row, flush=True)

    def on_message(
        self, channel: BlockingChannel, method: Basic.Deliver, _: BasicProperties, body: bytes
    ) -> None:
        """Act, then acknowledge: after a crash in between, the assignment comes again."""
        self.act(json.loads(body))
        channel.basic_ack(method.delivery_tag)

    def listen(self) -> None:
        """Declare and bind our own queue, and nothing else, then take what comes."""
        parameters = pika.URLParameters(URL)
        parameters.heartbeat = 30
        with pika.BlockingConnection(parameters) as connection:
            channel = connection.channel()
            channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
            channel.queue_bind(QUEUE, f"{NAMESPACE}.assignments", "key-assigned.volume.#")
            channel.basic_qos(prefetch_count=100)
            channel.basic_consume(QUEUE, self.on_message)
            print("listening", flush=True)
            channel.start_consuming()


def main(file: str) -> None:
    """Listen for ever, through any restart of the broker."""
    subscriber = Subscriber(file)
    while True:
        try:
            subscriber.listen()
        except AMQPConnectionError as error:
            print("connection lost:", error, file=sys.stderr)
        time.sleep(random.uniform(0, 5))


if __name__ == "__main__":
    main(*sys.argv[1:])
