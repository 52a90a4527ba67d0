"""One batch of requests, from the broker to its answers.

In this order: decided, recorded, looked at again, answered, acknowledged. What cannot be recorded
is not delivered; what was suspended, revoked or detached while it was recorded is not either. A
crash anywhere leaves the requests with the broker, and a record without an answer: asked again,
they are recorded and answered again. Which ids were used the store writes to its disk while the
broker writes the records to its own: both are waited for before anything leaves.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

import structlog

from kmworker.clock import Clock, rfc3339, unix_s
from kmworker.delegation.answers import AnswerSigner, SignedAnswer
from kmworker.domain.message import Delivery
from kmworker.domain.model import ScopeRecord
from kmworker.errors import NotRecorded, PermanentError, UnknownKek, Untrusted
from kmworker.keyserver.deciding import Deciding, Verdicts
from kmworker.keyserver.intake import Asking, Refusing, RequestIntake, Unanswered
from kmworker.keyserver.ports import Copy, CopyRegister, KeyStore, Reply, RequestQueue
from kmworker.keyserver.recording import (
    RECORDED,
    Granted,
    record_of_delivery,
    record_of_flaw,
    record_of_refusal,
)
from kmworker.keyserver.sending import AnswerSending
from kmworker.keyserver.tally import AnswerTally
from kmworker.keyserver.waiting import WaitingRequests
from kmworker.ports import AuditTrail
from kmworker.wire.answers.bodies import Delivered
from kmworker.wire.answers.messages import Refusal

__all__ = ["AnswerStep", "Answering", "Unwrapping"]

log = structlog.get_logger()


class AnswerStep(StrEnum):
    """What a key server is about to do; tests end the process there."""

    LOOK = "look"
    RECORD = "record"
    SEAL = "seal"
    RECORDED = "recorded"
    LOOK_AGAIN = "look-again"
    ANSWER = "answer"
    ACKNOWLEDGE = "acknowledge"


class Unwrapping(Protocol):
    """What a key server needs of the custody."""

    def unwrap(self, project: str, scope: ScopeRecord, blob: bytes) -> bytes:
        """Return the DEK; see `kmworker.ports.Custody.unwrap`."""
        ...


class Answering:
    """Takes requests through all steps.

    All may raise `TransientError`: nothing was acknowledged then, and the broker delivers it again.
    """

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        *,
        queue: RequestQueue,
        store: KeyStore,
        custody: Unwrapping,
        trail: AuditTrail,
        intake: RequestIntake,
        clock: Clock,
        tally: AnswerTally,
        copies: CopyRegister,
        keep_s: float,
        wait_s: float,
        on_step: Callable[[AnswerStep], None] = lambda _step: None,
    ) -> None:
        """Prepare.

        Args:
            queue: of the requests.
            store: the records.
            custody: opens wrapped DEKs.
            trail: where each delivery is recorded before it is made.
            intake: checks requests.
            clock: the store's time.
            tally: what is counted.
            copies: where each delivery is noted before it is made.
            keep_s: how long a client may keep a copy at most.
            wait_s: how long a request waits for its grant, since it came.
            on_step: called before each step; tests end the process there.
        """
        self.signer: AnswerSigner | None = None
        self._queue = queue
        self._store = store
        self._custody = custody
        self._trail = trail
        self._intake = intake
        self._sending = AnswerSending(queue, tally, intake.bar)
        self._clock = clock
        self._tally = tally
        self._copies = copies
        self._deciding = Deciding(store, copies, clock, keep_s)
        self._on_step = on_step
        self._waiting = WaitingRequests(clock.monotonic, wait_s)

    @property
    def is_waited(self) -> bool:
        """Return whether requests wait for their grants."""
        return bool(self._waiting)

    def forget(self) -> None:
        """Let go of what waits: on a new connection it comes again."""
        self._waiting.clear()
        self._tally.waiting = 0

    def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Answer these, and those that have waited for what is there now."""
        assert self.signer is not None  # noqa: S101  # the loop sees to that
        self._on_step(AnswerStep.LOOK)
        taken = self._intake.take(deliveries)
        unanswered = [it for it in taken if isinstance(it, Unanswered)]
        for it in unanswered:
            self._tally.dropped(it.why)
        asking = [it for it in taken if isinstance(it, Asking)]
        waiting = self._waiting.due(is_busy=bool(deliveries))
        found = self._deciding.verdicts([*asking, *waiting], new=len(asking))
        found.refusing += self._waiting.keep(found.later)
        self._tally.waiting = len(self._waiting)
        decided = [it.asking for it in found.granted] + [it.asking for it in found.refusing]
        found.refusing += [it for it in taken if isinstance(it, Refusing)]
        replies = self._answered(found, decided, self.signer)
        self._on_step(AnswerStep.ANSWER)
        self._sending.send(replies)
        self._on_step(AnswerStep.ACKNOWLEDGE)
        self._queue.acknowledge(
            [*(it.delivery for it in unanswered), *(delivery for delivery, _reply in replies)]
        )

    def _answered(
        self, found: Verdicts, decided: Sequence[Asking], signer: AnswerSigner
    ) -> list[tuple[Delivery, Reply]]:
        """Record all of it, and return the answers that may leave.

        Args:
            found: what is to become of all.
            decided: those whose ids are used up by that.
            signer: of the answers.
        """
        at = rfc3339(self._clock.now())
        noting = self._store.note([(it.client.name, it.asked) for it in decided])
        sealed = self._recorded(found, signer, at)
        # Another key server has had other bytes under the same id, at the same time.
        reused = {
            id(it) for it, first in zip(decided, noting.result(), strict=True) if first is None
        }
        still: set[int] = set()
        if sealed is not None and found.granted:
            self._on_step(AnswerStep.LOOK_AGAIN)
            still = self._deciding.still(found.granted)
        answers = [None] * len(found.granted) if sealed is None else sealed
        replies = []
        for it, answer in zip(found.granted, answers, strict=True):
            if answer is None or id(it) not in still or id(it.asking) in reused:
                found.refusing.append(Refusing(it.asking, Refusal.TRY_LATER))
                continue
            self._tally.delivered()
            replies.append(_reply(it.asking, answer))
        for refusing in found.refusing:
            told, asking = refusing, refusing.asking
            if sealed is None and refusing.reason in RECORDED:
                told = Refusing(asking, Refusal.TRY_LATER)
            elif sealed is not None and id(asking) in reused:
                told = Refusing(asking, Refusal.REUSED_ID)
            replies.append(self._refused(told, signer, at))
        return replies

    def _recorded(
        self, found: Verdicts, signer: AnswerSigner, at: str
    ) -> Sequence[SignedAnswer | None] | None:
        """Record all of it; return the answers to what is granted, None: it is not recorded.

        Of an answer there is None where its DEK does not unwrap, or cannot be sealed to its client.
        """
        records = [record_of_delivery(it, at) for it in found.granted]
        records += [record_of_refusal(it, at) for it in found.refusing if it.reason in RECORDED]
        records += [record_of_flaw(it, flaw, at) for it, flaw in found.flawed]
        if not records:
            return []
        self._on_step(AnswerStep.RECORD)
        try:
            pending = self._trail.record(records)
            # While the broker writes them down.
            self._on_step(AnswerStep.SEAL)
            sealed = [self._sealed(it, signer, at) for it in found.granted]
            # Before it is looked at again: what ends from then on finds them.
            noted = self._copies.add([_copy(it) for it in found.granted])
            pending.result()
            noted.result()
        except NotRecorded as refused:
            self._tally.trouble = str(refused)
            log.warning("not recorded, so not delivered", detail=str(refused))
            return None
        self._on_step(AnswerStep.RECORDED)
        self._tally.trouble = ""
        return sealed

    def _sealed(self, it: Granted, signer: AnswerSigner, at: str) -> SignedAnswer | None:
        asked, deliver = it.asking.asked, it.deliver
        scope = deliver.scope
        delivered = Delivered(
            deliver.key.key_id, scope.encryption, deliver.state, deliver.not_after
        )
        try:
            return signer.deliver(
                asked,
                it.asking.client.name,
                it.asking.signer,
                delivered,
                self._custody.unwrap(asked.project, scope, it.wrapped),
                at=at,
            )
        except (PermanentError, UnknownKek) as broken:
            log.error("a DEK does not unwrap", scope_id=scope.scope_id, error=str(broken))  # noqa: TRY400
            return None
        except Untrusted as wrong:
            # This client's trouble, and nobody else's.
            name = it.asking.client.name
            log.error("no key can be sealed to a client", client=name, error=str(wrong))  # noqa: TRY400
            return None

    def _refused(self, refusing: Refusing, signer: AnswerSigner, at: str) -> tuple[Delivery, Reply]:
        asking = refusing.asking
        self._tally.refused(refusing.reason)
        answer = signer.refuse(
            asking.asked, asking.client.name, refusing.reason, at=at, detail=refusing.detail
        )
        return _reply(asking, answer)


def _copy(it: Granted) -> Copy:
    asked, deliver = it.asking.asked, it.deliver
    return Copy(
        asked.project,
        deliver.key.key_id,
        it.asking.client.name,
        asked.item,
        unix_s(deliver.not_after),
    )


def _reply(asking: Asking, answer: SignedAnswer) -> tuple[Delivery, Reply]:
    return asking.delivery, Reply(asking.queue, answer)
