"""The audit trail of the embedded mode: its one key server writes the files itself.

There is no queue between who records and who writes, so what is recorded is on disk with the chain
and the checkpoints that `kmworker auditor` makes, and nothing is ever on its way. The lock of the
folder is what keeps a second key server from delivering anything.
"""

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from kmworker.audit.files import TrailFiles
from kmworker.audit.records import identity_of
from kmworker.audit.writers import TrailPlace
from kmworker.bus.audit_trail import writer_name
from kmworker.clock import Clock
from kmworker.domain.audit import AuditRecord
from kmworker.errors import NoRoom, NotRecorded, SetupError
from kmworker.ports import Answered, Pending
from kmworker.settings import AuditSettings
from kmworker.wire.audit_records import audit_message

__all__ = ["FileAuditTrail"]

log = structlog.get_logger()

DAY_S: Final = 86_400
ROLE: Final = "key-server"


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
    ) -> None:
        """Prepare; the files are opened with the first record.

        Args:
            files: returns the trail, which nobody else may write meanwhile.
            clock: this machine's.
            settings: when it signs, and goes on in a new file.
            source: the CloudEvents source that the installation's announcements carry.
        """
        self.writer = writer_name(ROLE)
        self._open = files
        self._clock = clock
        self._settings = settings
        self._source = source
        self._files: TrailFiles | None = None
        self._given = 0
        """The last number."""
        self._signed_at_s = 0.0

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
        """Sign what was written, once it is old or much; call about once a second."""
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

    def _opened(self) -> TrailFiles:
        if self._files is None:
            files = self._open()
            files.open(self._clock.now())
            self._files = files
            self._signed_at_s = self._clock.monotonic()
        return self._files

    def _write(self, files: TrailFiles, records: Sequence[AuditRecord]) -> None:
        now_s = self._clock.now()
        numbered = list(enumerate(records, start=self._given + 1))
        bodies = [
            audit_message(it, self.writer, number, self._source, "").body for number, it in numbered
        ]
        # All of them or none: so no number is given to what is not there.
        files.append([("record", body, None) for body in bodies], now_s)
        first = files.tip.number - len(bodies) + 1
        for line, body in enumerate(bodies, start=first):
            known = identity_of(body)
            assert known is not None  # noqa: S101  # our own
            files.writers.note(*known, TrailPlace(line, now_s))
        self._given += len(bodies)

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
            log.info("checkpoint", checkpoint=files.checkpoint(self._clock.now()).fields)
        except (NoRoom, OSError) as error:
            log.warning("no checkpoint", detail=str(error))
