"""The records of the audit trail, as the auditor takes them off RabbitMQ.

Two connections, as a worker has: a broker that is short of memory or disk stops reading from
publishers, and acknowledgements, which make room, must get through.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from kmworker.audit.checkpoints import Checkpoint
from kmworker.bus.amqp.brokers import Brokers
from kmworker.bus.amqp.frames import RawDelivery
from kmworker.bus.amqp.link import Link
from kmworker.bus.declaring import ensure_audit
from kmworker.bus.publisher import Publisher
from kmworker.domain.message import Confirm, Delivery, Original, Outgoing
from kmworker.errors import BrokerUnavailable
from kmworker.settings import BrokerSettings
from kmworker.wire.audit_records import CHECKPOINT_KEY
from kmworker.wire.properties import PERSISTENT
from kmworker.wire.topology import Topology

__all__ = ["RabbitAuditQueue"]

log = structlog.get_logger()

# Two batches: one is written while the next is sent.
PREFETCH: Final = 1000
# A signal's handler runs between waits, so no wait is longer than this.
WAIT_SLICE_S: Final = 0.25


class RabbitAuditQueue:
    """The queue of records; see `kmworker.audit.auditor.AuditQueue`."""

    def __init__(
        self,
        settings: BrokerSettings,
        name: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.generation = 0
        self._topology = Topology(settings.namespace)
        self._monotonic = monotonic
        brokers = Brokers(settings.addresses)
        self._link = Link(settings, f"{name} consumer", self._on_delivery, brokers=brokers)
        self._publisher = Publisher(
            Link(settings, f"{name} publisher", brokers=brokers), settings.confirm_timeout_s
        )
        self._channel: Any = None
        self._arrived: deque[Delivery] = deque()
        self._is_cancelled = False

    def open(self) -> None:
        """Connect what is not connected, declare what is missing if we may, start consuming.

        Raises:
            BrokerUnavailable: the broker is not there, or another auditor consumes.
            SetupError: a name is something else.
        """
        if not self._link.is_open:
            self._open_consumer()
        self._publisher.open()

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what has come, at most ``limit``; wait for the first."""
        until = self._monotonic() + timeout_s
        while not self._arrived and (left_s := until - self._monotonic()) > 0:
            self._link.drain(min(left_s, WAIT_SLICE_S))
            self._refuse_cancelled()
        while len(self._arrived) < limit and self._link.drain(0):
            pass
        self._refuse_cancelled()
        return [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge all up to the last of these, which came in this order."""
        ours = [it.tag for it in deliveries if it.generation == self.generation]
        if ours:
            with self._link.errors():
                self._channel.basic_ack(ours[-1], multiple=True)

    def publish(self, checkpoint: Checkpoint) -> None:
        """Let everyone have it who has bound a queue for it; nobody need have."""
        properties = {"content_type": "application/json", "delivery_mode": PERSISTENT}
        message = Outgoing(self._topology.audit, CHECKPOINT_KEY, checkpoint.body, properties)
        sent = self._publisher.send([message])
        (confirm,) = self._publisher.confirmed(sent, self._tick_consumer)
        if confirm is Confirm.REFUSED:
            log.warning("a queue has refused a checkpoint", line=checkpoint.line)

    def tick(self) -> None:
        """Keep idle connections alive."""
        self._tick_consumer()
        self._publisher.tick()

    def close(self) -> None:
        """Leave; the broker delivers again whatever is unacknowledged."""
        self._publisher.close()
        self._link.close()

    def _open_consumer(self) -> None:
        self._arrived.clear()
        self._is_cancelled = False
        self._link.open()
        with self._link.call():
            ensure_audit(self._link.connection, self._topology)
            self._channel = self._link.connection.channel()
        self._refuse_another()
        self.generation += 1
        with self._link.call():
            self._channel.basic_qos(0, PREFETCH, False)  # noqa: FBT003  # per consumer
            self._channel.basic_consume(self._topology.audit, on_cancel=self._on_cancel)

    def _refuse_another(self) -> None:
        """Wait for another auditor to end: of two, each would have half of the trail."""
        with self._link.call():
            found = self._channel.queue_declare(self._topology.audit, passive=True)
        if found.consumer_count:
            self._link.close()
            raise BrokerUnavailable(
                f"another auditor consumes {self._topology.audit}, or one that was lost a moment"
                " ago: of two, each would have a part of the trail"
            )

    def _tick_consumer(self) -> None:
        self._link.tick()
        # Reading is what shows that the broker is alive; prefetch bounds what comes.
        while self._link.is_open and self._link.drain(0):
            pass

    def _refuse_cancelled(self) -> None:
        if self._is_cancelled:
            self._link.discard()
            raise BrokerUnavailable(f"the broker has ended the reading of {self._topology.audit}")

    def _on_delivery(self, raw: RawDelivery) -> None:
        self._arrived.append(
            Delivery(
                original=Original(raw.body, raw.routing_key, raw.properties, raw.dropped),
                tag=raw.tag,
                generation=self.generation,
                received_at=self._monotonic(),
                delivery_count=raw.delivery_count,
            )
        )

    def _on_cancel(self, _consumer_tag: str) -> None:
        self._is_cancelled = True
