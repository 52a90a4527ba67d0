"""Getting keys on the node that needs them.

It connects when a key is first asked for, once for each process: after a fork the child connects
anew, and threads ask at the same time by the one connection. What is asked is sent again, as it
was, when a server goes away meanwhile, until the deadline; asking twice does no harm. No key is
kept here: who asks again gets it again.
"""

import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import monotonic, sleep, time
from typing import Final, Self

from kmworker.bus.asker import Asker
from kmworker.client.connecting import Backoff, broker_settings, check_refusal, with_advice
from kmworker.client.conversation import Conversation, Inquiry
from kmworker.client.trust_file import TrustFile
from kmworker.clock import rfc3339
from kmworker.delegation.checking import (
    Checked,
    DeliveredKey,
    RefusedKey,
    check_answer,
)
from kmworker.delegation.enrolment import Enrolment
from kmworker.delegation.identity import Identity
from kmworker.delegation.requests import SignedRequest, sign_request
from kmworker.delegation.signing import SIGNATURE_HEADER
from kmworker.domain.message import Original, Outgoing
from kmworker.domain.model import Item, Kind
from kmworker.errors import BrokerUnavailable, KMWorkerError, TransientError, Untrusted
from kmworker.wire.answers.messages import Refusal
from kmworker.wire.requests.key_requested import KeyRequested
from kmworker.wire.requests.request import ASKED_FOR, DIRECT_REPLY
from kmworker.wire.topology import Topology

__all__ = ["KeyRefused", "Keys", "NoAnswer", "item_of"]

log = logging.getLogger("kmworker.client")

ASK_AGAIN_S: Final = 10.0
"""Without an answer: what was sent may have been lost with whoever had taken it."""
UNTRUSTED_S: Final = 2.0
"""How long an answer that holds is waited for, after one that does not."""
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


class Keys:
    """Asks key servers for keys.

    ::

        with Keys(url, identity=Path("identity.json"), enrolment=Path("enrolment.json")) as keys:
            with keys.get(Item("p1", Kind.VOLUME, "1111")) as delivered:
                write(delivered.key.view)
    """

    def __init__(  # noqa: PLR0913  # three are needed, the others have defaults that suit
        self,
        url: str | Sequence[str],
        *,
        identity: Path,
        enrolment: Path,
        namespace: str = "kmworker",
        deadline_s: float = 30.0,
        inquire: Callable[[str], Inquiry] | None = None,
    ) -> None:
        """Prepare to ask; nothing is sent yet.

        Args:
            url: the broker, as this client's own user; or several nodes of one cluster.
            identity: this host's file, from ``kmworker client init``.
            enrolment: what ``kmworker client enroll`` has given for it.
            namespace: the installation's setting ``broker.namespace``.
            deadline_s: for an answer.
            inquire: what asks in place of AMQP, given a name to be shown; the URL is not used then.

        Raises:
            SetupError: the URL is none, or a file cannot be used.
        """
        self._inquire = inquire or partial(Asker, broker_settings(url, namespace))
        self._topology = Topology(namespace)
        self._identity = Identity.load(identity)
        self._enrolment = Enrolment.load(enrolment, self._identity.public)
        self._trust = TrustFile(enrolment, self._enrolment)
        self._deadline_s = deadline_s
        self._ahead_s = 0.0
        """How far the key servers' clock is ahead of ours."""
        self._begin()
        _everywhere.add(self)

    def _begin(self) -> None:
        """Begin in this process: nothing of another's is touched, not even to close it."""
        self._changing = threading.Lock()
        self._begun: Conversation | None = None

    @property
    def _conversation(self) -> Conversation:
        """Return this process's.

        Raises:
            SetupError: a file that the URL names cannot be used.
        """
        with self._changing:
            if self._begun is None:
                inquiry = self._inquire(f"kmworker.client {self._enrolment.client}")
                self._begun = Conversation(inquiry)
            return self._begun

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the broker."""
        if self._begun is not None:
            self._begun.close()

    def get(
        self, item: Item, *, purpose: str | None = None, deadline_s: float | None = None
    ) -> DeliveredKey:
        """Return the key of an item, in a buffer that is wiped at the end of its ``with``.

        Args:
            item: whose key.
            purpose: what for; it is recorded, and decides nothing.
            deadline_s: in place of the one given before.

        Raises:
            KeyRefused: a key server says no.
            NoAnswer: none has answered in time.
            Untrusted: what has answered is none that this client may believe.
            SetupError: the broker refuses this client.
        """
        request = KeyRequested(
            project_id=item.project,
            reply_to=DIRECT_REPLY,
            item=item,
            purpose=purpose,
            time=rfc3339(time() + self._ahead_s),
        )
        until = monotonic() + (self._deadline_s if deadline_s is None else deadline_s)
        return self._asked(request, until)

    def _asked(self, request: KeyRequested, until: float) -> DeliveredKey:
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
                return answer
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
        conversation, wrong = self._conversation, None
        with conversation.about(signed.asked.id):
            generation = conversation.ask(question, until)
            while answers := conversation.answers_to(signed.asked.id, generation, until):
                for answer in answers:
                    try:
                        return self._checked(answer, signed)
                    except Untrusted as untrusted:
                        # Anybody's who can write to us: the answer may be behind it.
                        wrong = untrusted
                        until = min(until, monotonic() + UNTRUSTED_S)
        if wrong is not None:
            raise wrong
        return None

    def _checked(self, answer: Original, signed: SignedRequest) -> Checked:
        headers = answer.properties.get("application_headers") or {}
        checked = check_answer(
            answer.body,
            headers.get(SIGNATURE_HEADER),
            signed,
            self._identity,
            self._enrolment,
            seen=self._trust.newest,
            now_s=time(),
        )
        with self._changing:
            self._trust.keep(checked.trust)
        return checked


_everywhere: "weakref.WeakSet[Keys]" = weakref.WeakSet()


def _begin_in_child() -> None:
    # Locks are as some thread of the parent had them, which is not here to let them go.
    for keys in list(_everywhere):
        keys._begin()  # noqa: SLF001  # it is this module's


os.register_at_fork(after_in_child=_begin_in_child)


def _said(before: str, why: str) -> str:
    """Return why it is waited, which the log has said once."""
    if why != before:
        log.warning("waiting: %s", why)
    return why


def item_of(project: str, ref: str) -> Item | None:
    """Return the item that a ref names, ``kind:id``; None: nothing that has a key."""
    kind, _colon, identifier = ref.partition(":")
    known = {it.value: it for it in ASKED_FOR}
    return Item(project, Kind(known[kind]), identifier) if kind in known and identifier else None


def _at(request: KeyRequested, at_s: float) -> KeyRequested:
    """Return a request for the same, under an id of its own, made at another time."""
    return KeyRequested(
        project_id=request.project_id,
        reply_to=request.reply_to,
        item=request.item,
        purpose=request.purpose,
        time=rfc3339(at_s),
    )
