"""What can be decided of an event, as values."""

from kmworker.domain.model import DataAction, Disposition, Encryption, Held, Released
from kmworker.domain.values import value
from kmworker.errors import Reason

__all__ = [
    "Already", "Bury", "Create", "Decision", "Gone", "Join", "Late", "NoKey", "Refuse", "Wait",
]  # fmt: skip


@value
class Already:
    """The item is assigned, and the event says nothing else of it: announce that again."""

    held: Held


@value
class Gone:
    """The item was released, and the event is the one that made it, or ended it: say so again."""

    released: Released


@value
class Late:
    """Of a life of the item's name that is over: there is nothing to do, and nothing to say."""


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
class Bury:
    """The item is released: its record becomes a tombstone, whatever it was."""

    before: Held | Released | None


@value
class Wait:
    """The source is not there yet."""


@value
class Refuse:
    """A dead letter."""

    reason: Reason
    detail: str


Decision = Already | Gone | Late | Create | Join | NoKey | Bury | Wait | Refuse
