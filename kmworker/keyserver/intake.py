"""Requests as they come, checked in the contract's order, as far as that needs no record of a key.

Size, user, rate; then the signature; then freshness and repetition. Whatever fails before the
signature holds is counted and settled, and nothing is sent anywhere.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from kmworker.delegation.clients import ClientRecord
from kmworker.delegation.identity import PublicIdentity
from kmworker.delegation.requests import (
    Dropped,
    SignedMessage,
    Stale,
    claimed_by,
    reply_address,
    signer_of,
    understood,
)
from kmworker.delegation.signing import SIGNATURE_HEADER, digest_of
from kmworker.domain.message import MAX_BODY_BYTES, Delivery
from kmworker.domain.values import value
from kmworker.keyserver.ports import KeyStore
from kmworker.keyserver.rates import Rates
from kmworker.wire.answers.bodies import Asked
from kmworker.wire.answers.messages import Refusal
from kmworker.wire.requests.reading import Misread
from kmworker.wire.requests.types import KeyRequested

__all__ = ["Asking", "Refusing", "RequestIntake", "TakenRequest", "Unanswered"]

TOO_OFTEN: Final = "too-often"
NO_ADDRESS: Final = "no-address"


@value
class Asking:
    """A request whose client is known, and where its answer goes."""

    delivery: Delivery
    client: ClientRecord
    signer: PublicIdentity
    asked: Asked
    queue: str
    purpose: str | None = None
    held: str | None = None
    """The key-id that it asks whether it may keep a copy of: it waits for no grant."""


@value
class Unanswered:
    """A message that is counted, and not answered."""

    delivery: Delivery
    why: str


@value
class Refusing:
    """A request that is refused for what it is, whatever it asks for."""

    asking: Asking
    reason: Refusal
    detail: str = ""


TakenRequest = Asking | Refusing | Unanswered


class RequestIntake:
    """Checks requests; nothing that is wrong with one raises."""

    def __init__(
        self,
        store: KeyStore,
        rates: Rates,
        now: Callable[[], float],
        own_queues: Callable[[str], Collection[str]],
    ) -> None:
        """Prepare.

        Args:
            store: who is a client, and what was asked before.
            rates: how often each may ask.
            now: the store's time, Unix seconds.
            own_queues: returns the names of a client's own queues.
        """
        self._store = store
        self._rates = rates
        self._now = now
        self._own_queues = own_queues

    def take(self, deliveries: Sequence[Delivery]) -> list[TakenRequest]:
        """Return what becomes of each.

        Raises:
            StoreUnavailable: nothing is known of any of them yet.
        """
        claims = [(it, self._claimed(it)) for it in deliveries]
        names = [claim for _it, claim in claims if not isinstance(claim, Unanswered)]
        clients = self._store.clients(names)
        taken = [
            claim if isinstance(claim, Unanswered) else self._checked(it, clients.get(claim))
            for it, claim in claims
        ]
        return list(self._without_reused(taken))

    def bar(self, client: str) -> None:
        """Hear nothing of a client for a while."""
        self._rates.bar(client)

    def _claimed(self, delivery: Delivery) -> str | Unanswered:
        message = _signed(delivery)
        if delivery.original.dropped is not None or len(message.body) > MAX_BODY_BYTES:
            return Unanswered(delivery, Dropped.TOO_LARGE.value)
        claim = claimed_by(message)
        if isinstance(claim, Dropped):
            return Unanswered(delivery, claim.value)
        # Before the signature, which costs a hundred times as much.
        return claim if self._rates.may_ask(claim) else Unanswered(delivery, TOO_OFTEN)

    def _checked(  # noqa: PLR0911  # one for each end, in the contract's order
        self, delivery: Delivery, client: ClientRecord | None
    ) -> TakenRequest:
        if client is None:
            return Unanswered(delivery, Dropped.UNKNOWN_CLIENT.value)
        message = _signed(delivery)
        signer = signer_of(message, client.name, client.identities, self._store.installation)
        if isinstance(signer, Dropped):
            return Unanswered(delivery, signer.value)
        read = understood(message.body, client.name, self._now())
        if isinstance(read, Misread) and client.is_revoked:
            return Unanswered(delivery, Dropped.UNKNOWN_CLIENT.value)
        if isinstance(read, Misread):
            asked = Asked(read.id, digest_of(message.body), "", None, None)
            return self._refused(
                delivery, client, signer, asked, read.reply_to, Refusal.MALFORMED, read.detail
            )
        request = read.request
        reply_to = request.reply_to
        if client.is_revoked:
            reason = Refusal.UNKNOWN_CLIENT
            return self._refused(delivery, client, signer, read.asked, reply_to, reason)
        if isinstance(read, Stale):
            reason = Refusal.STALE_REQUEST
            return self._refused(delivery, client, signer, read.asked, reply_to, reason)
        queue = self._address(delivery, client, reply_to)
        if queue is None:
            return Unanswered(delivery, NO_ADDRESS)
        if not isinstance(request, KeyRequested):
            return Asking(delivery, client, signer, read.asked, queue)
        return Asking(delivery, client, signer, read.asked, queue, request.purpose, request.held)

    def _refused(  # noqa: PLR0913, PLR0917  # whom, what and why
        self,
        delivery: Delivery,
        client: ClientRecord,
        signer: PublicIdentity,
        asked: Asked,
        reply_to: str,
        reason: Refusal,
        detail: str = "",
    ) -> TakenRequest:
        queue = self._address(delivery, client, reply_to)
        if queue is None or not asked.id:
            return Unanswered(delivery, NO_ADDRESS)
        return Refusing(Asking(delivery, client, signer, asked, queue), reason, detail)

    def _address(self, delivery: Delivery, client: ClientRecord, reply_to: str) -> str | None:
        said = delivery.original.properties.get("reply_to")
        return reply_address(reply_to, said, self._own_queues(client.name))

    def _without_reused(self, taken: Sequence[TakenRequest]) -> Iterator[TakenRequest]:
        asking = [it for it in taken if isinstance(it, Asking)]
        firsts = iter(self._store.is_first([(it.client.name, it.asked) for it in asking]))
        # Those that came together are not noted yet, whichever of them.
        digests: dict[tuple[str, str], str] = {}
        for it in taken:
            if not isinstance(it, Asking):
                yield it
                continue
            asked = it.asked
            digest = digests.setdefault((it.client.name, asked.id), asked.digest)
            # One that is sent again is answered again: its answer may have been lost.
            is_reused = next(firsts) is None or digest != asked.digest
            yield Refusing(it, Refusal.REUSED_ID) if is_reused else it


def _signed(delivery: Delivery) -> SignedMessage:
    properties = delivery.original.properties
    headers = properties.get("application_headers") or {}
    return SignedMessage(
        delivery.original.body, properties.get("user_id"), headers.get(SIGNATURE_HEADER)
    )
