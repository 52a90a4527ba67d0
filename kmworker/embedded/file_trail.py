"""The audit trail of the embedded mode: its one key server writes the files itself.

There is no queue between it and them, so what it records is on disk with the chain and the
checkpoints that `kmworker auditor` makes. What others record it takes over from a stream. The lock
of the folder is what keeps a second key server from delivering anything.
"""

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from kmworker.audit.files import TrailFiles
from kmworker.audit.records import identity_of
from kmworker.audit.writers import Novelty, TrailPlace
from kmworker.bus.audit_trail import writer_name
from kmworker.clock import Clock
from kmworker.domain.audit import AuditRecord
from kmworker.embedded.audit_stream import AuditStream
from kmworker.errors import BrokerUnavailable, NoRoom, NotRecorded, SetupError
from kmworker.ports import Answered, Pending
from kmworker.settings import AuditSettings
from kmworker.wire.audit_records import audit_message

__all__ = ["FileAuditTrail"]

log = structlog.get_logger()

DAY_S: Final = 86_400
ROLE: Final = "key-server"
LOOK_S: Final = 0.5


class FileAuditTrail:
    """An `AuditTrail` in files; for one thread.

    Attributes:
        writer: under which name it records.
    """

    def __init__(
        self,
        files: Callable[[], TrailFiles],
        clock: Clock,
        settings: AuditSettings,
        source: str,
        others: AuditStream | None = None,
    ) -> None:
        """Prepare; the files are opened with the first record.

        Args:
            files: returns the trail, which nobody else may write meanwhile.
            clock: this machine's.
            settings: when it signs, and goes on in a new file.
            source: the CloudEvents source that the installation's announcements carry.
            others: what is recorded by other processes; None: there are none.
        """
        self.writer = writer_name(ROLE)
        self._open = files
        self._clock = clock
        self._settings = settings
        self._source = source
        self._others = others
        self._look_at_s = 0.0
        """When others' records are to be looked for, monotonic."""
        self._is_told = False
        self._files: TrailFiles | None = None
        self._given = 0
        """The last number."""
        self._signed_at_s = 0.0

    def open(self) -> None:
        """Do nothing: the files are opened with the first record."""

    def record(self, records: Sequence[AuditRecord]) -> Pending[None]:
        """Write records; they are on disk when this returns.

        Raises:
            NotRecorded: another process has the files, they are damaged, or the disk is full or
                fails; none of them is in the trail then.
        """
        try:
            files = self._opened()
            self._go_on_in_a_new_file_if_due(files)
            self._write(files, records)
        except (NoRoom, OSError, SetupError) as error:
            raise NotRecorded(f"the audit trail cannot be written: {error}") from error
        return Answered(None)

    def tick(self) -> None:
        """Take others' records over, and sign what was written, once it is old or much."""
        self._take_over_if_due()
        files = self._files
        if files is None or not files.unsigned:
            return
        elapsed_s = self._clock.monotonic() - self._signed_at_s
        is_much = files.unsigned >= self._settings.checkpoint_lines
        if is_much or elapsed_s >= self._settings.checkpoint_s:
            self._sign(files)

    def close(self) -> None:
        """Sign, and let others have the files."""
        if self._files is not None:
            if self._files.unsigned:
                self._sign(self._files)
            self._files.close()
            self._files = None
        if self._others is not None:
            self._others.close()

    def _opened(self) -> TrailFiles:
        if self._files is None:
            files = self._open()
            files.open(self._clock.now())
            self._files = files
            self._signed_at_s = self._clock.monotonic()
        return self._files

    def _write(self, files: TrailFiles, records: Sequence[AuditRecord]) -> None:
        numbered = list(enumerate(records, start=self._given + 1))
        bodies = [
            audit_message(it, self.writer, number, self._source, "").body for number, it in numbered
        ]
        self._append(files, bodies)
        self._given += len(bodies)

    def _append(self, files: TrailFiles, bodies: Sequence[bytes]) -> None:
        now_s = self._clock.now()
        # All of them or none: so no number is given to what is not there.
        files.append([("record", body, None) for body in bodies], now_s)
        first = files.tip.number - len(bodies) + 1
        for line, body in enumerate(bodies, start=first):
            known = identity_of(body)
            assert known is not None  # noqa: S101  # it was looked at before
            files.writers.note(*known, TrailPlace(line, now_s))

    def _take_over_if_due(self) -> None:
        """Write what others have recorded; what cannot be written stays where it is."""
        now_s = self._clock.monotonic()
        if self._others is None or now_s < self._look_at_s:
            return
        self._look_at_s = now_s + LOOK_S
        try:
            while found := self._others.waiting():
                self._take_over(found)
                self._others.drop([name for name, _body in found])
        except (NoRoom, OSError, SetupError, BrokerUnavailable) as error:
            # Once, until it works again.
            if not self._is_told:
                log.error("others' records are not in the audit trail", detail=str(error))  # noqa: TRY400
            self._is_told = True
        else:
            self._is_told = False

    def _take_over(self, found: Sequence[tuple[bytes, bytes]]) -> None:
        files = self._opened()
        self._go_on_in_a_new_file_if_due(files)
        bodies = [body for _name, body in found if self._is_new(files, body)]
        if bodies:
            self._append(files, bodies)

    def _is_new(self, files: TrailFiles, body: bytes) -> bool:
        known = identity_of(body)
        if known is None:
            # Whoever can write there owns it all, so that this is nobody's attack.
            log.error("a message that is no record", size_bytes=len(body))
            return False
        # It was taken over, and not dropped before this process, or the one before, had ended.
        return files.writers.judge(*known) is Novelty.NEW

    def _go_on_in_a_new_file_if_due(self, files: TrailFiles) -> None:
        """Begin a file for each day, and where one is large; the one before ends signed."""
        now_s = self._clock.now()
        is_of_today = now_s // DAY_S == files.began_at_s // DAY_S
        if is_of_today and files.size_bytes < self._settings.rotate_bytes:
            return
        if files.unsigned:
            files.checkpoint(now_s)
        files.begin_segment(now_s)

    def _sign(self, files: TrailFiles) -> None:
        """Sign; where that cannot be written, the next time is soon enough."""
        self._signed_at_s = self._clock.monotonic()
        try:
            # What one machine keeps for itself proves nothing to others: not for each who looks on.
            log.debug("checkpoint", checkpoint=files.checkpoint(self._clock.now()).fields)
        except (NoRoom, OSError) as error:
            log.warning("no checkpoint", detail=str(error))
