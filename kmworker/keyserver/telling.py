"""What has ended, from the broker to the clients that may hold copies.

Sent and confirmed before it is acknowledged: if the key server dies in between, another says it
again, with the same id. That a client was revoked comes by the store, since who revokes it needs no
broker for that.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import Final

import structlog

from kmworker.clock import Clock, rfc3339
from kmworker.delegation.answers import AnswerSigner
from kmworker.domain.message import Confirm, Delivery
from kmworker.keyserver.finding import find_all
from kmworker.keyserver.ports import (
    Copy,
    CopyRegister,
    KeyStore,
    Reply,
    RequestQueue,
    RevocationQueue,
)
from kmworker.keyserver.revoking import asked_again, looked_for, revocation_id, revoked_copy
from kmworker.keyserver.tally import AnswerTally
from kmworker.wire.answers.bodies import Revoked
from kmworker.wire.answers.messages import Revoking
from kmworker.wire.ended import RightEnded, read_ended

__all__ = ["RevokeStep", "Telling"]

log = structlog.get_logger()

BATCH: Final = 128
CLIENTS_EVERY_S: Final = 2.0
UNREADABLE: Final = "unreadable"


class RevokeStep(StrEnum):
    """What a key server is about to do; tests end the process there."""

    FIND = "find"
    SEND = "send"
    SETTLE = "settle"


class Telling:
    """Tells clients what they have to give up.

    All may raise `TransientError`: nothing was settled then, and it comes again.
    """

    def __init__(  # noqa: PLR0913  # its parts; one place builds it
        self,
        *,
        queue: RevocationQueue,
        answers: RequestQueue,
        store: KeyStore,
        copies: CopyRegister,
        own_queues: Callable[[str], Sequence[str]],
        clock: Clock,
        tally: AnswerTally,
        on_step: Callable[[RevokeStep], None] = lambda _step: None,
    ) -> None:
        """Prepare.

        Args:
            queue: of what has ended.
            answers: by which clients are reached.
            store: the records.
            copies: who may hold one.
            own_queues: returns the names of a client's own queues.
            clock: the store's time.
            tally: what is counted.
            on_step: called before each step; tests end the process there.
        """
        self._queue = queue
        self._answers = answers
        self._store = store
        self._copies = copies
        self._own_queues = own_queues
        self._clock = clock
        self._tally = tally
        self._on_step = on_step
        self._clients_at = 0.0

    def open(self) -> None:
        """Connect what is not connected."""
        self._queue.open()

    def tell(self, signer: AnswerSigner) -> None:
        """Tell clients of what has come, and of what the store says."""
        deliveries = self._queue.receive(BATCH)
        if deliveries:
            self._handle(deliveries, signer)
        now = self._clock.monotonic()
        if now >= self._clients_at:
            self._clients_at = now + CLIENTS_EVERY_S
            self._tell_revoked(signer)
        self._queue.tick()

    def close(self) -> None:
        """Leave; what is not settled goes to another key server."""
        self._queue.close()

    def _handle(self, deliveries: Sequence[Delivery], signer: AnswerSigner) -> None:
        read = [found for it in deliveries if (found := self._read(it)) is not None]
        self._on_step(RevokeStep.FIND)
        self._send(list(self._revoked(read)), signer)
        self._on_step(RevokeStep.SETTLE)
        self._queue.acknowledge(deliveries)

    def _read(self, delivery: Delivery) -> RightEnded | None:
        try:
            return read_ended(delivery.original)
        except ValueError as wrong:
            self._tally.dropped(UNREADABLE)
            log.warning("not of this kind", routing_key=delivery.original.routing_key,
                        detail=str(wrong))  # fmt: skip
            return None

    def _revoked(self, ended: Sequence[RightEnded]) -> Iterator[tuple[Copy, str, Revoked]]:
        """Give each copy that is to be given up, and on which occasion."""
        looked_at = [
            (copy, it)
            for it, copies in zip(ended, self._found_copies(ended), strict=True)
            for copy in copies
            if it.item is None or copy.item in {it.item, None}
        ]
        clients = self._store.clients([copy.client for copy, _it in looked_at])
        found = find_all(self._store, [asked_again(copy) for copy, _it in looked_at])
        now = self._clock.now()
        for (copy, it), key in zip(looked_at, found, strict=True):
            revoked = revoked_copy(copy, it, clients.get(copy.client), key, now)
            if revoked is not None:
                yield copy, it.id, revoked

    def _found_copies(self, ended: Sequence[RightEnded]) -> list[list[Copy]]:
        """Return the copies that each of these may be about."""
        key_ids = [it.key_id for it in ended]
        unnamed = [place for place, it in enumerate(ended) if it.key_id is None]
        wanted = [looked_for(ended[place].project, ended[place].item) for place in unnamed]
        for place, found in zip(unnamed, find_all(self._store, wanted), strict=True):
            if found.key is not None:
                key_ids[place] = found.key.key_id
        named = [(it.project, key_id) for it, key_id in zip(ended, key_ids, strict=True) if key_id]
        copies = iter(self._copies.of_keys(named))
        return [next(copies) if key_id else [] for key_id in key_ids]

    def _tell_revoked(self, signer: AnswerSigner) -> None:
        """Tell clients that were revoked: they can ask for nothing any more."""
        revoked = self._copies.revoked_clients()
        if not revoked:
            return
        clients = self._store.clients([client for client, _version in revoked])
        given_up = [
            (copy, f"client {version}", _given_up(copy))
            for client, version in revoked
            # Else it is a client: enrolled anew, or never revoked, whoever wrote that it was.
            if client not in clients or clients[client].is_revoked
            for copy in self._copies.at_client(client)
        ]
        self._send(given_up, signer)
        self._on_step(RevokeStep.SETTLE)
        self._copies.told(revoked)

    def _send(self, given_up: Sequence[tuple[Copy, str, Revoked]], signer: AnswerSigner) -> None:
        """Send all, and see them confirmed; nobody is there who has no queue."""
        self._on_step(RevokeStep.SEND)
        at = rfc3339(self._clock.now())
        for begin in range(0, len(given_up), BATCH):
            replies = [
                Reply(queue, answer)
                for copy, occasion, revoked in given_up[begin : begin + BATCH]
                for answer in [
                    signer.revoke(revocation_id(copy, occasion), copy.client, revoked, at=at)
                ]
                for queue in self._own_queues(copy.client)
            ]
            confirms = self._answers.send(replies).result()
            self._tally.revoked(min(BATCH, len(given_up) - begin), confirms.count(Confirm.STORED))


def _given_up(copy: Copy) -> Revoked:
    return Revoked(copy.project, copy.item, None, copy.key_id, Revoking.CLIENT_REVOKED)
