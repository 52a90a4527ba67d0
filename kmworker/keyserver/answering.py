"""One batch of requests, from the broker to its answers.

In this order: decided, recorded, looked at again, answered, acknowledged. What cannot be recorded
is not delivered; what was suspended, revoked or detached while it was recorded is not either. A
crash anywhere leaves the requests with the broker, and a record without an answer: asked again,
they are recorded and answered again. Which ids were used the store writes to its disk while the
broker writes the records to its own: both are waited for before anything leaves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import structlog

from kmworker.clock import Clock, rfc3339, unix_s
from kmworker.delegation.answers import AnswerSigner, SignedAnswer
from kmworker.delegation.clients import ClientRecord
from kmworker.domain.message import Delivery
from kmworker.domain.model import ScopeRecord
from kmworker.errors import NotRecorded, PermanentError, UnknownKek
from kmworker.keyserver.decide import Deliver, NoGrantYet, decide_request
from kmworker.keyserver.finding import find_all
from kmworker.keyserver.intake import Asking, Refusing, RequestIntake, Unanswered
from kmworker.keyserver.ports import Copy, CopyRegister, FoundKey, KeyStore, Reply, RequestQueue
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


@dataclass(slots=True)
class _Sorted:
    """What is to become of some requests."""

    granted: list[Granted] = field(default_factory=list)
    refusing: list[Refusing] = field(default_factory=list)
    later: list[Asking] = field(default_factory=list)
    flawed: list[tuple[Asking, str]] = field(default_factory=list)
    """New ones that have met a record that is not believed, and what is wrong with that."""


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
        self._keep_s = keep_s
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
        found = self._sort([*asking, *waiting], new=len(asking))
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

    def _sort(self, asking: Sequence[Asking], *, new: int) -> _Sorted:
        """Decide each over what the store has of it now; the first so many are new."""
        sorted_ = _Sorted()
        for place, (it, found) in enumerate(zip(asking, self._find(asking), strict=True)):
            if found.awaits_kek and place < new:
                log.warning("a KEK is missing", detail=found.flaw, project=it.asked.project)
            elif found.flaw and place < new:
                # Whatever is told: of broken grants it is that there are none.
                log.error("a record is broken", detail=found.flaw, project=it.asked.project)
                sorted_.flawed.append((it, found.flaw))
            decision = self._decide(it, it.client, found)
            if isinstance(decision, NoGrantYet) and it.held is not None:
                # What it waits for is the end of what it had.
                sorted_.refusing.append(Refusing(it, self._of_held(it, found)))
            elif isinstance(decision, NoGrantYet):
                sorted_.later.append(it)
            elif isinstance(decision, Refusal):
                sorted_.refusing.append(Refusing(it, decision))
            elif found.wrapped is None:
                log.error("a wrapped DEK is missing", key_id=decision.key.key_id)
                sorted_.refusing.append(Refusing(it, Refusal.TRY_LATER))
            else:
                sorted_.granted.append(Granted(it, decision, found.wrapped))
        return sorted_

    def _find(self, asking: Sequence[Asking]) -> Sequence[FoundKey]:
        return find_all(self._store, [it.asked for it in asking])

    def _of_held(self, it: Asking, found: FoundKey) -> Refusal:
        """Return what who asks about its copy is told, where no grant is found."""
        if found.awaits_kek:
            # There may be one. Only who has had the key is told that it cannot be said now.
            copies = self._copies.at_client(it.client.name)
            if (it.asked.item, it.held) in [(copy.item, copy.key_id) for copy in copies]:
                return Refusal.TRY_LATER
        return Refusal.NOT_GRANTED

    def _decide(
        self, it: Asking, client: ClientRecord, found: FoundKey
    ) -> Deliver | Refusal | NoGrantYet:
        return decide_request(client, it.asked, found, self._clock.now(), self._keep_s)

    def _answered(
        self, found: _Sorted, decided: Sequence[Asking], signer: AnswerSigner
    ) -> list[tuple[Delivery, Reply]]:
        """Record all of it, and return the answers that may leave.

        Args:
            found: what is to become of all.
            decided: those whose ids are used up by that.
            signer: of the answers.
        """
        at = rfc3339(self._clock.now())
        noting = self._store.note([(it.client.name, it.asked) for it in decided])
        records = [record_of_delivery(it, at) for it in found.granted]
        records += [record_of_refusal(it, at) for it in found.refusing if it.reason in RECORDED]
        records += [record_of_flaw(it, flaw, at) for it, flaw in found.flawed]
        sealed: list[SignedAnswer | None] = [None] * len(found.granted)
        is_recorded = not records
        if records:
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
                self._on_step(AnswerStep.RECORDED)
                is_recorded = True
                self._tally.trouble = ""
            except NotRecorded as refused:
                self._tally.trouble = str(refused)
                log.warning("not recorded, so not delivered", detail=str(refused))
        # Another key server has had other bytes under the same id, at the same time.
        reused = {
            id(it) for it, first in zip(decided, noting.result(), strict=True) if first is None
        }
        still = self._still(found.granted) if is_recorded else set()
        replies = []
        for it, answer in zip(found.granted, sealed, strict=True):
            if answer is None or id(it) not in still or id(it.asking) in reused:
                found.refusing.append(Refusing(it.asking, Refusal.TRY_LATER))
                continue
            self._tally.delivered()
            replies.append(_reply(it.asking, answer))
        for refusing in found.refusing:
            told, asking = refusing, refusing.asking
            if not is_recorded and refusing.reason in RECORDED:
                told = Refusing(asking, Refusal.TRY_LATER)
            elif is_recorded and id(asking) in reused:
                told = Refusing(asking, Refusal.REUSED_ID)
            replies.append(self._refused(told, signer, at))
        return replies

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

    def _still(self, granted: Sequence[Granted]) -> set[int]:
        """Return which of these are granted still: much may have ended while it was recorded."""
        if not granted:
            return set()
        self._on_step(AnswerStep.LOOK_AGAIN)
        clients = self._store.clients([it.asking.client.name for it in granted])
        still = set()
        asking = [it.asking for it in granted]
        for it, found in zip(granted, self._find(asking), strict=True):
            client = clients.get(it.asking.client.name)
            if client is None or it.asking.signer not in client.identities:
                continue
            decision = self._decide(it.asking, client, found)
            if isinstance(decision, Deliver) and _is_same(decision, it.deliver):
                still.add(id(it))
        return still

    def _refused(self, refusing: Refusing, signer: AnswerSigner, at: str) -> tuple[Delivery, Reply]:
        asking = refusing.asking
        self._tally.refused(refusing.reason)
        answer = signer.refuse(
            asking.asked, asking.client.name, refusing.reason, at=at, detail=refusing.detail
        )
        return _reply(asking, answer)


def _is_same(now: Deliver, before: Deliver) -> bool:
    return (now.key, now.scope, now.attachment) == (before.key, before.scope, before.attachment)


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
