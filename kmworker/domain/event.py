"""What a lifecycle event says, whatever it looked like on the wire."""

from enum import Enum
from typing import Final, NamedTuple

from kmworker.domain.model import Cause, Disposition, Item, Transport
from kmworker.domain.values import value
from kmworker.errors import Reason

__all__ = [
    "UNENCRYPTED",
    "UNKNOWN_TYPE",
    "Attach",
    "Detach",
    "Event",
    "Granting",
    "Happening",
    "Release",
    "RequestedEncryption",
    "Unencrypted",
    "Unreadable",
]

UNKNOWN_TYPE: Final = "unknown"
"""Stands where a message's type could not be read but a name is needed."""


class Unencrypted(Enum):
    """The producer's word that an item is not encrypted, as opposed to no word at all."""

    UNENCRYPTED = "unencrypted"


UNENCRYPTED: Final = Unencrypted.UNENCRYPTED


class RequestedEncryption(NamedTuple):
    """What an event asks for; without ``key_bits`` the source or the policy fills it in."""

    cipher: str
    key_bits: int | None


@value
class Event:
    """An item comes to be, reduced to what a decision needs."""

    cause: Cause
    item: Item
    derived_from: Item | None
    """The source; `Kind.IMAGE` for data from outside, None for a blank item."""
    encryption: RequestedEncryption | Unencrypted | None
    requested: Disposition | None
    node: str | None = None
    volume_type: str | None = None
    transport: Transport | None = None
    size_bytes: int | None = None
    is_shared: bool = False
    """A volume that shares its source's blocks, as thin clones do."""
    generation: int = 0
    """Which life of the item's name begins."""
    source_generation: int = 0
    """Which life of the source's name it was made from."""


@value
class Release:
    """An item is gone."""

    cause: Cause
    item: Item
    generation: int = 0
    """The life of its name that is over; those before it are, too."""

    @property
    def derived_from(self) -> None:
        """Return that it has no source."""


@value
class Attach:
    """A volume is attached to a node, which may have its key from now on."""

    cause: Cause
    item: Item
    attachment: str
    node: str
    mode: str | None = None
    expires_at: str | None = None
    """RFC 3339: the grant ends by itself then; None: with the attachment."""
    generation: int = 0
    """The life of the volume's name that is attached."""

    @property
    def derived_from(self) -> None:
        """Return that it has no source."""


@value
class Detach:
    """An attachment is over."""

    cause: Cause
    item: Item
    attachment: str
    generation: int = 0

    @property
    def derived_from(self) -> None:
        """Return that it has no source."""


Granting = Attach | Detach
"""What makes a grant, or ends it."""
Happening = Event | Release | Granting
"""What a lifecycle event can say."""


@value
class Unreadable:
    """An event that cannot be taken, with what could be read of its name."""

    reason: Reason
    detail: str
    event_id: str = ""
    event_type: str = UNKNOWN_TYPE
    may_be_newer: bool = False
    """Whether what is wrong is only that this version does not know the type or a field."""
