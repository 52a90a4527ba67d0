"""The embedded mode's way into the audit trail for whoever is not its key server.

The key server has the files. Workers and commands put their records into a stream of the same
server, which has them on disk when it replies, and the key server takes them over: as on RabbitMQ,
what is recorded survives whoever has recorded it.
"""

from collections.abc import Sequence
from typing import Any, Final

from kmworker.bus.audit_trail import writer_name
from kmworker.domain.audit import AuditRecord
from kmworker.embedded.route import stream_errors
from kmworker.errors import BrokerUnavailable, NotRecorded
from kmworker.ports import Answered, Pending
from kmworker.store.client import Client
from kmworker.wire.audit_records import audit_message
from kmworker.wire.topology import Topology

__all__ = ["AuditStream", "StreamAuditTrail"]

MAX_WAITING: Final = 100_000
"""Records, as long as no key server takes them over; beyond that nothing is recorded."""
PAGE_SIZE: Final = 500
BODY: Final = b"body"


class AuditStream:
    """Records on their way to who has the files."""

    def __init__(self, client: Client, namespace: str) -> None:
        """Prepare; nothing is sent yet.

        Args:
            client: of the server, and nobody else's.
            namespace: of the names.
        """
        self._client: Any = client  # its types leave open whether replies are bytes
        self._name = Topology(namespace).audit

    def put(self, bodies: Sequence[bytes]) -> bool:
        """Put records there, all or none; return whether there is room.

        Raises:
            BrokerUnavailable: they may be there, or not.
        """
        with stream_errors():
            if self._client.xlen(self._name) + len(bodies) > MAX_WAITING:
                return False
            pipeline = self._client.pipeline(transaction=True)
            for body in bodies:
                pipeline.xadd(self._name, {BODY: body})
            pipeline.execute()
            return True

    def waiting(self) -> list[tuple[bytes, bytes]]:
        """Return some that are there, with the names that `drop` takes; the oldest first.

        Raises:
            BrokerUnavailable: the server does not answer.
        """
        with stream_errors():
            found = self._client.xrange(self._name, count=PAGE_SIZE)
        return [(name, fields.get(BODY, b"")) for name, fields in found]

    def drop(self, names: Sequence[bytes]) -> None:
        """Let these go: they are in the trail.

        Raises:
            BrokerUnavailable: the server does not answer.
        """
        with stream_errors():
            self._client.xdel(self._name, *names)

    def close(self) -> None:
        """Leave."""
        self._client.close()


class StreamAuditTrail:
    """An `AuditTrail` by way of a stream; for one thread.

    Attributes:
        writer: under which name it records.
    """

    def __init__(self, stream: AuditStream, role: str, source: str) -> None:
        """Prepare; nothing is sent yet.

        Args:
            stream: where records go.
            role: which kind of process records: `operator`, `worker`.
            source: the CloudEvents source that the installation's announcements carry.
        """
        self.writer = writer_name(role)
        self._stream = stream
        self._role = role
        self._source = source
        self._given = 0
        """The last number."""

    def open(self) -> None:
        """Do nothing: the stream needs no connection of its own."""

    def record(self, records: Sequence[AuditRecord]) -> Pending[None]:
        """Put records into the stream; they are on disk when this returns.

        Raises:
            NotRecorded: the server does not answer, or too many wait there.
        """
        bodies = [
            audit_message(it, self.writer, number, self._source, "").body
            for number, it in enumerate(records, start=self._given + 1)
        ]
        try:
            has_room = self._stream.put(bodies)
        except BrokerUnavailable as error:
            # They may be there: so nobody else's may have these numbers.
            self.writer, self._given = writer_name(self._role), 0
            raise NotRecorded(f"the audit trail cannot be reached: {error}") from error
        if not has_room:
            raise NotRecorded(f"{MAX_WAITING:,} records wait for the key server of kmworker up")
        self._given += len(bodies)
        return Answered(None)

    def tick(self) -> None:
        """Do nothing: nothing is left unconfirmed."""

    def close(self) -> None:
        """Leave."""
        self._stream.close()
