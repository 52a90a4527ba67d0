"""Asking key servers over one connection, which is made anew where it is lost.

What is asked is sent again, as it was, when a server goes away meanwhile, until the deadline;
asking twice does no harm. Nothing is believed that does not hold.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic, sleep, time
from typing import Final

from kmworker.client.connecting import Backoff, check_refusal, with_advice
from kmworker.client.conversation import Conversation, Inquiry
from kmworker.client.trust_file import TrustFile
from kmworker.clock import rfc3339
from kmworker.delegation.checking import (
    Checked,
    DeliveredKey,
    RefusedKey,
    check_answer,
    check_revoked,
)
from kmworker.delegation.enrolment import Enrolment
from kmworker.delegation.identity import Identity
from kmworker.delegation.requests import SignedRequest, sign_request
from kmworker.delegation.signing import SIGNATURE_HEADER
from kmworker.delegation.trust_list import TrustList
from kmworker.domain.message import Original, Outgoing
from kmworker.domain.model import Item
from kmworker.errors import BrokerUnavailable, KMWorkerError, TransientError, Untrusted
from kmworker.wire.answers.messages import Refusal
from kmworker.wire.requests.key_requested import KeyRequested
from kmworker.wire.requests.request import DIRECT_REPLY
from kmworker.wire.topology import Topology

__all__ = ["ASK_AGAIN_S", "ENDS", "AskingKeys", "Inquire", "KeyRefused", "NoAnswer"]

log = logging.getLogger("kmworker.client")

Inquire = Callable[[str, Sequence[str]], Inquiry]
"""Returns what asks, given a name to be shown, and the queues of which one is to be listened to."""
_Check = Callable[[bytes, object, TrustList | None], Checked]
"""Checks a body and its signature, given the newest trust list."""
ASK_AGAIN_S: Final = 10.0
"""Without an answer: what was sent may have been lost with whoever had taken it."""
UNTRUSTED_S: Final = 2.0
"""How long an answer that holds is waited for, after one that does not."""
ENDS: Final = frozenset(Refusal) - {
    Refusal.STALE_REQUEST, Refusal.REUSED_ID, Refusal.TRY_LATER, Refusal.MALFORMED,
}  # fmt: skip
"""What says that the key is not this client's."""
HINTS: Final = {
    Refusal.NOT_GRANTED: "it is attached to no node of this client's, or there is no such item",
    Refusal.UNKNOWN_CLIENT: "this client was revoked: an operator has to enroll it anew",
    Refusal.SUSPENDED: "kmworker key resume, by an operator",
    Refusal.COMPROMISED: "its data has to be written anew under another key",
    Refusal.DESTROYED: "nothing can bring it back",
    Refusal.STALE_REQUEST: "set this host's clock",
    Refusal.REUSED_ID: "ask again",
    Refusal.TRY_LATER: "ask again in a while",
    Refusal.MALFORMED: "this release and the key servers' do not fit each other",
}


class KeyRefused(KMWorkerError):
    """A key server answered, and gives no key.

    Attributes:
        reason: the contract's word for why.
        hint: what to do about it, one line.
    """

    def __init__(self, refused: RefusedKey) -> None:
        detail = f": {refused.detail}" if refused.detail else ""
        super().__init__(f"{refused.reason.value}{detail}")
        self.reason = refused.reason
        self.hint = HINTS[refused.reason]


class NoAnswer(TransientError):
    """Nobody answered before the deadline; asked again, the answer may come."""


class AskingKeys:
    """As one client; of one process, until `begin` begins in another."""

    def __init__(  # noqa: PLR0913  # who asks, by what, and what is believed
        self,
        inquire: Inquire,
        topology: Topology,
        identity: Identity,
        enrolment: Enrolment,
        trust: TrustFile,
        *,
        deadline_s: float,
        listens: bool,
        on_connected: Callable[[], None],
    ) -> None:
        """Prepare to ask; nothing is sent yet.

        Args:
            inquire: makes what asks.
            topology: the broker's names.
            identity: this host's.
            enrolment: what it pins.
            trust: the newest list that it has seen.
            deadline_s: for an answer.
            listens: whether to hear what comes unasked for.
            on_connected: called on each new connection, before anything is asked on it.
        """
        self._inquire = inquire
        self._topology = topology
        self._identity = identity
        self._enrolment = enrolment
        self._trust = trust
        self._deadline_s = deadline_s
        self._listens = listens
        self._on_connected = on_connected
        self._ahead_s = 0.0
        """How far the key servers' clock is ahead of ours."""
        self.begin()

    def begin(self) -> None:
        """Begin in this process: nothing of another's is touched, not even to close it."""
        self._changing = threading.Lock()
        self._begun: Conversation | None = None

    @property
    def conversation(self) -> Conversation:
        """Return this process's.

        Raises:
            SetupError: a file that the URL names cannot be used.
        """
        with self._changing:
            if self._begun is None:
                client = self._enrolment.client
                own = self._topology.client_queues(client) if self._listens else ()
                inquiry = self._inquire(f"kmworker.client {client}", own)
                self._begun = Conversation(inquiry, self._on_connected)
            return self._begun

    def close(self) -> None:
        """Leave the broker."""
        if self._begun is not None:
            self._begun.close()

    def notices(self, until: float) -> list[Original]:
        """Return what has come unasked for; wait for the first until then, monotonic seconds."""
        return self.conversation.notices(until)

    def asked(
        self,
        item: Item,
        deadline_s: float | None,
        *,
        purpose: str | None = None,
        held: str | None = None,
    ) -> tuple[DeliveredKey, float]:
        """Return what is delivered, and the key server's time, Unix seconds.

        Args:
            item: whose key.
            deadline_s: in place of the one given before.
            purpose: what for; it is recorded, and decides nothing.
            held: the key-id of which a copy is held.

        Raises:
            KeyRefused: a key server says no.
            NoAnswer: none has answered in time.
            Untrusted: what has answered is none that this client may believe.
            SetupError: the broker refuses this client.
        """
        until = monotonic() + (self._deadline_s if deadline_s is None else deadline_s)
        request = KeyRequested(
            project_id=item.project,
            reply_to=DIRECT_REPLY,
            item=item,
            time=rfc3339(time() + self._ahead_s),
            purpose=purpose,
            held=held,
        )
        signed = self._signed(request)
        backoff, why, is_retimed = Backoff(), "no key server has answered", False
        while monotonic() < until:
            try:
                checked = self._answer_to(signed, min(until, monotonic() + ASK_AGAIN_S))
            except BrokerUnavailable as error:
                check_refusal(error)
                why = _said(why, str(with_advice(error)))
                sleep(max(0.0, min(backoff.next_s(), until - monotonic())))
                continue
            if checked is None:
                continue
            answer = checked.answer
            if isinstance(answer, DeliveredKey):
                return answer, checked.at_s
            assert isinstance(answer, RefusedKey)  # noqa: S101  # what answers a request
            if answer.reason is Refusal.STALE_REQUEST and not is_retimed:
                # By their clock, which their signature vouches for; ours may be off by hours.
                is_retimed = True
                self._ahead_s = checked.at_s - time()
                signed = self._signed(_at(request, checked.at_s))
            elif answer.reason is Refusal.TRY_LATER:
                why = _said(why, "the key servers cannot answer now")
                sleep(max(0.0, min(backoff.next_s(), until - monotonic())))
            else:
                raise KeyRefused(answer)
        raise NoAnswer(f"no key in time: {why}")

    def _signed(self, request: KeyRequested) -> SignedRequest:
        enrolment = self._enrolment
        return sign_request(request, self._identity, enrolment.installation, enrolment.client)

    def _answer_to(self, signed: SignedRequest, until: float) -> Checked | None:
        """Ask, and wait for the answer; None: it has not come.

        Raises:
            Untrusted: what has come does not hold, and nothing that does has come soon after.
        """
        properties = signed.properties(self._enrolment.client)
        question = Outgoing(self._topology.requests, signed.type, signed.body, properties)
        conversation, wrong = self.conversation, None
        with conversation.about(signed.asked.id):
            generation = conversation.ask(question, until)
            while answers := conversation.answers_to(signed.asked.id, generation, until):
                for answer in answers:
                    try:
                        return self._answer_in(answer, signed)
                    except Untrusted as untrusted:
                        # Anybody's who can write to us: the answer may be behind it.
                        wrong = untrusted
                        until = min(until, monotonic() + UNTRUSTED_S)
        if wrong is not None:
            raise wrong
        return None

    def _answer_in(self, message: Original, signed: SignedRequest) -> Checked:
        """Return what a key server answers; raises `Untrusted`."""
        host = self._identity, self._enrolment
        return self._checked(
            message,
            lambda body, signature, seen: check_answer(
                body, signature, signed, *host, seen=seen, now_s=time()
            ),
        )

    def revocation(self, message: Original) -> Checked:
        """Return what a key server tells unasked; raises `Untrusted`."""
        return self._checked(
            message,
            lambda body, signature, seen: check_revoked(
                body, signature, self._enrolment, seen=seen, now_s=time()
            ),
        )

    def _checked(self, message: Original, check: _Check) -> Checked:
        """Have it checked by the newest list, and go by the one that it brings from then on."""
        headers = message.properties.get("application_headers") or {}
        with self._changing:
            seen = self._trust.newest()
        checked = check(message.body, headers.get(SIGNATURE_HEADER), seen)
        with self._changing:
            self._trust.keep(checked.trust)
        return checked


def _said(before: str, why: str) -> str:
    """Return why it is waited, which the log has said once."""
    if why != before:
        log.warning("waiting: %s", why)
    return why


def _at(request: KeyRequested, at_s: float) -> KeyRequested:
    """Return a request for the same, under an id of its own, made at another time."""
    return KeyRequested(
        project_id=request.project_id,
        reply_to=request.reply_to,
        item=request.item,
        held=request.held,
        purpose=request.purpose,
        time=rfc3339(at_s),
    )
