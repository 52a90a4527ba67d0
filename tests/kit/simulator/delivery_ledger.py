"""Watches what key servers answer: what they had read by then, and what was recorded of it.

From outside, as `ledger` does: at the broker's names and the store's commands. `WatchedQueue` is
between one key server and its queue, for what is one process's alone: when it has looked last.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kmworker.domain.message import Confirm, Delivery
from kmworker.errors import Untrusted
from kmworker.keyserver.ports import Reply, RequestQueue
from kmworker.ports import Pending
from tests.kit.simulator.clients import Asked, word_in
from tests.kit.simulator.entitlement import DELIVERED, data_of_key, is_revoked, word_for
from tests.kit.simulator.exchanges import DEFAULT
from tests.kit.simulator.invariants import Invariant
from tests.kit.simulator.wire import Effect

if TYPE_CHECKING:
    from tests.kit.simulator.installation import Installation

__all__ = ["DeliveryLedger", "WatchedQueue"]

ANSWERS: Final = frozenset(("key-delivered", "key-refused"))
"""What else comes to clients answers nothing."""
UNRECORDED: Final = frozenset(("try-later",))
"""It is said of what is not decided."""
OF_THE_REQUEST: Final = frozenset(("try-later", "stale-request", "reused-id", "malformed"))
"""Not of what is asked for."""

Outcome = tuple[str, str]
"""A request's id, and what it was answered with."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a key server was given of the records."""

    at: int
    """As many effects had there been at the broker."""
    words: dict[tuple[str, Any], str]
    """What was to be answered then to each who had asked."""


class DeliveryLedger:
    """The notes on all key servers of an installation."""

    def __init__(self, site: "Installation") -> None:
        self.recorded_at: dict[Outcome, int] = {}
        """When the broker has confirmed the last record of it."""
        self.lost: set[str] = set()
        """Requests by digest: the broker has refused an answer to each."""
        self._site = site
        self._recorded: Counter[Outcome] = Counter()
        self._answered: Counter[Outcome] = Counter()
        site.broker.observers.append(self._on_effect)

    def is_answered(self, digest: str) -> bool:
        """Return whether a request was answered, if the broker has kept the answer or not."""
        return digest in self.lost or bool(self._site.clients.answers[digest])

    def words(self) -> dict[tuple[str, Any], str]:
        """Return what is to be answered now to each who has asked."""
        site = self._site
        asks = {it.ask.name: it.ask for it in site.clients.asked.values()}
        now_s = site.clock.now()
        return {name: word_for(site.ledger, ask, now_s) for name, ask in asks.items()}

    def _on_effect(self, effect: Effect) -> None:
        names = self._site.broker.topology
        match effect.kind:
            case "confirmed" if effect.exchange == names.audit:
                self._record(json.loads(effect.body)["data"])
            case "publishing" if effect.exchange == DEFAULT:
                self._answering(json.loads(effect.body))
            case "stored" if effect.exchange == DEFAULT:
                answer = json.loads(effect.body)
                if answer["type"] in ANSWERS:
                    self._site.clients.answers[answer["data"]["request"]].append(answer)
            case "refused" if effect.exchange == DEFAULT:
                # Nobody hears of it: who has asked asks again.
                self.lost.add(json.loads(effect.body)["data"].get("request", ""))
            case "settling":
                self._settling(effect.body)
            case _:
                pass

    def _record(self, data: dict[str, Any]) -> None:
        if "request" in data:
            word = data["what"] if data["what"] == DELIVERED else data["reason"]
            outcome = data["request"], word
            self._recorded[outcome] += 1
            self.recorded_at[outcome] = len(self._site.broker.journal)

    def _answering(self, answer: dict[str, Any]) -> None:
        if answer["type"] not in ANSWERS:
            return
        outcome = answer["data"]["request_id"], word_in(answer)
        self._answered[outcome] += 1
        is_recorded = self._recorded[outcome] >= self._answered[outcome]
        if not is_recorded and outcome[1] not in UNRECORDED:
            self._site.ledger.violated(Invariant.RECORDED, f"{outcome[1]} to {outcome[0]}")

    def _settling(self, body: bytes) -> None:
        clients = self._site.clients
        asked = next((it for it in clients.asked.values() if it.request.body == body), None)
        if asked is not None and not self.is_answered(asked.request.asked.digest):
            self._site.ledger.violated(Invariant.ACKNOWLEDGED_LAST, asked.request.asked.id)


class WatchedQueue:
    """One key server's queue of requests, and what it has read of the store."""

    def __init__(self, site: "Installation", real: RequestQueue) -> None:
        self._site = site
        self._real = real
        self._looks: list[Look] = []
        """Since it has taken its last batch."""
        self._clients_at = 0
        """When it has looked last who is a client."""
        self._revoked: set[str] = set()

    def looked(self, command: str) -> None:
        """Note that a command of this key server has had its effect."""
        site = self._site
        if command == "hmget":
            self._clients_at = len(site.broker.journal)
            names = {it.ask.client.name for it in site.clients.asked.values()}
            self._revoked = {it for it in names if is_revoked(site.ledger, it)}
        if command == "delegate":
            self._looks.append(Look(len(site.broker.journal), site.deliveries.words()))

    def send(self, replies: Sequence[Reply]) -> Pending[list[Confirm]]:
        """Hold each answer against what was read before, and send all."""
        for reply in replies:
            answer = json.loads(reply.answer.body)
            if answer["type"] not in ANSWERS:
                continue
            asked = self._site.clients.asked[answer["data"]["request"]]
            if answer["type"] == DELIVERED:
                self._check_delivery(asked, reply, answer["data"])
            else:
                self._check_refusal(asked, answer["data"]["reason"])
        return self._real.send(replies)

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what has come: what was read before says nothing of it."""
        self._looks.clear()
        return self._real.receive(limit, timeout_s)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def _check_delivery(self, asked: Asked, reply: Reply, data: dict[str, Any]) -> None:
        ask, violated = asked.ask, self._site.ledger.violated
        recorded_at = self._site.deliveries.recorded_at.get((asked.request.asked.id, DELIVERED), 0)
        word = self._looks[-1].words[ask.name] if self._looks else "nothing"
        if not self._looks or min(self._looks[-1].at, self._clients_at) < recorded_at:
            violated(Invariant.GRANTED, f"{ask.name} was not looked at since it was recorded")
        if word != DELIVERED or ask.client.name in self._revoked:
            violated(Invariant.GRANTED, f"{ask.name} has its key, and should hear {word}")
        known = data_of_key(self._site.ledger, ask.item, data["key_id"])
        if known is None:
            violated(Invariant.OPENS, f"{data['key_id']} was never the key-id of {ask.item.ref}")
        elif (dek := self._site.dek_of(ask.item.project, known["scope_id"])) is not None:
            try:
                found = self._site.clients.opened(asked, reply.answer)
            except Untrusted as untrusted:
                violated(Invariant.OPENS, f"{ask.name} cannot open its answer: {untrusted}")
                return
            if found is None or bytes(found.key.view) != dek:
                violated(Invariant.OPENS, f"{ask.name} gets another's key")

    def _check_refusal(self, asked: Asked, reason: str) -> None:
        name = asked.ask.client.name
        if reason in OF_THE_REQUEST or (reason == "unknown-client" and name in self._revoked):
            return
        if reason not in {it.words[asked.ask.name] for it in self._looks}:
            detail = f"{asked.ask.name} is refused as {reason}"
            self._site.ledger.violated(Invariant.JUSTIFIED, detail)
