"""The records of the audit trail, as the auditor takes them off RabbitMQ.

Two connections, as a worker has: a broker that is short of memory or disk stops reading from
publishers, and acknowledgements, which make room, must get through.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from kmworker.audit.checkpoints import Checkpoint
from kmworker.bus.amqp.brokers import Brokers
from kmworker.bus.amqp.link import Link
from kmworker.bus.declaring import ensure_audit
from kmworker.bus.publisher import Publisher
from kmworker.bus.queue_reader import QueueReader
from kmworker.domain.message import Confirm, Delivery, Outgoing
from kmworker.errors import BrokerUnavailable
from kmworker.settings import BrokerSettings
from kmworker.wire.audit_records import CHECKPOINT_KEY
from kmworker.wire.properties import PERSISTENT
from kmworker.wire.topology import Topology

__all__ = ["RabbitAuditQueue"]

log = structlog.get_logger()

# Two batches: one is written while the next is sent.
PREFETCH: Final = 1000


class RabbitAuditQueue:
    """The queue of records; see `kmworker.audit.auditor.AuditQueue`."""

    def __init__(
        self,
        settings: BrokerSettings,
        name: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topology = Topology(settings.namespace)
        brokers = Brokers(settings.addresses)
        self._reader = QueueReader(
            settings,
            self._topology.audit,
            f"{name} consumer",
            prefetch=PREFETCH,
            brokers=brokers,
            monotonic=monotonic,
        )
        self._publisher = Publisher(
            Link(settings, f"{name} publisher", brokers=brokers), settings.confirm_timeout_s
        )

    @property
    def generation(self) -> int:
        """Return the number of the connection: deliveries of older ones are void."""
        return self._reader.generation

    def open(self) -> None:
        """Connect what is not connected, declare what is missing if we may, start consuming.

        Raises:
            BrokerUnavailable: the broker is not there, or another auditor consumes.
            SetupError: a name is something else.
        """
        self._reader.open(self._prepare)
        self._publisher.open()

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what has come, at most ``limit``; wait for the first."""
        return self._reader.receive(limit, timeout_s)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these; those of an older generation are skipped."""
        self._reader.acknowledge(deliveries)

    def publish(self, checkpoint: Checkpoint) -> None:
        """Let everyone have it who has bound a queue for it; nobody need have."""
        properties = {"content_type": "application/json", "delivery_mode": PERSISTENT}
        message = Outgoing(self._topology.audit, CHECKPOINT_KEY, checkpoint.body, properties)
        sent = self._publisher.send([message])
        (confirm,) = self._publisher.confirmed(sent, self._reader.tick)
        if confirm is Confirm.REFUSED:
            log.warning("a queue has refused a checkpoint", line=checkpoint.line)

    def tick(self) -> None:
        """Keep idle connections alive."""
        self._reader.tick()
        self._publisher.tick()

    def close(self) -> None:
        """Leave; the broker delivers again whatever is unacknowledged."""
        self._publisher.close()
        self._reader.close()

    def _prepare(self, connection: Any) -> None:
        """Declare what is missing if we may, and wait for another auditor to end.

        Of two, each would have half of the trail.
        """
        ensure_audit(connection, self._topology)
        channel = connection.channel()
        found = channel.queue_declare(self._topology.audit, passive=True)
        channel.close()
        if found.consumer_count:
            self._reader.close()
            raise BrokerUnavailable(
                f"another auditor consumes {self._topology.audit}, or one that was lost a moment"
                " ago: of two, each would have a part of the trail"
            )
