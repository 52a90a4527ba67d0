"""What a key server needs of the broker and the store, beside the audit trail and the custody."""

from collections.abc import Sequence
from dataclasses import field
from typing import Protocol

from kmworker.delegation.answers import SignedAnswer
from kmworker.delegation.clients import ClientRecord
from kmworker.delegation.trust_list import HandedOut
from kmworker.domain.grants import Grants
from kmworker.domain.message import Confirm, Delivery
from kmworker.domain.model import Item, KeyRecord, ScopeRecord, State
from kmworker.domain.values import value
from kmworker.ports import Pending
from kmworker.wire.answers.bodies import Asked

__all__ = [
    "Copy", "CopyRegister", "FoundKey", "KeyStore", "Reply", "RequestQueue",
    "RevocationQueue",
]  # fmt: skip


@value
class Reply:
    """An answer on its way to a client: transient, and gone when nobody waits for it any more."""

    queue: str
    answer: SignedAnswer


class RequestQueue(Protocol):
    """The requests. Every method raises `BrokerUnavailable` when the connection is lost."""

    @property
    def generation(self) -> int:
        """Return the number of the connection: deliveries of older ones are void."""

    def open(self) -> None:
        """Connect what is not connected, check the names, start consuming."""

    def receive(self, limit: int, timeout_s: float) -> list[Delivery]:
        """Take what has come, at most ``limit``; wait up to ``timeout_s`` for the first."""

    def send(self, replies: Sequence[Reply]) -> Pending[list[Confirm]]:
        """Send answers; one whose client is gone is `Confirm.UNROUTED`."""

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these; those of an older generation are skipped."""

    def tick(self) -> None:
        """Keep idle connections alive; call about once a second."""

    def close(self) -> None:
        """Leave; what is not acknowledged goes to another key server."""


class RevocationQueue(Protocol):
    """What key servers hear of what has ended; each of it comes to one of them.

    Every method raises `BrokerUnavailable` when the connection is lost.
    """

    def open(self) -> None:
        """Connect if need be, and start consuming."""

    def receive(self, limit: int) -> list[Delivery]:
        """Take what has come, at most ``limit``; wait for none."""

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Settle these; those of an older connection are skipped."""

    def tick(self) -> None:
        """Keep the idle connection alive; call about once a second."""

    def close(self) -> None:
        """Leave; what is not acknowledged goes to another key server."""


@value
class Copy:
    """A copy of a key that a client may hold still."""

    project: str
    key_id: str
    client: str
    item: Item | None
    """None: it was asked for by key-id."""
    until_s: float
    """Until when it may be kept, Unix seconds."""


class CopyRegister(Protocol):
    """Which client may hold a copy of which key: what was delivered, until it is over.

    Every method raises `StoreUnavailable` when the store does not answer. It is no record and has
    no seal: who takes an entry away keeps its client from being told, until the copy is over.
    """

    def add(self, copies: Sequence[Copy]) -> Pending[None]:
        """Note copies that are about to be delivered; what is asked for from now on finds them."""

    def of_keys(self, keys: Sequence[tuple[str, str]]) -> list[list[Copy]]:
        """Return the copies of keys, by project and key-id."""

    def at_client(self, client: str) -> list[Copy]:
        """Return the copies that a client may hold."""

    def revoked_clients(self) -> list[tuple[str, str]]:
        """Return the clients that were revoked and are not told yet, each with its version."""

    def told(self, revoked: Sequence[tuple[str, str]]) -> None:
        """Take out clients that are told."""


@value
class FoundKey:
    """What the store has of what was asked for, all of one moment."""

    state: State
    """Of the item; None also where a key-id was asked for."""
    key: KeyRecord | None
    scope: ScopeRecord | None
    wrapped: bytes | None = field(repr=False)
    grants: Grants
    flaw: str = ""
    """What is wrong with a record, for the log; then there is nothing else."""
    awaits_kek: bool = False
    """Whether that is only that its KEK is not on this host yet."""


class KeyStore(Protocol):
    """The records, as a key server sees them: it changes none.

    Every method raises `StoreUnavailable` when the store does not answer.
    """

    def admit(self) -> str:
        """Check that this store may be used; return CloudEvents' `source` and open it.

        Raises:
            SetupError: it is not durable, or its records belong to another keyring.
            NotFound: no worker has used it yet.
            UnknownKek: the keyring lacks the active KEK.
        """

    @property
    def installation(self) -> str:
        """Return the installation's id, once it is admitted."""

    def follow_keyring(self) -> None:
        """Take up what has become of KEKs, and of the keyring file; to be called now and then."""

    def clients(self, names: Sequence[str]) -> dict[str, ClientRecord]:
        """Return those of these that are clients; one whose record is forged is none."""

    def is_first(self, asked: Sequence[tuple[str, Asked]]) -> list[bool | None]:
        """Say of requests, by client and id, whether nobody has asked them before.

        False: it was asked before, with these bytes. None: with others.
        """

    def note(self, asked: Sequence[tuple[str, Asked]]) -> Pending[list[bool | None]]:
        """Note that these are answered now; the answer says the same of each as `is_first`.

        What one key server notes, no other notes otherwise: of two that have other bytes one gets
        None.
        """

    def find(self, asked: Sequence[Asked]) -> list[FoundKey]:
        """Return what is asked for.

        Raises:
            UnknownKek: a record is under a KEK that the keyring lacks.
        """

    def trust(self) -> HandedOut | None:
        """Return the trust list that is handed out.

        Raises:
            PermanentError: with `Reason.INTEGRITY`: somebody has altered it.
        """

    def time_s(self) -> float:
        """Return the store's time, Unix seconds."""
