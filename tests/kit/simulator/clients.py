"""Clients of a simulated installation: who they are, what they ask, and what comes of it.

A client is outside: it asks, and looks later what has come. Its requests, and how it opens what
it gets, are the product's own.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from kmworker.clock import rfc3339
from kmworker.delegation.answers import SignedAnswer
from kmworker.delegation.checking import DeliveredKey, check_answer
from kmworker.delegation.clients import ClientRecord, Right, Rights, Stamp, revoked
from kmworker.delegation.encoded import as_text
from kmworker.delegation.enrolment import Enrolment
from kmworker.delegation.identity import Identity
from kmworker.delegation.requests import SignedRequest, sign_request
from kmworker.delegation.root_key import RootKey
from kmworker.delegation.trust_list import HandedOut, make_list
from kmworker.domain.audit import Act, Actor, ActorKind, AuditRecord
from kmworker.domain.keys import Operator
from kmworker.domain.lifecycle import NoStep
from kmworker.domain.model import Item, Kind
from kmworker.store.admission import enter
from kmworker.store.client_register import ClientRegister, record_of_list
from kmworker.store.inspection import Views
from kmworker.store.records import RecordCodec
from kmworker.wire.requests.key_requested import KeyRequested
from kmworker.wire.requests.request import DIRECT_REPLY

if TYPE_CHECKING:
    from tests.kit.simulator.installation import Installation

__all__ = ["BACKUP", "KEY_SERVER", "N1", "N2", "Ask", "Asked", "Clients", "word_in"]

FROM: Final = "2026-01-01T00:00:00.000Z"
TO: Final = "2036-01-01T00:00:00.000Z"
OPERATOR: Final = Actor(ActorKind.OPERATOR, "alice")
ALICE: Final = Stamp(FROM, Operator("alice", "a drill"))
# Making keys takes long: all runs have these.
ROOT: Final = RootKey.generate(FROM)
KEY_SERVER: Final = Identity.generate(FROM)


@dataclass(frozen=True, slots=True)
class Client:
    """A client: of the node of its name, or of none, and then it needs no grant."""

    name: str
    identity: Identity
    is_node: bool = True

    @property
    def record(self) -> ClientRecord:
        """What the store knows of it when it has been enrolled."""
        nodes = (self.name,) if self.is_node else ()
        rights = Rights(frozenset({Right.GET}), frozenset(Kind), ("*",), nodes, self.is_node)
        return ClientRecord(self.name, 1, (self.identity.public,), rights, ALICE)

    @property
    def address(self) -> str:
        """What the broker puts in place of its direct reply-to."""
        return f"{DIRECT_REPLY}.{self.name}"


N1, N2 = (Client(name, Identity.generate(FROM)) for name in ("n1", "n2"))
BACKUP: Final = Client("backup", Identity.generate(FROM), is_node=False)
ALL: Final = {it.name: it for it in (N1, N2, BACKUP)}


@dataclass(frozen=True, slots=True)
class Ask:
    """That a client asks for an item's key."""

    client: Client
    item: Item
    is_repeat: bool = False
    """It sends once more what it sent last for that."""

    @property
    def name(self) -> tuple[str, Item]:
        """Who asks for what."""
        return self.client.name, self.item


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that the broker has taken."""

    ask: Ask
    request: SignedRequest


class Clients:
    """All clients of an installation.

    Attributes:
        asked: every request, by its digest.
        answers: what each was answered with, by the same, as far as the broker has stored it.
        revoked: who was, as far as that is in the store.
    """

    def __init__(self, site: "Installation") -> None:
        self.asked: dict[str, Asked] = {}
        self.answers: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self._site = site
        self._last: dict[tuple[str, Item], SignedRequest] = {}
        self._is_enrolled = False

    def enrol(self) -> None:
        """Make them known, and hand out the key servers' list; a worker has made the store ours."""
        if self._is_enrolled:
            return
        self._is_enrolled = True
        site, broker = self._site, self._site.broker
        trust = make_list(
            ROOT, site.installation, 1, [KEY_SERVER.public], not_before=FROM, not_after=TO
        )
        register = self.register()
        handed = HandedOut(as_text(ROOT.public), trust.text, trust.signature)
        assert register.hand_out(handed, 1, record_of_list(1, TO, OPERATOR, FROM))
        for client in ALL.values():
            become = partial(_enrolled, client)
            record = AuditRecord(Act.CLIENT_ENROLLED, OPERATOR, FROM)
            assert not isinstance(register.change(client.name, become, record), NoStep)
            broker.declare_queue(client.address)
        requests = broker.topology.requests
        broker.declare_exchange(requests)
        broker.bind(requests, requests, "#")
        for exchange, pattern in broker.topology.ending:
            broker.declare_exchange(exchange)
            broker.bind(broker.topology.revocations, exchange, pattern)

    def register(self, views: Views | None = None) -> ClientRegister:
        """Open the register as an operator does, in a process of his or from outside."""
        site = self._site
        views = views or Views(site.redis, site.names)
        custody = site.opened()
        enter(custody, views)
        return ClientRegister(views, RecordCodec(custody))

    def ask(self, ask: Ask) -> SignedRequest:
        """Let a client ask; return its request."""
        site, client = self._site, ask.client
        request = self._last.get(ask.name) if ask.is_repeat else None
        if request is None:
            wanted = KeyRequested(
                project_id=ask.item.project,
                item=ask.item,
                reply_to=DIRECT_REPLY,
                id=str(UUID(int=0xA5C << 64 | len(self.asked), version=4)),
                time=rfc3339(site.clock.now()),
            )
            request = sign_request(wanted, client.identity, site.installation, client.name)
        self._last[ask.name] = request
        self.asked[request.asked.digest] = Asked(ask, request)
        properties = {**request.properties(client.name), "reply_to": client.address}
        exchange = site.broker.topology.requests
        assert site.broker.publish(exchange, "key-requested", request.body, properties)
        return request

    def word_of(self, request: SignedRequest) -> str:
        """Return what it was answered with the last time."""
        answers = self.answers[request.asked.digest]
        return word_in(answers[-1]) if answers else "no answer"

    def opened(self, asked: Asked, answer: SignedAnswer) -> DeliveredKey | None:
        """Open an answer as its client does; None: it is a refusal. Raises `Untrusted`."""
        client = asked.ask.client
        enrolment = Enrolment(
            self._site.installation, client.name, client.identity.public.fingerprint,
            ROOT.public, FROM,
        )  # fmt: skip
        checked = check_answer(
            answer.body, answer.signature, asked.request, client.identity, enrolment,
            seen=None, now_s=self._site.clock.now(),
        )  # fmt: skip
        return checked.answer if isinstance(checked.answer, DeliveredKey) else None


def word_in(answer: dict[str, Any]) -> str:
    """Return an answer in a word: `key-delivered`, or the reason of a refusal."""
    return str(answer["data"].get("reason", answer["type"]))


def _enrolled(client: Client, _was: ClientRecord | None) -> ClientRecord:
    return client.record


def revoke_in(register: ClientRegister, client: Client) -> None:
    """Revoke a client, unless it is."""
    register.change(
        client.name,
        lambda was: NoStep("there is none") if was is None else revoked(was, ALICE),
        AuditRecord(Act.CLIENT_REVOKED, OPERATOR, FROM),
    )
