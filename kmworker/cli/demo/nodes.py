"""The nodes of the demonstration: enrolled as an operator does, and asking as a host does."""

from pathlib import Path
from typing import Final

from kmworker.bootstrap.keys import open_keys
from kmworker.client.keys import KeyRefused, Keys
from kmworker.clock import rfc3339
from kmworker.crypto import KeyringCustody
from kmworker.delegation.checking import DeliveredKey
from kmworker.delegation.clients import Right, Rights, Stamp, enrolled
from kmworker.delegation.enrolment import Enrolment
from kmworker.delegation.identity import Identity
from kmworker.domain.audit import Act, Actor, ActorKind, AuditRecord
from kmworker.domain.keys import Operator
from kmworker.domain.model import Item, Kind
from kmworker.errors import NotFound, PermanentError, Reason
from kmworker.settings import BrokerSettings, ClientSettings, Settings
from kmworker.store.admission import enter
from kmworker.store.client_register import ClientRegister
from kmworker.store.inspection import Views
from kmworker.store.records import RecordCodec

__all__ = ["Node", "enroll"]

RIGHTS: Final = frozenset({Right.GET}), frozenset({Kind.VOLUME}), ("*",)
BY: Final = Operator("demo", "the demonstration")
DEADLINE_S: Final = 30.0


class Node:
    """A host with an identity of its own.

    Attributes:
        name: its name in attachments, and as a client.
    """

    def __init__(self, name: str, keys: Keys) -> None:
        self.name = name
        self._keys = keys

    def get(self, item: Item) -> DeliveredKey:
        """Return the key of an item that is attached here."""
        return self._keys.get(item)

    def refused(self, item: Item) -> str:
        """Return why this node does not get the key of an item.

        Raises:
            PermanentError: it does.
        """
        try:
            with self._keys.get(item):
                pass
        except KeyRefused as refused:
            return refused.reason.value
        raise PermanentError(Reason.INTEGRITY, f"{self.name} got a key that it may not have")

    def close(self) -> None:
        """Leave."""
        self._keys.close()


def enroll(
    name: str, folder: Path, broker: BrokerSettings, views: Views, custody: KeyringCustody
) -> Node:
    """Make a host's identity in a folder of its own, and the host a client by it.

    Raises:
        NotFound: no trust list is handed out yet.
    """
    installation = enter(custody, views).layout.installation
    register = ClientRegister(views, RecordCodec(custody))
    trust = register.trust()
    if trust is None:
        raise NotFound("no trust list is handed out", "kmworker trust publish")
    at = rfc3339(views.clock_s())
    identity = Identity.generate(at)
    rights = Rights(*RIGHTS, nodes=(name,))
    who = Actor(ActorKind.OPERATOR, BY.name)
    register.change(
        name,
        lambda before: enrolled(before, name, identity.public, rights, Stamp(at, BY)),
        AuditRecord(Act.CLIENT_ENROLLED, who, at, reason=BY.reason, client=name),
    )
    folder.mkdir(mode=0o700)
    files = ClientSettings(
        identity=folder / "identity.json",
        enrolment=folder / "enrolment.json",
        deadline_s=DEADLINE_S,
    )
    identity.write(files.identity)
    Enrolment(installation, name, identity.public.fingerprint, trust.root_key(), at).write(
        files.enrolment
    )
    return Node(name, open_keys(Settings(broker=broker, client=files)))
