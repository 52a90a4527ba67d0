"""What can be decided of an event, as values."""

from kmworker.domain.model import DataAction, Disposition, Encryption, Held
from kmworker.domain.values import value
from kmworker.errors import Reason

__all__ = ["Already", "Create", "Decision", "Join", "NoKey", "Refuse", "Wait"]


@value
class Already:
    """The item is assigned, and the event says nothing else of it: announce that again."""

    held: Held


@value
class Create:
    """A new scope: new DEK, new key-id."""

    encryption: Encryption
    rule: str
    data_action: DataAction
    reencrypt_from: str | None = None


@value
class Join:
    """Join the source's scope, by `CLONE` or `REUSE`."""

    disposition: Disposition
    source: Held
    rule: str


@value
class NoKey:
    """The item is not encrypted."""

    rule: str
    data_action: DataAction = DataAction.NONE
    reencrypt_from: str | None = None
    """The source's key-id, where its data must be decrypted."""


@value
class Wait:
    """The source is not there yet."""


@value
class Refuse:
    """A dead letter."""

    reason: Reason
    detail: str


Decision = Already | Create | Join | NoKey | Wait | Refuse
