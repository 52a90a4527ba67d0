"""Recording in the audit trail: confirmed by the broker, or known not to be.

A record has its number for good once it was given one, and its bytes with it: of what was refused
or lost with its connection nobody knows whether it is in the queue. So it is sent again, before
anything newer, until it is confirmed, and the auditor drops what comes twice. Whoever had it
recorded was told that it is not, and has delivered nothing; that the trail may come to say more
than was done is no harm, and that it says less would be.

What is not confirmed is bounded. Beyond that nothing gets a number, so a gap in a writer's numbers
means that records were taken away, or that their writer ended before the broker would have them.
"""

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from secrets import token_hex
from time import monotonic
from typing import Final

import structlog

from kmworker.audit.writers import LATE_AT_MOST
from kmworker.bus.amqp.link import Connect, Link, connect_amqp
from kmworker.bus.declaring import ensure_audit
from kmworker.bus.publisher import Publisher, Sent
from kmworker.domain.audit import AuditRecord
from kmworker.domain.message import Confirm, Outgoing
from kmworker.errors import BrokerUnavailable, NotRecorded, SetupError, TransientError
from kmworker.ports import Pending
from kmworker.settings import BrokerSettings
from kmworker.wire.audit_records import MAX_RECORD_BYTES, audit_message
from kmworker.wire.topology import Topology

__all__ = ["MAX_UNCONFIRMED", "RabbitAuditTrail", "writer_name"]

log = structlog.get_logger()

MAX_UNCONFIRMED: Final = LATE_AT_MOST
"""Records: the auditor waits for a number until its writer is so far ahead."""
HINT: Final = "kmworker doctor says how full its queue is; is an auditor running?"


def writer_name(role: str) -> str:
    """Return a name that no other process has had: a start's own."""
    host = "".join(it if it.isascii() and it.isprintable() else "?" for it in platform.node())
    return f"{role}@{host[:150] or '?'}/{os.getpid()}-{token_hex(8)}"


@dataclass(slots=True, eq=False)
class _Numbered:
    """A record on its way."""

    number: int
    message: Outgoing
    sent: Sent | None = None
    """With what it was sent the last time; None: it is to be sent again."""
    is_confirmed: bool = False

    @property
    def is_due(self) -> bool:
        return not self.is_confirmed and (self.sent is None or self.sent.is_lost)


class RabbitAuditTrail:
    """An `AuditTrail` on RabbitMQ; for one thread.

    Attributes:
        writer: under which name it records.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        role: str,
        *,
        user: str | None = None,
        connect: Connect = connect_amqp,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            settings: where the broker is.
            role: which kind of process records: `key-server`, `operator`, `worker`.
            user: as whom, where the broker calls us otherwise than the URL does.
            connect: what makes the connection.
            monotonic: the time.
        """
        self.writer = writer_name(role)
        self._source = settings.source
        self._topology = Topology(settings.namespace)
        self._link = Link(settings, f"kmworker {role} audit", connect=connect)
        self._publisher = Publisher(
            self._link, settings.confirm_timeout_s, monotonic, signs=True, user=user
        )
        self._given = 0
        """The last number."""
        self._unconfirmed: list[_Numbered] = []
        """In the order of their numbers."""
        self._open: list[_Recording] = []
        """What was sent and not looked at."""

    @property
    def unconfirmed(self) -> int:
        """Return how many records may not be in the trail."""
        return len(self._unconfirmed)

    def open(self) -> None:
        """Connect what is not connected, and see to the names.

        Raises:
            BrokerUnavailable: the broker is away, does not let us in, or has something else there.
        """
        if self._publisher.is_open:
            return
        self._publisher.open()
        try:
            with self._link.call():
                ensure_audit(self._link.connection, self._topology)
        except SetupError as wrong:
            # It may be put right while this process goes on; meanwhile nothing is recorded.
            self._publisher.close()
            raise BrokerUnavailable(f"{wrong}: {wrong.hint}") from wrong

    def record(self, records: Sequence[AuditRecord]) -> Pending[None]:
        """Send records; what is returned waits until the broker has them on disk.

        Raises:
            NotRecorded: the broker is away, or has refused as many as may be open; these were
                given no number, and will not be in the trail.
        """
        try:
            self.open()
            self._look()
        except BrokerUnavailable as error:
            raise NotRecorded(f"the audit trail cannot be reached: {error}") from error
        if len(self._unconfirmed) + len(records) > MAX_UNCONFIRMED:
            self._send_due(())
            raise NotRecorded(f"{self.unconfirmed:,} records wait for the audit trail: {HINT}")
        return self._send_due([self._numbered(record) for record in records])

    def tick(self) -> None:
        """Keep the idle connection alive, and send again what is not confirmed; once a second."""
        try:
            if self._unconfirmed:
                self.open()
            self._publisher.tick()
            self._look()
            if any(it.is_due for it in self._unconfirmed):
                self._send_due(())
        except TransientError:
            # Whoever records next is told; and the next tick tries again.
            return

    def close(self) -> None:
        """Leave; what is not confirmed is sent once more before, and told if it is not then."""
        try:
            if self._unconfirmed:
                self.open()
                self._look()
                self._send_due(()).settle()
                for recording in self._open[:]:
                    recording.settle()
        except TransientError as error:
            log.warning("the audit trail cannot be reached", detail=str(error))
        if self._unconfirmed:
            log.error(
                "records did not get into the audit trail",
                writer=self.writer,
                first=self._unconfirmed[0].number,
                last=self._unconfirmed[-1].number,
                records=len(self._unconfirmed),
            )
        self._publisher.close()

    def _numbered(self, record: AuditRecord) -> _Numbered:
        number = self._given + 1
        message = audit_message(record, self.writer, number, self._source, self._topology.audit)
        if len(message.body) > MAX_RECORD_BYTES:
            raise ValueError(f"a record of {len(message.body)} bytes: {record.what}")
        self._given = number
        numbered = _Numbered(number, message)
        self._unconfirmed.append(numbered)
        return numbered

    def _send_due(self, fresh: Sequence[_Numbered]) -> "_Recording":
        """Send what is to be sent again and then what is new, in the order of their numbers."""
        due = [it for it in self._unconfirmed if it.is_due]
        recording = _Recording(self, due, tuple(fresh))
        self._open.append(recording)
        if due:
            if due[0] not in fresh:
                # A channel on which a queue has refused may not hear that it has room again.
                self._publisher.renew()
            recording.send(self._publisher)
        return recording

    def _look(self) -> None:
        """Take up what has become of what was sent."""
        for recording in self._open[:]:
            if recording.done():
                recording.settle()

    def settled(self, recording: "_Recording") -> None:
        """Forget what is confirmed."""
        self._open = [it for it in self._open if it is not recording]
        self._unconfirmed = [it for it in self._unconfirmed if not it.is_confirmed]


class _Recording:
    """A `Pending`, of records that were sent together."""

    def __init__(
        self, trail: RabbitAuditTrail, due: Sequence[_Numbered], fresh: Sequence[_Numbered]
    ) -> None:
        self._trail = trail
        self._due = due
        self._fresh = fresh
        self._publisher: Publisher | None = None
        self._sent: Sent | None = None
        self._why = ""
        self._is_settled = False

    def send(self, publisher: Publisher) -> None:
        self._publisher = publisher
        try:
            sent = publisher.send([it.message for it in self._due])
        except TransientError as error:
            self._why = str(error)
            return
        self._sent = sent
        for it in self._due:
            it.sent = sent

    def done(self) -> bool:
        return (
            self._is_settled
            or self._sent is None
            or self._publisher is None
            or self._publisher.is_over(self._sent)
        )

    def result(self) -> None:
        """Wait for the broker.

        Raises:
            NotRecorded: it has not confirmed all of them; they may be in the trail all the same.
        """
        self.settle()
        refused = sum(not it.is_confirmed for it in self._fresh)
        if refused:
            why = self._why or "its queue is full, or not there"
            raise NotRecorded(f"the audit trail has not confirmed {refused}: {why}; {HINT}")

    def settle(self) -> None:
        """Wait, and note what is confirmed; nothing is raised."""
        if self._is_settled:
            return
        self._is_settled = True
        if self._publisher is not None and self._sent is not None:
            try:
                confirms = self._publisher.confirmed(self._sent)
            except TransientError as error:
                self._why = str(error)
                confirms = []
            for it, confirm in zip(self._due, confirms, strict=False):
                it.is_confirmed |= confirm is Confirm.STORED
            for it in self._due:
                # It may have been sent once more since then.
                if it.sent is self._sent:
                    it.sent = None
        self._trail.settled(self)
