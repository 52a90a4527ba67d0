"""Celery: late acknowledgements, a pool of threads in each of two workers.

    celery --app bench.peers.celery_peer worker --pool threads --concurrency 8 …

As docs "Optimizing" has it for short tasks: a large prefetch multiplier, results ignored; and as
"Using RabbitMQ" has it for quorum queues and confirms. Events come as arguments of Celery's own
task messages, so Celery has parsed them already. The assignment goes out over the app's own pool of
producers, in confirm mode. Celery itself offers no batches.
"""

import functools
from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue

from bench.job import Job, SourceMissingError
from bench.peers import NOW, PREFETCH, QUEUE, SETTINGS
from kmworker.wire.topology import Topology

app = Celery("assign", broker=str(SETTINGS.broker.url))
app.conf.update(
    broker_pool_limit=8,  # a connection for each thread
    broker_native_delayed_delivery_queue_type="classic",
    broker_transport_options={"confirm_publish": True},
    task_acks_late=True,
    task_create_missing_queues=False,
    task_default_queue=QUEUE,
    task_ignore_result=True,
    task_queues=[
        Queue(
            QUEUE,
            Exchange(Topology(SETTINGS.broker.namespace).events, type="topic"),
            routing_key="#",
            queue_arguments={"x-queue-type": "quorum"},
        )
    ],
    task_reject_on_worker_lost=True,
    worker_enable_remote_control=False,
    worker_prefetch_multiplier=PREFETCH,
    worker_send_task_events=False,
)


@functools.cache
def job() -> Job:
    """Connect in the process that does the work: with `--pool prefork` that is another one."""
    return Job(SETTINGS, NOW)


# A process that falls behind has sources at hand that the other one's events need: those go
# through the queue again, as Celery itself would count them as failed and done.
@app.task(  # type: ignore[untyped-decorator]  # Celery is published without types
    name="assign",
    autoretry_for=(SourceMissingError,),
    default_retry_delay=0,
    max_retries=None,
)
def assign(event: dict[str, Any]) -> None:
    """Handle one event."""
    message = job().assign_document(event)
    with app.producer_pool.acquire(block=True) as producer:
        producer.publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            mandatory=True,
            content_encoding="binary",
            **message.properties,
        )
