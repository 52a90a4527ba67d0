"""The key server's loop: connect, take requests, answer; wait where a server is away."""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import structlog

from kmworker.clock import StoreClock
from kmworker.delegation.answers import AnswerSigner
from kmworker.delegation.trust_list import HandedOut
from kmworker.errors import (
    NotFound,
    PermanentError,
    StoreUnavailable,
    TransientError,
    Untrusted,
)
from kmworker.keyserver.answering import Answering
from kmworker.keyserver.ports import KeyStore, RequestQueue
from kmworker.keyserver.tally import AnswerTally
from kmworker.keyserver.telling import Telling
from kmworker.keyserver.waiting import LOOK_S
from kmworker.ports import AuditTrail

__all__ = ["TICK_S", "KeyServer", "Reporting", "SignerFor"]

log = structlog.get_logger()

BATCH: Final = 128
RETRY_S: Final = 1.0
MAX_RETRY_S: Final = 10.0
"""A node that starts asks for 30 s, and may have begun a moment ago."""
FOLLOW_S: Final = 2.0
"""How often the keyring, the trust list and the time are looked at."""
REPORT_S: Final = 5.0
TICK_S: Final = 0.5
"""How often connections are kept alive."""
POLL_S: Final = 0.1

SignerFor = Callable[[HandedOut, str, str], AnswerSigner]
"""Returns what signs, given the list that is handed out, the installation, and CloudEvents' source.

Raises:
    SetupError: the list does not have this key server's keys.
    Untrusted: it is not signed by its root key, or holds no more.
"""


class Reporting(Protocol):
    """Where operators see a key server; best effort."""

    def write(self, state: str, fields: Mapping[str, str | int | float]) -> None:
        """Write what it is doing, and what it has counted.

        Raises:
            StoreUnavailable: it is not written.
        """


class KeyServer:
    """One process."""

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        *,
        queue: RequestQueue,
        store: KeyStore,
        trail: AuditTrail,
        answering: Answering,
        telling: Telling,
        signer_for: SignerFor,
        reporting: Reporting,
        clock: StoreClock,
        tally: AnswerTally,
    ) -> None:
        self._queue = queue
        self._store = store
        self._trail = trail
        self._answering = answering
        self._telling = telling
        self._signer_for = signer_for
        self._reporting = reporting
        self._clock = clock
        self._tally = tally
        self._source = ""
        self._handed_out: HandedOut | None = None
        self._generation = 0
        self._follow_at = 0.0
        self._report_at = 0.0
        self._tick_at = 0.0
        self._is_stopping = False
        self._waits_for = ""
        """Why it can answer nobody now; empty: it can."""

    def stop(self) -> None:
        """Return from `run` after the batch at hand."""
        self._is_stopping = True

    def run(self) -> None:
        """Work until stopped; servers that are away, and a missing trust list, are waited for.

        Raises:
            SetupError: the store may not be used, or the trust list does not have our keys.
        """
        pause_s, last = RETRY_S, ""
        try:
            while not self._is_stopping:
                try:
                    self.turn()
                    pause_s, last, self._waits_for = RETRY_S, "", ""
                except (TransientError, NotFound, Untrusted, PermanentError) as error:
                    said = f"{type(error).__name__}: {error}"
                    if said != last:
                        hint = getattr(error, "hint", "")
                        log.warning("waiting", detail=said, hint=hint)
                    last = self._waits_for = said
                    self._let_go(error)
                    self._pause(pause_s)
                    pause_s = min(2 * pause_s, MAX_RETRY_S)
        finally:
            self._report("stopped")
            self._telling.close()
            self._queue.close()
            self._trail.close()

    def turn(self) -> None:
        """Do what there is to do, and wait a moment for it."""
        self._ready()
        # Before requests are taken: where nothing can be recorded, others may answer them.
        self._trail.open()
        self._queue.open()
        self._telling.open()
        if self._generation != self._queue.generation:
            self._generation = self._queue.generation
            self._answering.forget()
        deliveries = self._queue.receive(BATCH, LOOK_S)
        if deliveries or self._answering.is_waited:
            self._answering.handle(deliveries)
        assert self._answering.signer is not None  # noqa: S101  # see `_ready`
        self._telling.tell(self._answering.signer)
        self._keep_alive()
        self._report_if_due("running")

    def _keep_alive(self) -> None:
        # Not at each turn: to look at three connections takes a request's time.
        now = self._clock.monotonic()
        if now >= self._tick_at:
            self._tick_at = now + TICK_S
            self._queue.tick()
            self._trail.tick()

    def _ready(self) -> None:
        """See that we may answer, and by which keys."""
        now = self._clock.monotonic()
        if not self._source:
            self._source = self._store.admit()
        elif now < self._follow_at and self._answering.signer is not None:
            return
        self._clock.agree(self._store.time_s)
        self._store.follow_keyring()
        handed_out = self._store.trust()
        if handed_out is None:
            hint = "kmworker trust sign, then kmworker trust publish"
            raise NotFound("no trust list is handed out", hint)
        # Also where it is the same one: it may be over now.
        signer = self._signer_for(handed_out, self._store.installation, self._source)
        if handed_out != self._handed_out:
            log.info("trust list", signer=repr(signer))
        self._handed_out, self._answering.signer = handed_out, signer
        # Not before: until all of it holds again, nothing is answered by what held before.
        self._follow_at = now + FOLLOW_S

    def _let_go(self, error: Exception) -> None:
        if isinstance(error, StoreUnavailable):
            # Whoever comes back may be another.
            self._source = ""
        # What is at hand goes back, so that another key server may answer it: also where the
        # connection is lost that answers go by, and not the one that requests come by.
        self._queue.close()
        self._telling.close()
        self._answering.forget()
        # Whatever is wrong now, nothing is signed before it has been looked at again.
        self._answering.signer = None
        self._report_if_due("waiting")

    def _report_if_due(self, state: str) -> None:
        now = self._clock.monotonic()
        if now >= self._report_at:
            self._report_at = now + REPORT_S
            self._report(state)

    def _report(self, state: str) -> None:
        tally = self._tally
        fields: dict[str, str | int | float] = {**tally.counts, "waiting": tally.waiting}
        try:
            trouble = self._waits_for or tally.trouble
            self._reporting.write(state, {**fields, "trouble": trouble})
        except TransientError:
            # The store is away, which shows by itself.
            return

    def _pause(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        while not self._is_stopping and self._clock.monotonic() < until:
            self._clock.sleep(POLL_S)
            # Else it would pass for gone.
            self._report_if_due("waiting")
