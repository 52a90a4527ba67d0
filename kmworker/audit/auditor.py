"""The auditor: takes records off their queue and puts them into files.

In this order: on disk, then acknowledged. A crash in between has the broker deliver them again,
and they are known.

Where the disk is full, nothing is acknowledged and nothing is lost: the queue fills, and then
whoever has something to record is refused, and delivers nothing.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, Protocol

import structlog

from kmworker.audit.checkpoints import Checkpoint
from kmworker.audit.files import TrailFiles
from kmworker.audit.records import identity_of
from kmworker.audit.writers import Novelty, TrailPlace
from kmworker.clock import Clock
from kmworker.domain.message import Delivery, Original
from kmworker.errors import NoRoom, TransientError
from kmworker.settings import AuditSettings

__all__ = ["AuditQueue", "Auditor"]

log = structlog.get_logger()

BATCH: Final = 500
"""Records in one write: one sync of the disk for all of them."""
WAIT_S: Final = 0.5
RETRY_S: Final = 5.0
POLL_S: Final = 0.2
DAY_S: Final = 86_400
# Of a message that is no record: enough to see what it is, and not somebody's way to fill disks.
MAX_KEPT_BYTES: Final = 1024
USER: Final = "user_id"


class AuditQueue(Protocol):
    """The records, as the broker has them. Every method raises `BrokerUnavailable` if it goes."""

    @property
    def generation(self) -> int:
        """Grows with each new connection: what came on one before is delivered again."""

    def open(self) -> None:
        """Connect what is not connected, and start consuming."""

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what has come, at most ``limit``; wait for the first."""

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these; those of an older generation are skipped."""

    def publish(self, checkpoint: Checkpoint) -> None:
        """Let everyone have it who has bound a queue for it."""

    def tick(self) -> None:
        """Keep idle connections alive."""

    def close(self) -> None:
        """Leave; what is not acknowledged is delivered again."""


class Auditor:
    """One process.

    Attributes:
        written: how many records it has put into the trail since its start.
        repeated: how many came that were there already.
    """

    def __init__(
        self,
        queue: AuditQueue,
        files: TrailFiles,
        clock: Clock,
        settings: AuditSettings,
        *,
        on_step: Callable[[str], None] = lambda _step: None,
    ) -> None:
        """Prepare.

        Args:
            queue: of records.
            files: that they go into.
            clock: this machine's.
            settings: how it works.
            on_step: called before each step with its name; tests end the process there.
        """
        self.written = 0
        self.repeated = 0
        self._queue = queue
        self._files = files
        self._clock = clock
        self._settings = settings
        self._on_step = on_step
        self._is_stopping = False
        self._is_open = False
        self._signed_at_s = 0.0
        self._held: list[Delivery] = []
        """What is not acknowledged, because there was no room for it."""

    def stop(self) -> None:
        """Return from `run` after the batch at hand."""
        self._is_stopping = True

    def run(self) -> None:
        """Work until stopped; a broker that is away and a full disk are waited for.

        Raises:
            SetupError: the directory is another auditor's, or damaged, or a name on the broker is
                something else.
            OSError: the disk fails.
        """
        last = ""
        try:
            while not self._is_stopping:
                try:
                    self._turn()
                    last = ""
                except TransientError as error:
                    # Once for each cause: a full disk may be one for days.
                    if last != (last := f"{type(error).__name__}: {error}"):
                        what, said = type(error).__name__, str(error)
                        log.error("waiting", error=what, detail=said)  # noqa: TRY400
                    self._pause(RETRY_S)
        finally:
            self._end()

    def _turn(self) -> None:
        if not self._is_open:
            self._files.open(self._clock.now())
            self._is_open = True
            self._signed_at_s = self._clock.monotonic()
            self._tell("audit trail open")
        self._queue.open()
        self._held = [it for it in self._held if it.generation == self._queue.generation]
        arrived = self._held or self._queue.receive(BATCH, WAIT_S)
        self._held = arrived
        if arrived:
            self._keep(arrived)
            self._on_step("acknowledge")
            self._held = []
            self._queue.acknowledge(arrived)
        self._queue.tick()
        self._sign_if_due()

    def _keep(self, arrived: Sequence[Delivery]) -> None:
        """Put into the trail what is not in it."""
        now_s = self._clock.now()
        self._go_on_in_a_new_file_if_due(now_s)
        contents: list[tuple[str, bytes, str | None]] = []
        fresh: dict[tuple[str, int], tuple[bytes, TrailPlace]] = {}
        repeated = 0
        for delivery in arrived:
            known = identity_of(delivery.original.body)
            user = _text(delivery.original.properties.get(USER))
            if known is None:
                contents.append(("unreadable", _described(delivery.original), user))
                continue
            writer, number, digest = known
            among = fresh.get((writer, number))
            novelty = self._files.writers.judge(writer, number, digest)
            if among is not None:
                novelty = Novelty.REPEATED if among[0] == digest else Novelty.CONFLICTING
            if novelty is Novelty.REPEATED:
                repeated += 1
                continue
            kind = "record" if novelty is Novelty.NEW else "conflicting"
            contents.append((kind, delivery.original.body, user))
            if kind == "record":
                line = self._files.tip.number + len(contents)
                fresh[writer, number] = digest, TrailPlace(line, now_s)
        if contents:
            self._on_step("write")
            self._files.append(contents, now_s)
        for (writer, number), (digest, place) in fresh.items():
            self._files.writers.note(writer, number, digest, place)
        self.written += len(fresh)
        self.repeated += repeated
        _alarm([kind for kind, _body, _user in contents if kind != "record"])

    def _sign_if_due(self) -> None:
        unsigned = self._files.unsigned
        elapsed_s = self._clock.monotonic() - self._signed_at_s
        if unsigned and (
            unsigned >= self._settings.checkpoint_lines or elapsed_s >= self._settings.checkpoint_s
        ):
            self._sign()

    def _go_on_in_a_new_file_if_due(self, now_s: float) -> None:
        """Begin a file for each day, and where one is large; the one before ends signed."""
        files = self._files
        is_of_today = now_s // DAY_S == files.began_at_s // DAY_S
        if is_of_today and files.size_bytes < self._settings.rotate_bytes:
            return
        if files.unsigned:
            self._sign()
        self._on_step("rotate")
        files.begin_segment(now_s)
        self._tell("audit trail goes on")

    def _sign(self) -> None:
        self._on_step("sign")
        checkpoint = self._files.checkpoint(self._clock.now())
        self._signed_at_s = self._clock.monotonic()
        log.info("checkpoint", checkpoint=checkpoint.fields)
        self._on_step("publish")
        self._queue.publish(checkpoint)
        missing, _awaited = self._files.writers.missing(self._clock.now())
        for gap in missing[:1]:
            log.error(
                "records are missing",
                writer=gap.writer,
                first=gap.first,
                last=gap.last,
                gaps=len(missing),
                hint="they never came here: docs/audit.md, What a gap means",
            )

    def _end(self) -> None:
        try:
            if self._is_open and self._files.unsigned:
                self._sign()
        except (NoRoom, TransientError) as error:
            log.warning("no last checkpoint", detail=str(error))
        finally:
            self._queue.close()
            self._files.close()

    def _pause(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        while not self._is_stopping and self._clock.monotonic() < until:
            self._clock.sleep(POLL_S)
            self._tick()

    def _tick(self) -> None:
        try:
            self._queue.tick()
        except TransientError:
            # The next turn connects again, and says so if it cannot.
            return

    def _tell(self, what: str) -> None:
        files = self._files
        log.info(
            what,
            trail=files.trail,
            segment=files.segment,
            line=files.tip.number,
            digest=files.tip.digest,
        )


def _described(original: Original) -> bytes:
    """Return what is kept of a message that is no record."""
    kept = b64encode(original.body[:MAX_KEPT_BYTES]).decode()
    size = len(original.body) if original.dropped is None else original.dropped.size_bytes
    said = {
        "sha256": sha256(original.body).hexdigest() if original.dropped is None
        else original.dropped.sha256,
        "size_bytes": size,
        "routing_key": original.routing_key,
        "base64": kept,
    }  # fmt: skip
    return json.dumps(said, separators=(",", ":")).encode()


def _alarm(kinds: Sequence[str]) -> None:
    for kind in sorted(set(kinds)):
        log.error(
            "another record under a number that was taken"
            if kind == "conflicting"
            else "a message that is no record",
            number=kinds.count(kind),
            hint="somebody else writes as a writer of records: docs/audit.md",
        )


def _text(found: object) -> str | None:
    return found if isinstance(found, str) and found else None
