"""A plain kombu consumer: one event at a time, each publish confirmed.

`ConsumerProducerMixin`, as kombu's documentation has it: what consumes and what produces have
connections of their own.
"""

from kombu.connection import Connection
from kombu.entity import Queue
from kombu.message import Message
from kombu.messaging import Consumer
from kombu.mixins import ConsumerProducerMixin

from bench.job import Job
from bench.peers import NOW, PREFETCH, QUEUE, SETTINGS
from kmworker.wire.topology import QUORUM


class Assigner(ConsumerProducerMixin):
    """Consumes events and publishes assignments."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._job = Job(SETTINGS, NOW)

    def get_consumers(self, consumer: type[Consumer], _channel: object) -> list[Consumer]:
        """Consume the one queue."""
        queue = Queue(QUEUE, queue_arguments=dict(QUORUM), no_declare=True)
        return [consumer([queue], on_message=self.on_message, prefetch_count=PREFETCH)]

    def on_message(self, delivery: Message) -> None:
        """Handle one event."""
        message = self._job.assign(delivery.body)
        self.producer.publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            mandatory=True,
            content_encoding="binary",
            **message.properties,
        )
        delivery.ack()


if __name__ == "__main__":
    options = {"confirm_publish": True}
    with Connection(str(SETTINGS.broker.url), transport_options=options) as established:
        Assigner(established).run()
