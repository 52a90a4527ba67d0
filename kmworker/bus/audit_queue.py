"""The records of the audit trail, as the auditor takes them off RabbitMQ."""

import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from kmworker.audit.checkpoints import Checkpoint
from kmworker.bus.declaring import ensure_audit
from kmworker.bus.paired_queue import PairedQueue
from kmworker.domain.message import Confirm, Outgoing
from kmworker.errors import BrokerUnavailable
from kmworker.settings import BrokerSettings
from kmworker.wire.audit_records import CHECKPOINT_KEY
from kmworker.wire.properties import PERSISTENT
from kmworker.wire.topology import Topology

__all__ = ["RabbitAuditQueue"]

log = structlog.get_logger()

# Two batches: one is written while the next is sent.
PREFETCH: Final = 1000


class RabbitAuditQueue(PairedQueue):
    """The queue of records; see `kmworker.audit.auditor.AuditQueue`."""

    def __init__(
        self,
        settings: BrokerSettings,
        name: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; see `PairedQueue`."""
        self._topology = Topology(settings.namespace)
        super().__init__(
            settings, self._topology.audit, name, prefetch=PREFETCH, monotonic=monotonic
        )

    def publish(self, checkpoint: Checkpoint) -> None:
        """Let everyone have it who has bound a queue for it; nobody need have."""
        properties = {"content_type": "application/json", "delivery_mode": PERSISTENT}
        message = Outgoing(self._topology.audit, CHECKPOINT_KEY, checkpoint.body, properties)
        sent = self._publisher.send([message])
        (confirm,) = self._publisher.confirmed(sent, self._reader.tick)
        if confirm is Confirm.REFUSED:
            log.warning("a queue has refused a checkpoint", line=checkpoint.line)

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
