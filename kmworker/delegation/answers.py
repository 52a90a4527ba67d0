"""Answers, made and signed by a key server.

A refusal is made of its request and of one word. So whatever stands behind `not-granted` (nothing
there, another tenant's, not attached, suspended), its bytes are the same.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final

from kmworker.delegation.encoded import as_text
from kmworker.delegation.identity import Identity, PublicIdentity, key_id_of
from kmworker.delegation.sealing import delivery_info, seal
from kmworker.delegation.signing import SIGNATURE_HEADER, digest_of
from kmworker.delegation.trust_list import TrustList
from kmworker.domain.values import value
from kmworker.errors import SetupError
from kmworker.secrecy import Secret
from kmworker.wire.answers.bodies import (
    Asked,
    Delivered,
    Revoked,
    Signing,
    answer_id,
    delivered_body,
    refused_body,
    revoked_body,
)
from kmworker.wire.answers.messages import DELIVERED, REFUSED, REVOKED, Refusal
from kmworker.wire.properties import CLOUD_EVENT, TRANSIENT

__all__ = ["ANSWER_LABEL", "AnswerSigner", "SignedAnswer", "answer_parts"]

ANSWER_LABEL: Final = "kmworker/answer"
ANSWER_MS: Final = 30_000
"""How long an answer waits for who asked. In milliseconds, as AMQP has it."""


def answer_parts(installation: str, client: str, body: bytes) -> tuple[str, str, str, str]:
    """Return what is signed of an answer: it is for this client of this installation alone."""
    return ANSWER_LABEL, installation, client, digest_of(body)


@value
class SignedAnswer:
    """A body and its signature."""

    body: bytes = field(repr=False)
    signature: str
    type: str
    id: str
    request_id: str | None = None
    """None: it answers none, and is for all of a client's processes that listen."""

    @property
    def headers(self) -> Mapping[str, Any]:
        """Return the AMQP headers."""
        return {SIGNATURE_HEADER: self.signature}

    @property
    def properties(self) -> Mapping[str, Any]:
        """Return the AMQP properties, headers included."""
        found: dict[str, Any] = {
            "content_type": CLOUD_EVENT,
            "type": self.type,
            "message_id": self.id,
            "app_id": "kmworker",
            "application_headers": dict(self.headers),
        }
        if self.request_id is None:
            # Who is not there to hear it asks as soon as it comes back.
            return {**found, "delivery_mode": TRANSIENT}
        # Who asked waits no longer, and asks again; nothing sealed is left behind on a disk.
        return {
            **found,
            "correlation_id": self.request_id,
            "delivery_mode": TRANSIENT,
            "expiration": str(ANSWER_MS),
        }


class AnswerSigner(Secret):
    """A key server's own keys, and the list that vouches for them."""

    __slots__ = ("_identity", "_installation", "_key_id", "_source", "_trust")

    def __init__(self, identity: Identity, trust: TrustList, source: str) -> None:
        """Sign by this identity.

        Raises:
            SetupError: the list does not have its keys.
        """
        key_id = key_id_of(identity.public.sign)
        if key_id not in trust.sign:
            raise SetupError(
                f"trust list {trust.number} does not have this key server's key {key_id}",
                "have a list signed that has it, or take the identity that is listed",
            )
        self._identity = identity
        self._trust = trust
        self._installation = trust.installation
        self._key_id = key_id
        self._source = source

    def __repr__(self) -> str:
        return f"AnswerSigner(key_id={self._key_id!r}, list={self._trust.number})"

    def deliver(  # noqa: PLR0913  # to whom, what, and what for
        self,
        asked: Asked,
        client: str,
        recipient: PublicIdentity,
        delivered: Delivered,
        key: bytes | bytearray | memoryview,
        *,
        at: str,
    ) -> SignedAnswer:
        """Seal a key to the identity that signed the request, and sign that.

        Raises:
            ValueError: the key is not as long as it is said to be.
        """
        if 8 * len(key) != delivered.encryption.key_bits:
            raise ValueError("the key's length is not what its encryption says")
        info = delivery_info(
            asked,
            recipient.fingerprint,
            delivered.key_id,
            delivered.encryption,
            delivered.not_after,
        )
        sealed = as_text(seal(key, recipient.seal, info))
        body = delivered_body(asked, delivered, sealed, self._signing(at))
        return self._answer(DELIVERED, answer_id(asked), client, body, asked.id)

    def refuse(
        self, asked: Asked, client: str, reason: Refusal, *, at: str, detail: str = ""
    ) -> SignedAnswer:
        """Refuse; only what a client has said wrong itself (`malformed`) has a detail."""
        body = refused_body(asked, reason, self._signing(at), detail)
        return self._answer(REFUSED, answer_id(asked), client, body, asked.id)

    def revoke(self, message_id: str, client: str, revoked: Revoked, *, at: str) -> SignedAnswer:
        """Tell a client to give up a key."""
        body = revoked_body(message_id, revoked, self._signing(at))
        return self._answer(REVOKED, message_id, client, body)

    def _signing(self, at: str) -> Signing:
        return Signing(self._source, at, self._key_id, self._trust.document)

    def _answer(
        self, kind: str, message_id: str, client: str, body: bytes, request_id: str | None = None
    ) -> SignedAnswer:
        signature = self._identity.sign(*answer_parts(self._installation, client, body))
        return SignedAnswer(body, signature, kind, message_id, request_id)
