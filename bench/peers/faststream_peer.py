"""FastStream on aio-pika: concurrent handlers, two processes (on uvloop, as its command has it).

    faststream run bench.peers.faststream_peer:app --workers 2

On RabbitMQ each delivery has a task of its own, so the prefetch is how many handlers run at once.
Publishing has a channel of its own, so that confirms do not queue behind deliveries. A handler
that returns acknowledges; one that raises gives the event back. FastStream offers no batches on
RabbitMQ.
"""

import aio_pika
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue

from bench.job import AsyncJob
from bench.peers import NOW, PREFETCH, QUEUE, SETTINGS
from kmworker.wire.topology import Topology

# More would only wait for each other: the store does one thing at a time.
CONNECTIONS = 32

# Handlers take the body as it is: no dependencies to resolve, no second validation.
broker = RabbitBroker(str(SETTINGS.broker.url), apply_types=False, logger=None)
app = FastStream(broker, logger=None)
job = AsyncJob(SETTINGS, NOW, connections=CONNECTIONS)
assignments = RabbitExchange(
    Topology(SETTINGS.broker.namespace).assignments,
    type=ExchangeType.TOPIC,
    durable=True,
    declare=False,
)


@broker.subscriber(
    RabbitQueue(QUEUE, declare=False),
    channel=Channel(prefetch_count=PREFETCH),
    ack_policy=AckPolicy.NACK_ON_ERROR,
)
async def assign(body: bytes) -> None:
    """Handle one event."""
    message = await job.assign(body)
    properties = message.properties
    await broker.publish(
        aio_pika.Message(
            message.body,
            content_type=properties["content_type"],
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=properties["message_id"],
            type=properties["type"],
            app_id=properties["app_id"],
        ),
        exchange=assignments,
        routing_key=message.routing_key,
        mandatory=True,
    )
