"""A broker, a store and an audit trail in memory, and one client; a key server may end anywhere."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from kmworker.delegation.answers import AnswerSigner
from kmworker.delegation.checking import Checked, check_answer
from kmworker.delegation.clients import ClientRecord, Right, Rights, Stamp
from kmworker.delegation.enrolment import Enrolment
from kmworker.delegation.identity import Identity
from kmworker.delegation.requests import SignedRequest, sign_request
from kmworker.delegation.root_key import RootKey
from kmworker.delegation.signing import SIGNATURE_HEADER
from kmworker.delegation.trust_list import make_list
from kmworker.domain.audit import AuditRecord
from kmworker.domain.grants import NO_GRANTS, Attachment, Grant, Grants, Over
from kmworker.domain.keys import Operator
from kmworker.domain.message import Confirm, Delivery, Original
from kmworker.domain.model import Cause, Held, Item, Kind, ScopeRecord, State
from kmworker.errors import NotRecorded, PublishRefused
from kmworker.keyserver.answering import Answering, AnswerStep
from kmworker.keyserver.intake import RequestIntake
from kmworker.keyserver.ports import Copy, FoundKey, KeyStore, Reply
from kmworker.keyserver.rates import Rates
from kmworker.keyserver.tally import AnswerTally
from kmworker.ports import Answered, Pending
from kmworker.wire.answers.bodies import Asked
from kmworker.wire.answers.messages import Refusal
from kmworker.wire.requests.key_requested import KeyRequested
from kmworker.wire.requests.request import DIRECT_REPLY
from tests.kit.builders import held, volume
from tests.kit.simulator.clock import SettableClock

INSTALLATION: Final = "1d8f7e52-0000-4000-8000-000000000001"
NAME: Final = "compute-17"
NODE: Final = "node-17"
V: Final = volume("v1")
DEK: Final = b"d" * 64
KEY_ID: Final = "5f0e1c9a-0000-4000-8000-000000000000"
CAUSE: Final = Cause("on", "/nova", "volume-attached")
FROM: Final = "2026-01-01T00:00:00.000Z"
TO: Final = "2036-01-01T00:00:00.000Z"
WAIT_S: Final = 25.0
AT: Final = "2026-11-23T16:00:00.000Z"

# Making keys takes long: all tests have these.
IDENTITY, SERVER, STRANGER = (Identity.generate(AT) for _ in range(3))
ROOT: Final = RootKey.generate(AT)
TRUST: Final = make_list(ROOT, INSTALLATION, 1, [SERVER.public], not_before=FROM, not_after=TO)
SIGNER: Final = AnswerSigner(SERVER, TRUST, "/kmworker")
ENROLMENT: Final = Enrolment(INSTALLATION, NAME, IDENTITY.public.fingerprint, ROOT.public, AT)
RIGHTS: Final = Rights(frozenset({Right.GET}), frozenset(Kind), ("*",), (NODE,))
MARK: Final = Stamp(AT, Operator("alice", "a drill"))
CLIENT: Final = ClientRecord(NAME, 1, (IDENTITY.public,), RIGHTS, MARK)


def own_queues(client: str) -> tuple[str, ...]:
    """Return the names of a client's own queues."""
    return f"km.clients.{client}/0", f"km.clients.{client}/1"


class EndedHere(BaseException):
    """The process is no more."""


def live(attachment: str = "a1", node: str = NODE, **more: Any) -> Attachment:
    """An attachment that is a grant."""
    grant = Grant(node, None, None, 0, CAUSE, AT)
    return Attachment(attachment, replace(grant, **more))


def over(attachment: str = "a1") -> Attachment:
    """One that was."""
    return replace(live(attachment), over=Over(CAUSE, AT))


def key_of(state: State, *attachments: Attachment) -> FoundKey:
    """What the store has of an item in this state."""
    grants = Grants(1, attachments) if attachments else NO_GRANTS
    if not isinstance(state, Held) or state.key is None:
        return FoundKey(state, None, None, None, grants)
    key = replace(state.key, key_id=KEY_ID)
    return FoundKey(state, key, state.scope, b"wrapped", grants)


class World:
    """All that outlives a key server."""

    def __init__(self) -> None:
        self.clock = SettableClock()
        self.known = {NAME: CLIENT}
        self.keys: dict[Item, FoundKey] = {V: key_of(held(V), live())}
        self.trail: list[AuditRecord] = []
        self.trail_is_full = False
        self.sent: list[Reply] = []
        self.harmful: set[str] = set()
        """Addresses over which the broker ends the connection."""
        self.unsettled: list[Delivery] = []
        self.asked: dict[str, str] = {}
        self.copies: list[Copy] = []
        self.revoked: list[tuple[str, str]] = []
        """Clients that were, and are not told yet."""
        self.tally = AnswerTally()
        self.steps: list[AnswerStep] = []
        self.before: dict[AnswerStep, Callable[[], None]] = {}
        self.ends_before: AnswerStep | None = None
        self.installation = INSTALLATION
        self.generation = 1
        self._tags = 0

    # --- what a key server is given ----------------------------------------------------

    def server(self, store: KeyStore | None = None) -> Answering:
        """Return a key server that has just started; it may see our store through another."""
        rates = Rates(1e6, 1_000_000, self.clock.monotonic)
        # It is as much of each as a batch needs.
        it: Any = self
        seen: Any = store or self
        answering = Answering(
            queue=it,
            store=seen,
            custody=it,
            trail=it,
            intake=RequestIntake(store or it, rates, self.clock.now, own_queues),
            clock=self.clock,
            tally=self.tally,
            copies=it,
            keep_s=3600.0,
            wait_s=WAIT_S,
            on_step=self._on_step,
        )
        answering.signer = SIGNER
        return answering

    def _on_step(self, step: AnswerStep) -> None:
        self.steps.append(step)
        self.before.pop(step, lambda: None)()
        if step is self.ends_before:
            self.ends_before = None
            raise EndedHere

    def unwrap(self, project: str, scope: ScopeRecord, blob: bytes) -> bytes:
        assert (project, scope.root, blob) == (V.project, V.ref, b"wrapped")
        return DEK

    def clients(self, names: Sequence[str]) -> dict[str, ClientRecord]:
        return {name: self.known[name] for name in names if name in self.known}

    def is_first(self, asked: Sequence[tuple[str, Asked]]) -> list[bool | None]:
        kept = [self.asked.get(f"{client} {request.id}") for client, request in asked]
        return [
            True if it is None else None if it != request.digest else False
            for it, (_client, request) in zip(kept, asked, strict=True)
        ]

    def note(self, asked: Sequence[tuple[str, Asked]]) -> Pending[list[bool | None]]:
        found: list[bool | None] = []
        for one in asked:
            found += self.is_first([one])
            client, request = one
            self.asked.setdefault(f"{client} {request.id}", request.digest)
        return Answered(found)

    def find(self, asked: Sequence[Asked]) -> list[FoundKey]:
        nothing = FoundKey(None, None, None, None, NO_GRANTS)
        return [nothing if it.item is None else self.keys.get(it.item, nothing) for it in asked]

    def add(self, copies: Sequence[Copy]) -> Pending[None]:
        self.copies += copies
        return Answered(None)

    def of_keys(self, keys: Sequence[tuple[str, str]]) -> list[list[Copy]]:
        return [[it for it in self.copies if (it.project, it.key_id) == key] for key in keys]

    def at_client(self, client: str) -> list[Copy]:
        return [it for it in self.copies if it.client == client]

    def revoked_clients(self) -> list[tuple[str, str]]:
        return list(self.revoked)

    def told(self, revoked: Sequence[tuple[str, str]]) -> None:
        self.revoked = [it for it in self.revoked if it not in revoked]

    def record(self, records: Sequence[AuditRecord]) -> Pending[None]:
        if self.trail_is_full:
            raise NotRecorded("the audit trail is full")
        self.trail += records
        return Answered(None)

    def open(self) -> None:
        """Connect anew: nothing of it is modelled."""

    def send(self, replies: Sequence[Reply]) -> Pending[list[Confirm]]:
        if self.harmful & {it.queue for it in replies}:
            raise PublishRefused("(541) INTERNAL_ERROR")
        self.sent += replies
        return Answered([Confirm.STORED] * len(replies))

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        settled = {it.tag for it in deliveries}
        self.unsettled = [it for it in self.unsettled if it.tag not in settled]

    # --- what the others do --------------------------------------------------------------

    def deliver(self, body: bytes, signature: object, **properties: Any) -> Delivery:
        """Let a message come."""
        self._tags += 1
        headers = {} if signature is None else {SIGNATURE_HEADER: signature}
        found = {
            "user_id": NAME, "reply_to": f"{DIRECT_REPLY}.abc", "application_headers": headers,
            **properties,
        }  # fmt: skip
        original = Original(body, "key-requested", found)
        delivery = Delivery(original, self._tags, 1, self.clock.monotonic())
        self.unsettled.append(delivery)
        return delivery

    def ask(self, request: SignedRequest, **properties: Any) -> Delivery:
        """Let a request come."""
        return self.deliver(request.body, request.signature, **properties)

    def answers_to(self, request: SignedRequest) -> list[Checked]:
        """Return what has been answered, as the client checks it."""
        return [
            check_answer(
                it.answer.body, it.answer.signature, request, IDENTITY, ENROLMENT,
                seen=None, now_s=self.clock.now(),
            )
            for it in self.sent
            if json.loads(it.answer.body)["data"]["request"] == request.asked.digest
        ]  # fmt: skip

    def refusals(self, request: SignedRequest) -> list[Refusal]:
        """Return the reasons that it was refused for."""
        return [getattr(it.answer, "reason", None) for it in self.answers_to(request)]  # type: ignore[misc]


def requested(item: Item = V, identity: Identity = IDENTITY, **more: Any) -> SignedRequest:
    """A signed request for an item's key, made now."""
    fields = {"project_id": item.project, "item": item, "reply_to": DIRECT_REPLY, "time": AT}
    return sign_request(KeyRequested(**{**fields, **more}), identity, INSTALLATION, NAME)
