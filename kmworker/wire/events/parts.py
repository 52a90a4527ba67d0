"""What the fields of events are made of: for producers a value, on the wire JSON.

A field is annotated once, with the type that producers and decisions know; where it is written
otherwise, `ReadAs` or `From` beside it says how.
"""

from collections.abc import Callable, Iterable
from dataclasses import MISSING
from datetime import date
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Annotated, Any, Final, NotRequired, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    TypeAdapter,
    ValidationInfo,
    create_model,
    with_config,
)
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict

from kmworker.domain.event import UNENCRYPTED, RequestedEncryption, Unencrypted
from kmworker.domain.model import Encryption, Item, Kind
from kmworker.wire.fields import MAX_KEY_BITS, Cipher, ItemId, OneOf, ProjectId

__all__ = [
    "STRICT",
    "TIME",
    "Encrypted",
    "From",
    "Generation",
    "Members",
    "ReadAs",
    "Rfc3339",
    "SizeBytes",
    "Strict",
    "WireEncryption",
    "reads_fields",
    "requested",
]  # fmt: skip

MAX_SIZE_BYTES: Final = 2**63 - 1
# What programs in any language read exactly (RFC 8259, section 6).
MAX_GENERATION: Final = 2**53

SizeBytes = Annotated[int, Field(ge=0, le=MAX_SIZE_BYTES)]
Generation = Annotated[int, Field(ge=0, le=MAX_GENERATION)]
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

STRICT: Final = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)
"""So that `"1"` is no number; a field that is not there may not be overlooked.

A misspelt `source` that was ignored would make a copied volume a blank one.
"""


class Strict(BaseModel):
    """An object on the wire; what is written under a field is its published description."""

    model_config = STRICT


def reads_fields(name: str, fields: Iterable[Any]) -> TypeAdapter[dict[str, Any]]:
    """Return what reads an object: the dataclass fields that it has, as their values."""
    # What is absent is left to the class; null is read as what it says.
    read = {it.name: it.type if it.default is MISSING else NotRequired[it.type] for it in fields}
    return TypeAdapter(with_config(STRICT)(TypedDict(name, read)))  # type: ignore[operator]


class ReadAs:
    """Marks a field that is written as another type: what is read is checked as that."""

    def __init__(self, written: Any, made: Callable[[Any], object]) -> None:  # noqa: ANN401
        self._written, self._made = written, made

    def __get_pydantic_core_schema__(
        self, _source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check it as it is written, and make of it what the field is."""
        written = handler.generate_schema(self._written)
        return core_schema.no_info_after_validator_function(self._made, written)


class Members:
    """Marks a field that is one of these members, and is written as their values."""

    def __init__(self, *members: StrEnum) -> None:
        self._members = {it.value: it for it in members}

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> CoreSchema:
        """Take these values, and make members of them."""
        written = core_schema.literal_schema([*self._members])
        return core_schema.no_info_after_validator_function(self._members.__getitem__, written)


class WireSource(Strict):
    """What an item was derived from."""

    id: ItemId
    """The source's id within its project and kind."""
    project_id: ProjectId | None = None
    """The source's project, where it differs from the item's."""
    kind: str


class From:
    """Marks the field of the item that an item was derived from: of which kinds it may be."""

    def __init__(self, *kinds: Kind, said: str) -> None:
        self.kinds: Final = kinds
        self._said = said

    @cached_property
    def written(self) -> type[WireSource]:
        """What it is read as. Not before it is asked for: most commands read no event."""
        return create_model(
            "Source",
            __base__=WireSource,
            kind=(Annotated[str, OneOf(self.kinds)], Field(description=self._said)),
        )

    def __get_pydantic_core_schema__(
        self, _source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Take it for one of the event's own project, unless it names another."""
        written = handler.generate_schema(self.written)
        return core_schema.with_info_after_validator_function(_source_item, written)


def _source_item(source: WireSource, info: ValidationInfo) -> Item:
    # Without a project of its own, the event is refused whatever comes of this.
    own_project = info.data.get("project_id", "")
    return Item(source.project_id or own_project, Kind(source.kind), source.id)


class WireEncryption(Strict):
    """A cipher in dm-crypt's notation; the DEK's length in bits."""

    cipher: Cipher
    """As dm-crypt writes it, e.g. `aes-xts-plain64`."""
    key_bits: Annotated[int, Field(ge=1, le=MAX_KEY_BITS)] | None = None
    """The DEK's length. Absent: the source's with the same cipher, else the policy's default."""


def _encryption(written: WireEncryption | None) -> RequestedEncryption | Unencrypted:
    """Take an explicit null for "not encrypted"; a field that is not there does not come here."""
    if written is None:
        return UNENCRYPTED
    return RequestedEncryption(written.cipher, written.key_bits)


Encrypted: TypeAlias = Annotated[
    Encryption | RequestedEncryption | Unencrypted | None,
    ReadAs(WireEncryption | None, _encryption),
]
"""None leaves it to the source or the policy; only `UNENCRYPTED` means not encrypted."""


def requested(encryption: Encrypted) -> RequestedEncryption | Unencrypted | None:
    """Return what a decision knows of what an event says."""
    return RequestedEncryption(*encryption) if isinstance(encryption, Encryption) else encryption
