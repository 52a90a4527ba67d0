"""What all events have in common, and what makes up the definition of one type.

A type's module says all of it: the fields that a worker takes (`Data`), how a decision sees them,
what is said of it in the published schemas, and the class that producers in Python publish.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from kmworker.domain.event import UNENCRYPTED, Event, RequestedEncryption, Unencrypted
from kmworker.domain.model import Cause, Disposition, Item, Kind
from kmworker.wire.events.lifecycle import LifecycleEvent
from kmworker.wire.fields import EVENT_ID, MAX_KEY_BITS, Cipher, ItemId, ProjectId, ShortText

__all__ = [
    "TIME", "Data", "Definition", "Envelope", "Source", "WireEncryption", "requested_encryption",
    "source_item",
]  # fmt: skip

MAX_SIZE_BYTES: Final = 2**63 - 1

SizeBytes = Annotated[int, Field(ge=0, le=MAX_SIZE_BYTES)]
TIME: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)


def _real_time(text: str) -> str:
    """Refuse the 30th of February (RFC 3339, section 5.6); second 60 is a leap second."""
    _real_date(text[:10])
    # All are two digits, so they compare as text.
    hour, minute, second = text[11:13], text[14:16], text[17:19]
    zone_hour, zone_minute = (text[-5:-3], text[-2:]) if text[-1] not in "Zz" else ("", "")
    if max(hour, zone_hour) > "23" or max(minute, zone_minute) > "59" or second > "60":
        raise ValueError("no such time of day")
    return text


# Events of one day have one date.
_real_date = lru_cache(maxsize=64)(date.fromisoformat)


Rfc3339 = Annotated[str, Field(pattern=TIME, max_length=64), AfterValidator(_real_time)]


class _Wire(BaseModel):
    """Strict, so that `"1"` is no number; a field that is not there may not be overlooked.

    A misspelt `source` that was ignored would make a copied volume a blank one.
    What is written under a class or a field is its description in the published schemas.
    """

    model_config = ConfigDict(
        strict=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )


class Envelope(_Wire):
    """The CloudEvents 1.0 attributes that every event has."""

    # Extension attributes are anybody's (CloudEvents 1.0, section "Extension Context Attributes").
    model_config = ConfigDict(extra="ignore")

    specversion: Literal["1.0"]
    """The version of CloudEvents."""
    id: Annotated[str, Field(pattern=EVENT_ID)]
    """With `source`, identifies the event: printable ASCII."""
    source: ShortText
    """Who publishes: a URI reference, by convention a path such as `/cinder/blk01`."""
    type: Annotated[str, Field(min_length=1)]
    """What happened; the message's routing key is the same."""
    time: Rfc3339 | None = None
    """When it happened, in RFC 3339; second 60 is a leap second."""


class WireEncryption(_Wire):
    """A cipher in dm-crypt's notation; the DEK's length in bits."""

    cipher: Cipher
    """As dm-crypt writes it, e.g. `aes-xts-plain64`."""
    key_bits: Annotated[int, Field(ge=1, le=MAX_KEY_BITS)] | None = None
    """The DEK's length. Absent: the source's with the same cipher, else the policy's default."""


class Source(_Wire):
    """What an item was derived from."""

    id: ItemId
    """The source's id within its project and kind."""
    project_id: ProjectId | None = None
    """The source's project, where it differs from the item's."""

    @classmethod
    def kinds(cls) -> tuple[str, ...]:
        """Return the kinds that this source may be of."""
        return get_args(cls.model_fields["kind"].annotation)


class Data(_Wire):
    """What the data of every event may have."""

    project_id: ProjectId
    """The item's project; for Swift partitions and their replicas the cluster's name."""
    size_bytes: SizeBytes | None = None
    """How much data the item can hold."""
    disposition: Literal["create", "clone", "reuse"] | None = None
    """The disposition that is requested for the item; policy decides whether it is allowed."""
    extra: dict[str, Any] | None = None
    """The producer's own notes, at most 4 KiB as compact JSON in UTF-8: they are ignored."""

    def objection(self) -> str | None:
        """Return what is wrong with the fields together."""
        return None

    @abstractmethod
    def to_event(self, cause: Cause) -> Event:
        """Reduce it to what a decision needs."""

    @property
    def requested(self) -> Disposition | None:
        """Return the disposition that the producer asks for."""
        return None if self.disposition is None else Disposition(self.disposition)


@dataclass(frozen=True, slots=True)
class Definition:
    """One type of event."""

    event: type[LifecycleEvent]
    """What producers publish; what is written under the class says when."""
    data: type[Data]
    """What workers take."""
    source: type[Source] | None
    """What an item may be derived from."""
    also_refused: Sequence[str]
    """What a worker refuses that the schema cannot say."""
    example: dict[str, Any]
    """A whole event, as the published schemas show it."""


def source_item(source: Source | None, project: str) -> Item | None:
    """Return the item that a source names, by default one of the event's own project."""
    if source is None:
        return None
    kind: str = source.kind  # type: ignore[attr-defined]  # all subclasses have it
    return Item(source.project_id or project, Kind(kind), source.id)


def requested_encryption(
    data: Data, encryption: WireEncryption | None
) -> RequestedEncryption | Unencrypted | None:
    """Tell an explicit null (not encrypted) from a field that is not there."""
    if encryption is not None:
        return RequestedEncryption(encryption.cipher, encryption.key_bits)
    return UNENCRYPTED if "encryption" in data.model_fields_set else None
