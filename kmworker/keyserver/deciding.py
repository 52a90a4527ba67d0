"""What becomes of requests, over what the store has of them: once, and again after the record."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from kmworker.clock import Clock
from kmworker.delegation.clients import ClientRecord
from kmworker.keyserver.decide import Deliver, NoGrantYet, decide_request
from kmworker.keyserver.finding import find_all
from kmworker.keyserver.intake import Asking, Refusing
from kmworker.keyserver.ports import CopyRegister, FoundKey, KeyStore
from kmworker.keyserver.recording import Granted
from kmworker.wire.answers.messages import Refusal

__all__ = ["Deciding", "Verdicts"]

log = structlog.get_logger()


@dataclass(slots=True)
class Verdicts:
    """What is to become of some requests."""

    granted: list[Granted] = field(default_factory=list)
    refusing: list[Refusing] = field(default_factory=list)
    later: list[Asking] = field(default_factory=list)
    flawed: list[tuple[Asking, str]] = field(default_factory=list)
    """New ones that have met a record that is not believed, and what is wrong with that."""


class Deciding:
    """Decides; all may raise `StoreUnavailable`."""

    def __init__(self, store: KeyStore, copies: CopyRegister, clock: Clock, keep_s: float) -> None:
        """Prepare.

        Args:
            store: the records.
            copies: who has had which key.
            clock: the store's time.
            keep_s: how long a client may keep a copy at most.
        """
        self._store = store
        self._copies = copies
        self._clock = clock
        self._keep_s = keep_s

    def verdicts(self, asking: Sequence[Asking], *, new: int) -> Verdicts:
        """Decide each over what the store has of it now; the first so many are new."""
        verdicts = Verdicts()
        for place, (it, found) in enumerate(zip(asking, self._find(asking), strict=True)):
            if found.awaits_kek and place < new:
                log.warning("a KEK is missing", detail=found.flaw, project=it.asked.project)
            elif found.flaw and place < new:
                # Whatever is told: of broken grants it is that there are none.
                log.error("a record is broken", detail=found.flaw, project=it.asked.project)
                verdicts.flawed.append((it, found.flaw))
            decision = self._decide(it, it.client, found)
            if isinstance(decision, NoGrantYet) and it.held is not None:
                # What it waits for is the end of what it had.
                verdicts.refusing.append(Refusing(it, self._of_held(it, found)))
            elif isinstance(decision, NoGrantYet):
                verdicts.later.append(it)
            elif isinstance(decision, Refusal):
                verdicts.refusing.append(Refusing(it, decision))
            elif found.wrapped is None:
                log.error("a wrapped DEK is missing", key_id=decision.key.key_id)
                verdicts.refusing.append(Refusing(it, Refusal.TRY_LATER))
            else:
                verdicts.granted.append(Granted(it, decision, found.wrapped))
        return verdicts

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

    def still(self, granted: Sequence[Granted]) -> set[int]:
        """Return which of these are granted still: much may have ended while it was recorded."""
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


def _is_same(now: Deliver, before: Deliver) -> bool:
    return (now.key, now.scope, now.attachment) == (before.key, before.scope, before.attachment)
