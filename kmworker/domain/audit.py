"""What the audit trail says of one act: who did what, when, because of what, and what came of it.

Never key material, and nothing that only a holder of a key could know.
"""

from enum import StrEnum
from typing import Final

from kmworker.domain.grants import Attachment, GrantsChanged
from kmworker.domain.keys import By, Cause, Janitor, KeyChanged, KeyEvent, Operator
from kmworker.domain.values import value

__all__ = [
    "ACTS", "Act", "ActOutcome", "Actor", "ActorKind", "AuditRecord", "KeptRecord", "Unsaid",
    "record_of_change", "records_of_grants",
]  # fmt: skip


class Act(StrEnum):
    """What was done, or refused. New ones are added; none changes its meaning."""

    KEY_DELIVERED = "key-delivered"
    KEY_REFUSED = "key-refused"
    RECORD_DISBELIEVED = "record-disbelieved"
    KEY_EXPORTED = "key-exported"
    KEY_DEACTIVATED = "key-deactivated"
    KEY_RESTORED = "key-restored"
    KEY_SUSPENDED = "key-suspended"
    KEY_RESUMED = "key-resumed"
    KEY_COMPROMISED = "key-compromised"
    KEY_DESTROYED = "key-destroyed"

    SECRET_CREATED = "secret-created"  # noqa: S105  # words, not secrets
    SECRET_STORED = "secret-stored"  # noqa: S105
    SECRET_DELETED = "secret-deleted"  # noqa: S105
    SECRETS_LISTED = "secrets-listed"
    SECRET_DESCRIBED = "secret-described"  # noqa: S105

    KEK_ADDED = "kek-added"
    KEK_ACTIVATED = "kek-activated"
    KEK_COMPROMISED = "kek-compromised"
    KEK_RETIRED = "kek-retired"
    KEK_REMOVED = "kek-removed"
    KEK_RESTORED = "kek-restored"
    KEYRING_MOVED = "keyring-moved"
    REWRAPPED = "rewrapped"

    CLIENT_ENROLLED = "client-enrolled"
    CLIENT_RENEWED = "client-renewed"
    CLIENT_REVOKED = "client-revoked"
    GRANT_MADE = "grant-made"
    GRANT_ENDED = "grant-ended"
    TRUST_LIST_PUBLISHED = "trust-list-published"

    DEAD_LETTERS_REPLAYED = "dead-letters-replayed"
    DEAD_LETTERS_DISCARDED = "dead-letters-discarded"
    WAITING_EXPIRED = "waiting-expired"
    ANNOUNCED_AGAIN = "announced-again"
    STORE_ACCEPTED = "store-accepted"
    STORE_MIGRATED = "store-migrated"
    STORE_REPAIRED = "store-repaired"
    RECONCILED = "reconciled"
    AUDIT_EXPORTED = "audit-exported"


ACTS: Final = tuple(act.value for act in Act)


class ActOutcome(StrEnum):
    """What came of it."""

    BEGUN = "begun"
    """Of what takes its time: its end is another record, with its count."""
    DONE = "done"
    """Of a delivery: it was decided and recorded, and the answer leaves after this."""
    REFUSED = "refused"
    FAILED = "failed"


class ActorKind(StrEnum):
    """What kind of somebody it was."""

    OPERATOR = "operator"
    CLIENT = "client"
    PRODUCER = "producer"
    JANITOR = "janitor"
    KEY_SERVER = "key-server"


@value
class Actor:
    """Who did it."""

    kind: ActorKind
    name: str
    """An operator's or client's name, a producer's `source`, a process's id."""
    os_user: str | None = None
    """Of an operator: as whom the command ran, whatever name was given."""
    host: str | None = None


@value
class AuditRecord:
    """One act. Its writer and number are given when it is on its way.

    Attributes:
        what: was done.
        who: did it.
        at: when, RFC 3339, UTC.
        outcome: of it.
        reason: an operator's words, or the contract's word for a refusal.
        request: the id of the request that it answers, or of the event by which a key has changed.
        event: the id of the event that it follows from, or announces: what is written again after
            a crash has the same.
        project: whose.
        item: its ref.
        key_id: of the key.
        kek_id: of the KEK.
        client: a client's name, where it is not who did it.
        attachment_id: of the grant.
        node: that it is for.
        count: how many things it was done to, where they are not named.
    """

    what: Act
    who: Actor
    at: str
    outcome: ActOutcome = ActOutcome.DONE
    reason: str | None = None
    request: str | None = None
    event: str | None = None
    project: str | None = None
    item: str | None = None
    key_id: str | None = None
    kek_id: str | None = None
    client: str | None = None
    attachment_id: str | None = None
    node: str | None = None
    count: int | None = None


@value
class KeptRecord:
    """A record that lies in the store until the trail has it."""

    name: str
    """Of the change that it is about, which no other has."""
    record: AuditRecord


Unsaid = KeyChanged | GrantsChanged | KeptRecord
"""What is to be recorded, and may have been; a change of a key-id is to be announced, too."""


OF_CHANGES: Final = {
    KeyEvent.DEACTIVATED: Act.KEY_DEACTIVATED,
    KeyEvent.RESTORED: Act.KEY_RESTORED,
    KeyEvent.SUSPENDED: Act.KEY_SUSPENDED,
    KeyEvent.RESUMED: Act.KEY_RESUMED,
    KeyEvent.COMPROMISED: Act.KEY_COMPROMISED,
    KeyEvent.DESTROYED: Act.KEY_DESTROYED,
}


def record_of_change(changed: KeyChanged, announcement_id: str) -> AuditRecord:
    """Return what the trail says of a change of a key-id's, made from the store's record of it.

    It can be made at any time after the change, as often as it takes: so nobody has to wait for
    the trail who suspends a key.

    Args:
        changed: as it is stored.
        announcement_id: of the message that announces it; the same in each record of the change.
    """
    change = changed.change
    return AuditRecord(
        OF_CHANGES[change.event],
        _actor(change.by),
        change.at,
        reason=change.by.reason if isinstance(change.by, Operator) else None,
        request=change.by.id if isinstance(change.by, Cause) else None,
        event=announcement_id,
        project=changed.project,
        key_id=changed.key.key_id,
    )


def records_of_grants(changed: GrantsChanged) -> list[AuditRecord]:
    """Return what the trail says of attachments that were made, or have ended."""
    records = []
    for it in changed.made:
        assert it.grant is not None  # noqa: S101  # it was made
        records.append(_of_grant(changed, Act.GRANT_MADE, it, it.grant.cause, it.grant.at))
    for it in changed.ended:
        assert it.over is not None  # noqa: S101  # it has ended
        records.append(_of_grant(changed, Act.GRANT_ENDED, it, it.over.cause, it.over.at))
    return records


def _of_grant(
    changed: GrantsChanged, what: Act, it: Attachment, cause: Cause, at: str
) -> AuditRecord:
    return AuditRecord(
        what,
        _actor(cause),
        at,
        event=cause.id,
        project=changed.item.project,
        item=changed.item.ref,
        attachment_id=it.id,
        node=None if it.grant is None else it.grant.node,
    )


def _actor(by: By) -> Actor:
    match by:
        case Operator():
            return Actor(ActorKind.OPERATOR, by.name)
        case Cause():
            return Actor(ActorKind.PRODUCER, by.source)
        case Janitor.JANITOR:
            return Actor(ActorKind.JANITOR, "janitor")
