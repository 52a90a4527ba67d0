"""Dramatiq: processes of threads over pika.

    dramatiq bench.peers.dramatiq_peer --processes 2 --threads 16

Events of other programs come in by an encoder, which is what dramatiq has for messages that are
not its own. The assignment goes out over the thread's own channel of the broker's
(`RabbitmqBroker.channel`), in confirm mode. Dramatiq offers no batches.
"""

import json
import time
from typing import Any

import dramatiq
import pika
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from bench.job import Job
from bench.peers import NOW, QUEUE, SETTINGS

ACTOR = "assign"


class QuorumBroker(RabbitmqBroker):
    """With quorum queues in place of classic ones."""

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        arguments: dict[str, Any] = super()._build_queue_arguments(queue_name)
        return arguments | {"x-queue-type": "quorum"}


class CloudEventsEncoder(dramatiq.JSONEncoder):
    """Reads a CloudEvent as a message for the one actor."""

    def decode(self, data: bytes) -> dict[str, Any]:
        """Return the message that dramatiq would have sent with this event as its argument."""
        event = json.loads(data)
        return {
            "queue_name": QUEUE,
            "actor_name": ACTOR,
            "args": [event],
            "kwargs": {},
            "options": {},
            "message_id": event["id"],
            "message_timestamp": int(time.time() * 1000),
        }


broker = QuorumBroker(url=str(SETTINGS.broker.url), confirm_delivery=True)
dramatiq.set_broker(broker)
dramatiq.set_encoder(CloudEventsEncoder())
job = Job(SETTINGS, NOW)


@dramatiq.actor(actor_name=ACTOR, queue_name=QUEUE)
def assign(event: dict[str, Any]) -> None:
    """Handle one event."""
    message = job.assign_document(event)
    broker.channel.basic_publish(
        message.exchange,
        message.routing_key,
        message.body,
        pika.BasicProperties(**message.properties),
        mandatory=True,
    )
